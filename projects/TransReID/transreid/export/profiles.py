"""Export profiles: what the program that will run a graph gives it, one entry for each consumer.

A tracker feeds its crops to the first input and reads the first output, whatever the graph was made
for. So what each of them gives was read off its code or documentation, and is undone in the graph
(received.py). Versions that were tried, and how near the features are: docs/trackers.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reid_common.errors import UserError
from reid_core.config.values import check_choice

from .input_range import IMAGENET, KINDS, PIXELS, UNIT


@dataclass(frozen=True)
class Profile:
    """What a consumer gives a graph, and which inputs it can fill.

    Attributes:
        consumer: who runs the graph, as messages name it.
        input_range: a name of :data:`~.input_range.KINDS`.
        bgr: the channels are blue, green, red, as OpenCV reads files.
        raw: crops come as they were cut, uint8 (B, h, w, 3) of any size, and are resized in the
            graph; else they come in the model's size, float32 (B, 3, H, W).
        images_only: nothing but images is given, so that cameras and viewpoints are fixed.
        batch: number of images at once; 0: any.
    """

    name: str
    consumer: str
    input_range: str = PIXELS
    bgr: bool = False
    raw: bool = False
    images_only: bool = True
    batch: int = 0

    @property
    def color(self) -> str:
        """Order and range of the numbers, as the graph's metadata say it."""
        return KINDS[self.input_range].replace("RGB", "BGR" if self.bgr else "RGB")

    @property
    def layout(self) -> str:
        """Shape and type of the images."""
        return "uint8 (B, h, w, 3), any size" if self.raw else "float32 (B, 3, H, W)"


PLAIN = "plain"
PROFILES = {
    profile.name: profile
    for profile in (
        Profile(PLAIN, "programs of your own", images_only=False),
        Profile("ultralytics", "Ultralytics", UNIT),
        Profile("boxmot", "BoxMOT and Roboflow's reid", IMAGENET),
        Profile("deepsort", "DeepSORT's encoders", bgr=True, raw=True),
        Profile("opencv", "OpenCV's cv2.dnn", bgr=True, batch=1),
        Profile("triton", "Triton Inference Server", images_only=False),
    )
}


def find_profile(
    name: str = PLAIN, input_range: str | None = None, batch: int | None = None
) -> Profile:
    """A profile by name, with the range and batch size that were asked for.

    Args:
        name: a name of :data:`PROFILES`.
        input_range: another range than that of the profile "plain"; None: the profile's.
        batch: fixed number of images, 0: any; None: the profile's.

    Raises:
        UserError: no such profile or range, or a range that the consumer does not give.
    """
    check_choice("--profile", name, tuple(PROFILES))
    profile = PROFILES[name]
    if batch is not None and batch < 0:
        raise UserError(f"--batch {batch}: give the fixed number of images, or 0 for any")
    if input_range is not None and input_range != profile.input_range:
        check_choice("--input", input_range, tuple(KINDS))
        if name != PLAIN:
            raise UserError(
                f"--input {input_range}: {profile.consumer} give {profile.color}, which --profile "
                f"{name} is for; leave --input out, or use --profile {PLAIN}"
            )
        profile = replace(profile, input_range=input_range)
    return profile if batch is None else replace(profile, batch=batch)


def profile_of(metadata: Mapping[str, str]) -> Profile:
    """The profile that a file's metadata tell; files from before there were profiles are plain."""
    profile = PROFILES[metadata.get("profile", PLAIN)]
    kinds = {replace(profile, input_range=kind).color: kind for kind in KINDS}
    return replace(profile, input_range=kinds[metadata["color"]])


def check_profile(path: str, metadata: Mapping[str, str], expected: str = PLAIN) -> None:
    """Raise UserError where a file is not of the profile that a reader gives images for.

    Args:
        path: file, for the message.
        metadata: text properties of the graph. Files from before there were profiles are plain.
        expected: profile of the reader.
    """
    if "color" not in metadata:
        raise UserError(
            f"{path!r} does not say what images it takes; export a model with tools/export_onnx.py"
        )
    found = metadata.get("profile", PLAIN)
    if found != expected:
        consumer = PROFILES[found].consumer if found in PROFILES else "another program"
        raise UserError(
            f"{path!r} was exported with --profile {found}, for {consumer}: it takes "
            f"{metadata['color']} as {metadata.get('layout', 'another layout')}, and its features "
            f"would be wrong here; export the model with --profile {expected}"
        )
