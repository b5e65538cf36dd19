"""Hold an OUTPUT_DIR until killed; called by test_output_lock.py."""

import sys
import time

from reid_core.run.output_lock import only_run

with only_run(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
