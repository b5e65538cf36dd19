"""Draw attention maps of images: rollout, last block, and each part of JPM.

transreid visualize attention --config-file c.yml --weights model.pth *.jpg -o attention.png
"""

from __future__ import annotations

import argparse

from reid_common.errors import UserError
from reid_common.image_files import check_images
from reid_common.pictures import check_picture_name
from reid_core.run.command_line import add_config_arguments, command_parser
from tqdm import tqdm
from transreid.visualize import model_pictures

from ..arguments import add_model_arguments, add_picture_arguments, build_extractor
from ..command import command

MAX_IMAGES = 40  # rows of one picture
# What an extractor may be built with to save work, but what hides the attention
SHOW_ALL = ["MODEL.COMPILE", "False", "MODEL.JPM.GLOBAL_ONLY", "False"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("images", nargs="+", help="image files")
    add("--camera", type=int, metavar="N", help="0-based camera of the images (unknown)")
    add("--view", type=int, metavar="N", help="0-based viewpoint of the images (unknown)")
    add_picture_arguments(lines)
    add_model_arguments(lines, batch_size=16)
    add_config_arguments(lines)
    return lines


def rows(args: argparse.Namespace) -> list[model_pictures.AttentionRow]:
    """Maps of all images of a command line, batch by batch."""
    extractor = build_extractor(args, SHOW_ALL)
    found: list[model_pictures.AttentionRow] = []
    for start in tqdm(range(0, len(args.images), args.batch_size), unit="batch", disable=None):
        files = args.images[start : start + args.batch_size]
        found += model_pictures.attention_rows(extractor, files, args.camera, args.view)
    return found


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Run the command line."""
    check_picture_name(args.out)
    if len(args.images) > MAX_IMAGES:
        raise UserError(
            f"{len(args.images)} images are too many for a picture; give at most {MAX_IMAGES}"
        )
    check_images(args.images)
    model_pictures.draw_attention(rows(args), args.out, args.title or "Attention of [cls]")
    print(f"wrote {args.out}")
