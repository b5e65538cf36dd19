"""tools/conditional_pretrain.py with stages in forks: they need no start of Python."""

from __future__ import annotations

import sys

from cfs.pipeline import process
from forked import run_forked
from reid_commands import pretrain

if __name__ == "__main__":
    process.run_command = run_forked
    sys.exit(pretrain.main())
