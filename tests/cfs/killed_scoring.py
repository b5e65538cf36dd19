"""Script that test_scoring_resume.py starts: POOL OUT SOURCE TARGET NUMBER.

Scores the images of POOL into OUT and dies by SIGKILL in batch NUMBER, when the shards before it
(two batches each) are written.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from cfs.scoring import scoring
from small_scoring import score, vit_cfg

if __name__ == "__main__":
    pool, out, source, target, number = sys.argv[1:]
    left = [int(number)]
    score_batch = scoring.score_batch

    def dying(*args):
        if left[0] == 0:
            while len(list(Path(out).glob("part-*"))) < int(number) // 2:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return score_batch(*args)

    scoring.score_batch = dying
    score(Path(pool), Path(out), vit_cfg(), source, target, num_workers=1)
