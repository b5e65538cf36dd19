"""What all projects share on top of the repaired FastReID: data sets, side information, runs."""

import os

from fastreid_compat.registry import OWN_FOLDERS

OWN_FOLDERS.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ""))
