"""Make a pool of photographs whose origin is known, for the study of CFS.

python tools/photo_pool.py -o datasets/PhotoPool --domain Market1501 --without \\
    Market1501:identities=150 --persons 1400 --others /data/con-reid:1000 /data/col780:700 \\
    --no-person /data/eth80:400 --cropped 400 --low-resolution 400

The pool's persons are training images of --domain, of other identities than those of --without,
which remain for the target. It writes images/000000.jpg ..., in an order that tells nothing, and
truth.csv (name, kind, source), which nothing that trains reads. Pre-train on
"ImageFolder:datasets/PhotoPool/images". The photographs keep the licences of their data sets.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from reid_common.errors import UserError
from reid_common.files import cannot_write
from reid_core.data.folder_reid import image_files
from reid_core.data.opening import open_dataset
from reid_core.run.command_line import command_parser
from toyreid.people.once import jpeg, make_once, work_through
from toyreid.pool.faults import FAULTS
from toyreid.pool.plan import PERSON
from toyreid.pool.render import IMAGES, TRUTH

from ..command import command

NAME = "{:06d}.jpg"
Picture = tuple[str, str, str]  # image file, kind, source


def counted(text: str) -> tuple[str, int]:
    """Split "/data/con-reid:1000" into folder and number."""
    folder, _, count = text.rpartition(":")
    if not folder or not count.isdecimal() or not int(count):
        raise argparse.ArgumentTypeError(f"{text!r} is no FOLDER:NUMBER, as in /data/con-reid:1000")
    return folder, int(count)


def how_many(text: str) -> int:
    """Type of an argument that is a whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images, as in 400")
    return int(text)


def chosen(files: Sequence[str], count: int, source: str, rng: np.random.Generator) -> list[str]:
    """So many of the files, at random; UserError if there are fewer."""
    if count > len(files):
        raise UserError(f"{source} has {len(files)} images, not {count}; ask for fewer")
    return [files[i] for i in rng.permutation(len(files))[:count]]


def plan_pool(args: argparse.Namespace) -> list[Picture]:
    """All pictures of a pool, in its order."""
    rng = np.random.default_rng(args.seed)
    kept = {item[1] for item in open_dataset(args.without).train} if args.without else set()
    persons = [item[0] for item in open_dataset(args.domain).train if item[1] not in kept]
    counts = {PERSON: args.persons, "cropped": args.cropped, "low_resolution": args.low_resolution}
    files = chosen(persons, sum(counts.values()), f"{args.domain} without the target", rng)
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    pictures = [(file, kind, args.domain) for file, kind in zip(files, kinds, strict=True)]
    for kind, sources in (("other_domain", args.others), ("no_person", args.no_person)):
        for folder, count in sources:
            files = sorted(os.path.join(folder, *names) for names in image_files(folder))
            found = chosen(files, count, folder, rng)
            pictures += [(file, kind, Path(folder).name) for file in found]
    if not pictures:
        raise UserError("the pool has no image; ask for some, as in --persons 1400")
    return [pictures[i] for i in rng.permutation(len(pictures))]


def check_place(out: Path) -> None:
    """Raise UserError if there is something in the folder of the pool."""
    if (out / TRUTH).exists():
        raise UserError(f"{out} holds a pool already; remove it, or choose another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds other files; choose a folder that is empty, or a new one")


def make_pool(out: Path, pictures: Sequence[Picture], seed: int) -> None:
    """Write the pool, ``images/`` and ``truth.csv``; it is there whole or not at all.

    Args:
        out: a folder that is empty, or does not exist.
        pictures: in the pool's order.
        seed: of the faults of images.

    Raises:
        UserError: there are files in ``out``, or it cannot be written.
    """
    check_place(out)
    out = out.absolute()

    def make(part: Path) -> None:
        (part / IMAGES).mkdir(parents=True)
        work_through(partial(_write, part, pictures, seed), range(len(pictures)), None, out.name)
        with open(part / TRUTH, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("name", "kind", "source"))
            writer.writerows(
                (NAME.format(i), kind, source) for i, (_, kind, source) in enumerate(pictures)
            )
        if out.exists():
            out.rmdir()  # which is empty

    try:
        make_once(out, lambda folder: (folder / TRUTH).exists(), make)
    except OSError as error:
        raise cannot_write(out, error) from error


def _write(out: Path, pictures: Sequence[Picture], seed: int, number: int) -> None:
    file, kind, _ = pictures[number]
    try:
        pixels = np.asarray(Image.open(file).convert("RGB"))
    except OSError as error:
        raise UserError(f"{file} cannot be read as an image: {error}; take it away") from error
    if kind in FAULTS:
        pixels = FAULTS[kind](pixels, np.random.default_rng((seed, number)))
    (out / IMAGES / NAME.format(number)).write_bytes(jpeg(np.ascontiguousarray(pixels)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("-o", "--out", required=True, type=Path, metavar="DIR", help="folder of the pool")
    add("--domain", required=True, metavar="NAME", help="data set of the target's domain")
    add("--without", metavar="NAME", help="leave its identities to the target")
    add("--persons", type=how_many, default=1400, metavar="N", help="images of the domain (1400)")
    add("--cropped", type=how_many, default=0, metavar="N", help="parts of its images (0)")
    add("--low-resolution", type=how_many, default=0, metavar="N", help="shrunken ones (0)")
    for name, what in (("--others", "persons of other domains"), ("--no-person", "other pictures")):
        add(name, type=counted, nargs="+", default=[], metavar="DIR:N", help=what)
    add("--seed", type=int, default=0, help="of the choice (0)")
    return lines


@command(parser)
def main(args: argparse.Namespace) -> None:
    """Make the pool."""
    check_place(args.out)
    pictures = plan_pool(args)
    make_pool(args.out, pictures, args.seed)
    print(f"wrote {len(pictures):,} images and {TRUTH} into {args.out}")
