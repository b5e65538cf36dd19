"""Folders of published weights on the Hugging Face hub: found, downloaded, pushed.

huggingface_hub is imported when a name of the hub is given, not before. Only files that
:mod:`reid_common.published` names are ever downloaded or pushed: none of them is a pickle.
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

from reid_common.errors import UserError
from reid_common.published import CARD, FILES, check_files, is_published, read_manifest

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]*", re.ASCII)
NO_MODELS = (".pth", ".pt", ".ckpt", ".safetensors", ".yaml", ".yml")  # but files, misspelt
FILL_IN = "FILL IN"  # stands in a model card until its author says what the licence is


def find_published(name: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder of published weights: one on this machine, or a copy of one on the hub.

    Args:
        name: folder, or USER/NAME on the hub; a folder of that name comes first.
        revision: branch, tag or commit on the hub; None: its main branch.

    Raises:
        UserError: neither; the hub has no such model, or cannot be asked and it is not in the
            cache.
    """
    text = os.fspath(name)
    if os.path.isdir(text):
        if not is_published(text):
            read_manifest(text)  # which says what it lacks
        return Path(text)
    if os.path.exists(text):
        raise UserError(
            f"{text!r} is a file, and does not say of what model; name its config as well "
            "(--config-file), or a folder of transreid publish"
        )
    check_name(text)
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
        raise UserError(f"revision {revision!r} is no branch, tag or commit of the hub")
    return _downloaded(text, revision)


def check_name(name: str) -> None:
    """Raise UserError where a text is no name of a model on the hub."""
    if not NAME.fullmatch(name) or ".." in name or name.endswith(NO_MODELS):
        raise UserError(
            f"there is no folder {name!r}, and it is no name of a model on the hub, which is "
            "USER/NAME of letters, digits, '-', '_' and '.'"
        )


def _hub() -> Any:
    try:
        importlib.import_module("huggingface_hub.constants")
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            f"models on the hub need the package huggingface_hub ({error}); install it with: pip "
            "install huggingface_hub. A folder on this machine needs none"
        ) from error


def _downloaded(name: str, revision: str | None) -> Path:
    hub = _hub()
    from .pretrained import answers

    constants = hub.constants
    away = not constants.HF_HUB_OFFLINE and not answers(constants.ENDPOINT)
    local = constants.HF_HUB_OFFLINE or away
    try:
        folder = hub.snapshot_download(
            name, revision=revision, allow_patterns=[*FILES], local_files_only=local
        )
    except Exception as error:  # huggingface_hub raises a dozen types
        reason = " ".join(str(error).split())
        if local:
            why = f"{constants.ENDPOINT} does not answer" if away else "HF_HUB_OFFLINE is set"
            reason = f"{why}, and it is not in the cache"
        raise UserError(
            f"there is no folder {name!r}, and the hub does not give a model of that name: "
            f"{reason}. Correct the name, or copy the folder to this machine and name it"
        ) from error
    read_manifest(folder)  # whether it is one of ours
    return Path(folder)


def check_pushable(folder: Path, name: str) -> None:
    """Check, before anything is sent, that a folder may be pushed under a name of the hub.

    Raises:
        UserError: a name that is none, files that are not those that were written, a model card
            without licence.
    """
    check_name(name)
    _hub()
    check_files(folder, read_manifest(folder))
    card = folder / CARD
    if not card.is_file() or FILL_IN in card.read_text(encoding="utf-8"):
        raise UserError(
            f"{str(card)!r} does not say under what licence the weights are published: write it in "
            f"the place of {FILL_IN!r}, or give it with --license"
        )


def push(folder: Path, name: str, private: bool = False) -> str:
    """Push a folder of published weights to the hub; returns its address.

    The token is that of ``huggingface-cli login`` or HF_TOKEN.

    Args:
        folder: which :func:`check_pushable` has looked at.
        name: USER/NAME; made if it is not there.
        private: make it readable for its owner alone.

    Raises:
        UserError: the hub refuses it or cannot be reached.
    """
    hub = _hub()
    try:
        client = hub.HfApi()
        address = client.create_repo(name, private=private, exist_ok=True)
        client.upload_folder(repo_id=name, folder_path=folder, allow_patterns=[*FILES])
    except Exception as error:
        raise UserError(
            f"{str(folder)!r} cannot be pushed as {name!r}: {' '.join(str(error).split())}. Log in "
            "with huggingface-cli login, or set HF_TOKEN; the folder stays as it is"
        ) from error
    return str(address)
