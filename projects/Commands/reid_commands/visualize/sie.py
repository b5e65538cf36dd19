"""Draw the cosines of a model's side information embeddings (SIE), and print their norms.

transreid visualize sie --config-file c.yml --weights model.pth -o sie.png
"""

from __future__ import annotations

import argparse

from reid_common.pictures import check_picture_name
from reid_core.run.command_line import add_config_arguments, command_parser
from transreid.visualize import model_pictures

from ..arguments import add_model_arguments, add_picture_arguments, build_extractor
from ..command import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add_picture_arguments(lines)
    add_model_arguments(lines, batch_size=16)
    add_config_arguments(lines)
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    check_picture_name(args.out)
    model = build_extractor(args).model
    sie = model_pictures.sie_of(model)
    title = args.title or "Cosines of the side information embeddings"
    model_pictures.draw_sie(sie, args.out, title)
    print(model_pictures.sie_statistics(sie))
    print(f"wrote {args.out}")
