"""What a data set check has to know of each image file: can it be read, how large, what content."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image
from reid_common.image_files import find_fault
from tqdm.contrib.concurrent import thread_map


@dataclass(frozen=True)
class ImageFacts:
    """One image file: why it cannot be read, else its size in pixels and its content's hash."""

    fault: str | None
    width: int = 0
    height: int = 0
    digest: str = ""


def look_at(path: str) -> ImageFacts:
    """Read and decode a whole file."""
    fault = find_fault(path)
    if fault:
        return ImageFacts(fault)
    try:
        with open(path, "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            width, height = image.size
    except Exception as error:  # PIL's decoders raise anything: OSError, SyntaxError, ...
        return ImageFacts(f"{type(error).__name__}: {error}".splitlines()[0])
    return ImageFacts(None, width, height, hashlib.blake2b(content, digest_size=16).hexdigest())


def look_at_all(
    paths: Iterable[str], num_workers: int | None = None, progress: bool = False
) -> dict[str, ImageFacts]:
    """Look at files, each once, in threads: hashing and decoding leave Python's lock alone.

    Args:
        paths: image files.
        num_workers: threads; None: two a core, at most 32.
        progress: show a bar on stderr.
    """
    unique = list(dict.fromkeys(paths))
    threads = num_workers or min(32, 2 * (os.cpu_count() or 1))
    facts = thread_map(look_at, unique, max_workers=threads, unit="image", disable=not progress)
    return dict(zip(unique, facts, strict=True))
