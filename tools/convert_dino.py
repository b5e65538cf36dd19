#!/usr/bin/env python3
"""Go on from a checkpoint of the released DINO implementation, or write ours in its format."""

from reid_commands.convert_dino import main, parser

if __name__ == "__main__":
    main(parser().parse_intermixed_args())  # options before or after the KEY VALUE pairs
