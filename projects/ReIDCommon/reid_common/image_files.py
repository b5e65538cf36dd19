"""Which files are images, and which are damaged: found before a run instead of hours into it.

The check is cheap: it reads the first and last bytes of a file. Only where these look wrong is the
image decoded, so that unusual but readable files are not refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from .errors import UserError

# What Pillow reads, by which whatever OpenCV does not read is decoded, too.
# fmt: off
IMAGE_SUFFIXES = (
    ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".ppm", ".tga", ".tif",
    ".tiff", ".webp",
)
# fmt: on
MAX_NAMED = 5
TAIL_BYTES = 64  # some cameras write padding behind the end marker
# First bytes of a format -> what stands at its end.
FORMATS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}


def check_images(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Look, at each once, whether image files in any format that PIL reads are there and whole.

    Raises:
        UserError: some are missing, empty, cut off or no images; names the first of them.
    """
    unique = list(dict.fromkeys(os.fspath(path) for path in paths))
    with ThreadPoolExecutor(max_workers=8) as pool:
        faults = pool.map(find_fault, unique)
        bad = [(path, fault) for path, fault in zip(unique, faults, strict=True) if fault]
    if not bad:
        return
    named = "; ".join(f"{path} ({fault})" for path, fault in bad[:MAX_NAMED])
    more = f"; and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
    raise UserError(
        f"{len(bad)} of {len(unique)} images cannot be read: {named}{more}. Copy or unpack the "
        "data set again, or remove these files from it."
    )


def find_fault(path: str) -> str | None:
    """Return what is wrong with an image file, None if nothing is."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
            if not head:
                return "empty file"
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
    except OSError as error:
        return error.strerror or str(error)
    for first, last in FORMATS.items():
        if head.startswith(first) and last in tail:
            return None
    return _decoding_fault(path)


def _decoding_fault(path: str) -> str | None:
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # PIL's decoders raise anything: OSError, SyntaxError, ...
        return f"{type(error).__name__}: {error}".replace(path, "file").splitlines()[0]
    return None
