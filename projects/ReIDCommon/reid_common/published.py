"""A folder of published weights: which files it has, and whether they are those that were written.

``transreid publish`` writes it. ``preprocess.json`` says what images the model takes, and size and
SHA-256 of the other files; the model card is not among them, because its author goes on writing
it. Hashes find what was changed, cut or mixed up; they do not say who wrote the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .digests import file_digest
from .errors import UserError
from .files import read_json

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
THRESHOLD = "threshold.json"  # only where there was a calibration
MANIFEST = "preprocess.json"
CARD = "README.md"
HASHED = (WEIGHTS, CONFIG, THRESHOLD)
FILES = (*HASHED, MANIFEST, CARD)
FORMAT, VERSION = "fastreid-transreid", 1
REMEDY = "take the folder anew from where it was published, or write it again: transreid publish"


def is_published(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder looks like one that was published."""
    return (Path(folder) / MANIFEST).is_file()


def weights_file(path: str) -> str:
    """The file of weights that a user names: ``path`` itself, or the file in a published folder."""
    return str(Path(path) / WEIGHTS) if path and is_published(path) else path


def file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of those of :data:`HASHED` that a folder has, for its manifest."""
    there = [folder / name for name in HASHED if (folder / name).is_file()]
    return {f.name: {"bytes": f.stat().st_size, "sha256": file_digest(f)} for f in there}


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``preprocess.json`` of a published folder says.

    Raises:
        UserError: the folder is none, or of a later version, or lists other files than it may.
    """
    folder = Path(folder)
    file = folder / MANIFEST
    if not file.is_file():
        raise UserError(
            f"{str(folder)!r} is no folder of published weights: it has no {MANIFEST}. Write one "
            "with transreid publish, or name a checkpoint and its config"
        )
    content = read_json(file)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{str(file)!r} was not written by transreid publish: its format is not {FORMAT!r}, or "
            "it lists no files. Name a folder that was, or a checkpoint and its config"
        )
    if content.get("version") != VERSION:
        raise UserError(
            f"{str(file)!r} is of version {content.get('version')!r}, this program knows "
            f"{VERSION}; update it, or publish the weights again"
        )
    strange = sorted(set(files) - set(HASHED))
    if strange:
        raise UserError(
            f"{str(file)!r} lists the file {strange[0]!r}; a published folder has no others than "
            f"{', '.join(HASHED)}, and nothing outside of it is read. {REMEDY}"
        )
    absent = [name for name in (WEIGHTS, CONFIG) if name not in files]
    if absent:
        raise UserError(f"{str(file)!r} does not list {absent[0]}; {REMEDY}")
    return content


def check_files(
    folder: str | os.PathLike[str], manifest: Mapping[str, Any], names: Iterable[str] = HASHED
) -> None:
    """Hold files of a folder against its manifest, those of ``names`` that it lists.

    Raises:
        UserError: the first that is missing, cut or another.
    """
    for name in names:
        file, entry = Path(folder) / name, manifest["files"].get(name)
        if entry is None:
            if file.exists():
                raise UserError(f"{str(file)!r} is not listed in {MANIFEST}; {REMEDY}")
            continue
        if not file.is_file():
            raise UserError(f"{str(file)!r} is missing; {REMEDY}")
        size, known = file.stat().st_size, entry if isinstance(entry, dict) else {}
        if size != known.get("bytes"):
            raise UserError(
                f"{str(file)!r} has {size} bytes, {MANIFEST} says {known.get('bytes')}: it was not "
                f"copied whole, or changed; {REMEDY}"
            )
        if file_digest(file) != known.get("sha256"):
            raise UserError(
                f"{str(file)!r} is not the file that was published: its SHA-256 is not that in "
                f"{MANIFEST}; {REMEDY}"
            )


def check_weights_file(path: str) -> None:
    """Hold the weights in a published folder against its manifest; other files are left alone.

    Raises:
        UserError: see :func:`read_manifest` and :func:`check_files`.
    """
    folder, name = os.path.split(path)
    if name == WEIGHTS and is_published(folder):
        check_files(folder, read_manifest(folder), [WEIGHTS])
