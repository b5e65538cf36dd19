"""A trained model as an ONNX graph has it: plain tensors in, normalised features out.

Cameras and viewpoints are inputs, or fixed in the file. For that the side information embedding is
replaced by one table, made by the embedding itself, so that both follow MODEL.SIE.UNKNOWN.

Letters: B images, D dimensions, C cameras, V viewpoints.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from reid_common.errors import UserError
from reid_core.side_information.trained import trained_ids
from torch import Tensor, nn

from ..modeling.features import features_of, side_embedding_of
from ..modeling.side_embedding import SideInformationEmbedding
from .profiles import Profile
from .received import Received

INPUT, OFF = "input", "off"


class SieTable(nn.Module):
    """What the side information embedding adds, as a table: (C', V', D), lambda included.

    Behind the C (V) learnt rows stands one for unknown ids, unless MODEL.SIE.UNKNOWN is "error".
    Ids that have no row end outside of the table, which ONNX Runtime refuses on the CPU; rows that
    were not trained are NaN with that policy, else what an unknown id gets. ``camera`` and ``view``
    are those of :class:`OnnxModel`, resolved.

    Raises:
        UserError: a fixed id without a row.
    """

    table: Tensor

    def __init__(self, sie: SideInformationEmbedding, camera: int | str, view: int | str) -> None:
        super().__init__()
        self.num_cameras, self.num_views = sie.num_cameras, sie.num_views
        self.camera, self.view = camera, view
        unknown = [] if sie.unknown == "error" else [-1]
        axes = (camera, sie.num_cameras, "camera"), (view, sie.num_views, "view")
        cameras, views = (
            torch.tensor(_ids_of_axis(choice, size, unknown, name, ids))
            for (choice, size, name), ids in zip(axes, trained_ids(sie.known()), strict=True)
        )
        camids, viewids = torch.meshgrid(cameras, views, indexing="ij")
        with torch.no_grad():
            rows = sie.rows(camids.flatten(), viewids.flatten())
            if sie.unknown == "error":
                known = sie.known().to(rows.device)[camids.flatten(), viewids.flatten()]
                rows[~known] = torch.nan
        self.register_buffer("table", rows.reshape(*camids.shape, -1))

    def forward(self, camids: Tensor | None, viewids: Tensor | None) -> Tensor:
        """Rows for ids (B,): (B, 1, D), or (1, 1, D) where nothing is an input."""
        rows = self.table
        if self.camera == INPUT:
            rows = rows.index_select(0, _positions(camids, self.num_cameras))
        if self.view != INPUT:
            return rows
        positions = _positions(viewids, self.num_views)
        if self.camera != INPUT:
            return rows[0].index_select(0, positions)[:, None]
        return rows.gather(1, positions[:, None, None].expand(-1, 1, rows.shape[2]))


def _ids_of_axis(
    choice: int | str, size: int, unknown: list[int], name: str, trained: list[int]
) -> list[int]:
    """Ids along one axis of the table; ``trained`` are those that training images had."""
    if size == 0:
        return [-1]  # not embedded: the id makes no difference
    if choice == INPUT:
        return [*range(size), *unknown]
    if choice == OFF:
        if not unknown:
            raise UserError(
                f"{name} off: MODEL.SIE.UNKNOWN is error, so that the model has nothing for an "
                f"unknown {name}. Name one of 0..{size - 1}, make it an input, or set "
                "MODEL.SIE.UNKNOWN mean or zero"
            )
        return unknown
    if isinstance(choice, str) or not 0 <= choice < size:
        raise UserError(f"{name} {choice}: the model knows 0..{size - 1}; or input, or off")
    if choice not in trained:
        raise UserError(
            f"{name} {choice}: the training images of the model are of {trained} alone; choose one "
            "of them, input, or off"
        )
    return [choice]


def _positions(ids: Tensor | None, size: int) -> Tensor:
    """Places (B,) of ids in an axis of learnt rows and one row for unknown ids (or none)."""
    assert ids is not None
    return torch.where(ids < 0, size, ids + (ids >= size).long())


class OnnxModel(nn.Module):
    """A copy of a model as the graph has it: normalised features from plain tensors.

    Args:
        model: in eval mode, on the CPU; it stays as it is.
        received: what the images are, and how they become pixels.
        camera: "input", "off" = unknown, or the 0-based camera that all images are from; None: an
            input if the model embeds cameras, or off where the consumer gives images alone.
        view: likewise for the viewpoint.
        flip: average the features of each image and its mirror image (TEST.FLIP).

    Attributes:
        inputs: names of the inputs: "images", then "camids" and "viewids" where they are inputs.
        ids: of each of these two the first id with a row (-1 = unknown, else 0) and the number
            behind the last.

    Raises:
        UserError: side information is asked for that the model does not embed or know, or that the
            consumer cannot give.
    """

    def __init__(
        self,
        model: nn.Module,
        received: Received,
        camera: int | str | None = None,
        view: int | str | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.flip = copy.deepcopy(model), flip
        self.received, profile = received, received.profile
        camera, view = (
            _frozen(choice, profile, name) for choice, name in ((camera, "camera"), (view, "view"))
        )
        sie = side_embedding_of(self.model)
        self.camera = _choice(camera, getattr(sie, "num_cameras", 0), "camera")
        self.view = _choice(view, getattr(sie, "num_views", 0), "view")
        self.ids: dict[str, tuple[int, int]] = {}
        if sie is not None:
            backbone: Any = self.model.backbone
            table = backbone.sie = SieTable(sie, self.camera, self.view)
            if self.camera == INPUT:
                self.ids["camids"] = (table.num_cameras - len(table.table), table.num_cameras)
            if self.view == INPUT:
                self.ids["viewids"] = (table.num_views - table.table.shape[1], table.num_views)
        self.inputs = ["images", *self.ids]

    def forward(self, images: Tensor, *ids: Tensor) -> Tensor:
        """Features (B, D) of images, as the profile has them, and ids (B,) int64 of `inputs`.

        They are NaN for images that are not of the range that the graph is for.
        """
        pixels = self.received.pixels(images)
        batch = dict(zip(self.inputs, (pixels, *ids), strict=True))
        return features_of(self.model, batch, self.flip) + self.received.fault(images)

    def examples(self, batch: int) -> dict[str, Tensor]:
        """Ids of a batch from the table's one end (unknown, if it has that row) to the other.

        With MODEL.SIE.UNKNOWN "error" there are rows that no id may take; they are left out.
        """
        ids = {}
        for name, (first, end) in self.ids.items():
            spread = torch.linspace(first, end - 1, batch).long()
            # Against each other, so that known cameras meet unknown viewpoints.
            ids[name] = spread if name == "camids" else spread.flip(0)
        table = side_embedding_of(self.model)
        if isinstance(table, SieTable) and table.table.isnan().any():
            known = torch.nonzero(~table.table.isnan().any(-1))  # (P, 2)
            chosen = known[torch.linspace(0, len(known) - 1, batch).long()]
            columns = {"camids": chosen[:, 0], "viewids": chosen[:, 1]}
            ids = {name: columns[name] for name in ids}
        return ids


def _frozen(choice: int | str | None, profile: Profile, name: str) -> int | str | None:
    """The choice, or off where nothing else can be: the consumer gives images alone."""
    if not profile.images_only:
        return choice
    if choice == INPUT:
        raise UserError(
            f"--{name} input: {profile.consumer} give images alone; fix the {name} with a number, "
            "or off"
        )
    return OFF if choice is None else choice


def _choice(choice: int | str | None, size: int, name: str) -> int | str:
    if size == 0 and choice not in (None, OFF):
        raise UserError(
            f"{name} {choice}: this model embeds no {name} (MODEL.SIE.{name.upper()} is False); "
            "leave the option out"
        )
    return choice if choice is not None else INPUT if size else OFF
