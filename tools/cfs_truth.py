#!/usr/bin/env python3
"""How well scores part the images of ToyUnlabeled that are of the target's domain from the rest."""

from reid_commands.studies.cfs_truth import main

if __name__ == "__main__":
    raise SystemExit(main())
