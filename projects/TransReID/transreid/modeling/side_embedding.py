"""Side information embedding (SIE): one learnt vector per camera, viewpoint, or pair of the two.

Source: He et al., "TransReID", ICCV 2021, section 3.3, equation 4: z0' = z0 + lambda * S_(C, V),
added to all tokens, [cls] included. Rows as in the released code: camera * num_views + view.

The table is joint, a row for each pair, as the paper chose; or additive, S_C + S_V, which the paper
discusses: C + V rows, for data sets with too few images of each pair.

The released code cannot embed an image of a camera that was not in training. Here negative ids, and
rows that no training image had, are unknown: MODEL.SIE.UNKNOWN says what such an image gets.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from fastreid_compat.repairs.training.metrics import current_storage, read_later
from reid_common.errors import UserError
from reid_core.config.values import check_choice
from reid_core.side_information.rows import sie_rows
from reid_core.side_information.stored import encode_table
from reid_core.side_information.trained import (
    INITIAL,
    RECORD,
    TRAINED,
    UNTRAINED,
    known_pairs,
    pairs_of_images,
    record_of,
)
from torch import Tensor, nn

from .side_unknown import KEYS, check_policy, check_range, fill_untrained, unknown_rows

logger = logging.getLogger(__name__)

TABLES = ("joint", "additive")


class SideInformationEmbedding(nn.Module):
    """The SIE table, and the camera table that its rows were learnt for.

    Args:
        num_cameras: cameras, 0 to embed viewpoints only.
        num_views: viewpoints, 0 to embed cameras only.
        embed_dim: D.
        sie_coe: lambda of equation 4; 3.0 in every released config.
        camera_table: text of DATASETS.CAMERAS ("market1501:6,msmt17:15"): which camera of which
            data set a row stands for. It is saved with the weights, so that a model can be
            evaluated without its training set; at most 1024 bytes.
        unknown: what an image of unknown camera or viewpoint gets. "mean": the mean of the rows
            that it may be, over the cameras at its view, over the views of its camera, or over all;
            "zero": nothing is added; "error": it is refused.
        camera_dropout: probability, in training, that the camera of an image counts as unknown, in
            [0, 1); drawn from torch's generator of the ids' device.
        table: "joint" or "additive"; the same with cameras or viewpoints alone. An additive table
            with the policy "zero" leaves out the part that is unknown only.

    Raises:
        UserError: an unknown policy or table, or a dropout that is out of range or has nothing to
            drop to.
    """

    camera_table: Tensor
    trained_rows: Tensor  # (C * V,) uint8, see reid_core.side_information.trained
    sie_embed: Tensor
    sie_camera: Tensor
    sie_view: Tensor

    def __init__(
        self,
        num_cameras: int,
        num_views: int,
        embed_dim: int,
        sie_coe: float = 3.0,
        camera_table: str = "",
        unknown: str = "mean",
        camera_dropout: float = 0.0,
        table: str = "joint",
    ) -> None:
        super().__init__()
        if num_cameras < 0 or num_views < 0 or num_cameras + num_views == 0:
            raise ValueError(
                f"SIE needs cameras or views, got num_cameras={num_cameras}, num_views={num_views}"
            )
        check_policy(unknown, camera_dropout, num_cameras)
        check_choice("MODEL.SIE.TABLE", table, TABLES)
        self.num_cameras, self.num_views, self.sie_coe = num_cameras, num_views, sie_coe
        self.unknown, self.camera_dropout = unknown, camera_dropout
        self.additive = table == "additive" and num_cameras > 0 and num_views > 0
        pairs = max(num_cameras, 1) * max(num_views, 1)
        sizes = {"sie_embed": pairs}
        if self.additive:
            sizes = {"sie_camera": num_cameras, "sie_view": num_views}
        for name, rows in sizes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(rows, 1, embed_dim)))
            nn.init.trunc_normal_(self.get_parameter(name), std=0.02)
        self.register_buffer("camera_table", encode_table(camera_table))
        self.register_buffer("trained_rows", torch.full((pairs,), INITIAL, dtype=torch.uint8))
        self._some_untrained = False  # kept, so that no step waits for the device
        self._warned: set[str] = set()

    def forward(self, camids: Tensor | None = None, viewids: Tensor | None = None) -> Tensor:
        """Return lambda * S for ids (B,): (B, 1, D), to be added to every token.

        Without any ids the result is (1, 1, D). Under torch.compile and in an export the range of
        the ids is not checked, because that needs their values; a trainer's step checks it when
        the trainer reads its metrics.

        Raises:
            UserError: an id is too high; with the policy "error" also a negative or missing one.
        """
        if self.training and self.camera_dropout and camids is not None:
            dropped = torch.rand(camids.shape, device=camids.device) < self.camera_dropout
            camids = torch.where(dropped, -1, camids)
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        later = not traced and self._check(camids, viewids)
        # An id that is too high ends a run later; its row would end a GPU's process now.
        return self.rows(camids, viewids, clamp=later)

    def rows(self, camids: Tensor | None, viewids: Tensor | None, clamp: bool = False) -> Tensor:
        """As :meth:`forward`, for ids that have been checked, or, ``clamp``, will be."""
        rows = sie_rows(camids, viewids, self.num_cameras, self.num_views)
        table = self.table()
        rows = rows.clamp(0, len(table) - 1) if clamp else rows
        return self.sie_coe * table[rows.to(table.device)]

    def known(self) -> Tensor:
        """Pairs of a camera and a viewpoint that were trained, (C, V) bool; 1 for an axis of 0."""
        return known_pairs(self.trained_rows, self.num_cameras, self.num_views, self.additive)

    def note_training_images(self, cameras: Sequence[int], views: Sequence[int]) -> None:
        """Take down which rows a training trains, beside those that weights have brought trained.

        Args:
            cameras: row of the camera of each training image, negative = unknown.
            views: viewpoint of each, likewise.
        """
        seen = pairs_of_images(cameras, views, self.num_cameras, self.num_views).flatten()
        record = self.trained_rows
        record[record == INITIAL] = UNTRAINED
        record[seen.to(record.device)] = TRAINED
        self._note_untrained()
        if self._some_untrained:
            known = self.known()
            logger.info(
                f"SIE: {int(known.sum())} of {known.numel()} rows have training images, of "
                f"{int(known.any(1).sum())} cameras and {int(known.any(0).sum())} viewpoints; "
                f"whatever is of the others counts as unknown, MODEL.SIE.UNKNOWN is {self.unknown}"
            )

    def _note_untrained(self) -> None:
        self._some_untrained = not bool(self.known().all())

    def pairs(self) -> Tensor:
        """S of each pair of a camera and a viewpoint, (C, V, 1, D); C or V is 1 where it is 0."""
        if self.additive:
            return added_pairs(self.sie_camera, self.sie_view)
        return self.sie_embed.unflatten(0, (max(self.num_cameras, 1), max(self.num_views, 1)))

    def table(self) -> Tensor:
        """The learnt rows and those for unknown ids, in the order of :func:`sie_rows`.

        The place of a row that was not trained has what its image gets as unknown.

        Returns:
            (C * V + V + C + 1, 1, D); with the policy "error" (C * V, 1, D).
        """
        grid = self.pairs()
        if self.unknown == "error":
            return grid.flatten(0, 1)
        known = self.known() if self._some_untrained else None
        parts = (self.sie_view, self.sie_camera) if self.additive else ()
        unknown = unknown_rows(grid, known, self.unknown == "zero", parts)
        if known is not None:
            grid = fill_untrained(grid, known, *unknown)
        return torch.cat([grid.flatten(0, 1), *unknown])

    def _check(self, camids: Tensor | None, viewids: Tensor | None) -> bool:
        """Check the ids; returns whether that is put off until a trainer reads its metrics."""
        sizes = {"camids": self.num_cameras, "viewids": self.num_views}
        ends: dict[str, Tensor] = {}
        for (name, size), ids in zip(sizes.items(), (camids, viewids), strict=True):
            if size and ids is None:
                self._missing(name, size)
            elif size and ids is not None and ids.numel():
                ends[name] = torch.stack(torch.aminmax(ids.long()))
        if not ends:
            return False

        def judge(numbers: Sequence[float], _iteration: int = 0) -> None:
            for place, name in enumerate(ends):
                low, high = numbers[2 * place : 2 * place + 2]
                check_range(name, sizes[name], int(low), int(high), self.unknown)

        found, storage = torch.cat(list(ends.values())), current_storage()
        if self.training and storage is not None:
            read_later(storage, found, judge)
            return True
        judge(found.tolist())  # one wait for the device
        if self.unknown == "error" and self._some_untrained:
            self._check_trained(camids, viewids)
        return False

    def _check_trained(self, camids: Tensor | None, viewids: Tensor | None) -> None:
        rows = sie_rows(camids, viewids, self.num_cameras, self.num_views)
        known = self.known().flatten()
        untrained = rows[~known[rows.to(known.device)].to(rows.device)]
        if len(untrained):
            camera, view = divmod(int(untrained[0]), max(self.num_views, 1))
            places = {"camera": (self.num_cameras, camera), "viewpoint": (self.num_views, view)}
            named = " and ".join(f"{name} {i}" for name, (size, i) in places.items() if size)
            raise UserError(
                f"{len(untrained)} image(s) of {named} (0-based), which no training image had, and "
                "MODEL.SIE.UNKNOWN is error. Set that to mean or zero, or evaluate on what the "
                "model was trained with"
            )

    def _missing(self, name: str, size: int) -> None:
        if self.unknown == "error":
            raise UserError(
                f"the model embeds {size} {name} ({KEYS[name]}), but the batch has no {name!r}; "
                "pass 0-based ids, set MODEL.SIE.UNKNOWN to mean or zero, or build the model "
                "without them"
            )
        if name not in self._warned:
            self._warned.add(name)
            logger.warning(
                f"The model embeds {size} {name}, but the batch has none: all count as unknown, "
                f"MODEL.SIE.UNKNOWN is {self.unknown}"
            )

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # The table of a checkpoint describes the checkpoint's rows. This model's data loaders use
        # the table of its config, which `resolve_side_information` has taken from the checkpoint
        # already where the config left it open.
        state_dict[prefix + "camera_table"] = self.camera_table
        if any(prefix + name in state_dict for name, _ in self.named_parameters()):
            # Of a checkpoint without a record all rows count as trained, as they did.
            stored = {RECORD: state_dict[prefix + RECORD]} if prefix + RECORD in state_dict else {}
            state_dict[prefix + RECORD] = record_of(stored, len(self.trained_rows))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._note_untrained()


def added_pairs(cameras: Tensor, views: Tensor) -> Tensor:
    """S_C + S_V of each pair: (C, 1, D) and (V, 1, D) -> (C, V, 1, D)."""
    return cameras[:, None] + views
