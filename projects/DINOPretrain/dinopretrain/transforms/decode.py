"""Decode image files at the speed that ten views an image leave.

OpenCV decodes a small JPEG faster than PIL, but fills what is missing of a truncated file with grey
and says nothing. So whatever looks incomplete, or is unknown to OpenCV, goes to PIL, which refuses
it with a reason.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image, ImageOps
from reid_common.image_files import FORMATS, TAIL_BYTES


def decode_image(data: bytes) -> np.ndarray:
    """Decode a file's content, turned upright as its EXIF orientation says.

    Args:
        data: JPEG, PNG, or anything else that OpenCV or PIL reads.

    Returns:
        (H, W, 3), uint8, RGB.

    Raises:
        ValueError: no image, or not all of one; the message is the reason, without a name.
    """
    if not data:
        raise ValueError("empty file")
    tail = data[-TAIL_BYTES:]
    if any(data.startswith(first) and last in tail for first, last in FORMATS.items()):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception as error:  # PIL's decoders raise anything: OSError, SyntaxError, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "cannot identify" in reason:
            reason = "not an image"
        raise ValueError(reason) from error
