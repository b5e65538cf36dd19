"""Every suffix of an image is found and read by everything that looks for images."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
from dinopretrain.data.listing import tree_names
from dinopretrain.data.tar_images import scan_tar
from dinopretrain.transforms.decode import decode_image
from fastreid.data.data_utils import read_image
from PIL import Image, features
from reid_common.image_files import IMAGE_SUFFIXES, find_fault
from reid_core.data.folder_reid import image_files
from transreid.inference.image_inputs import to_rgb
from transreid.inference.image_lists import list_images

MODES = {".pbm": "1", ".pgm": "L"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for suffix in IMAGE_SUFFIXES:
        if suffix == ".jp2" and not features.check("jpg_2000"):
            continue
        picture = Image.new(MODES.get(suffix, "RGB"), (8, 16), "white")
        picture.save(root / f"a{suffix.upper()}")
    (root / "notes.txt").touch()
    return root


def test_every_suffix_is_found(folder) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".txt")
    assert len(names) >= len(IMAGE_SUFFIXES) - 1
    assert sorted(item.path for item in list_images(folder)) == [str(folder / n) for n in names]
    assert sorted(found[-1] for found in image_files(str(folder))) == names
    assert [name.decode() for name in tree_names(str(folder))] == names
    with tarfile.open(folder / "images.tar", "w") as tar:
        for name in [*names, "notes.txt"]:
            tar.add(folder / name, name)
    index = scan_tar(str(folder / "images.tar"))
    assert [index.names[i] for i in range(len(index.names))] == names


def test_every_suffix_is_read(folder) -> None:
    for path in folder.iterdir():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            assert find_fault(str(path)) is None
            for picture in (to_rgb(str(path)), read_image(str(path))):
                assert np.asarray(picture).shape == (16, 8, 3), path.name
                assert np.asarray(picture).min() > 250, path.name
            decoded = decode_image(path.read_bytes())
            assert decoded.shape == (16, 8, 3) and decoded.min() > 250, path.name
