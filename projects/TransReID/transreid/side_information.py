"""Side information embedding (SIE): one learnt vector per camera, viewpoint, or pair of the two.

Source: He et al., "TransReID", ICCV 2021, section 3.3, equation 4: z0' = z0 + lambda * S_(C, V),
added to all tokens, [cls] included. Rows as in the released code: camera * num_views + view.
"""

from __future__ import annotations

import torch
from fastreid_compat.errors import UserError
from torch import Tensor, nn

TABLE_BYTES = 1024


def sie_rows(
    camids: Tensor | None, viewids: Tensor | None, num_cameras: int, num_views: int
) -> Tensor:
    """Row of the SIE table for each image: the only place where ids become rows.

    Args:
        camids: (B,) 0-based camera ids, needed when ``num_cameras`` > 0.
        viewids: (B,) 0-based viewpoint ids, needed when ``num_views`` > 0.
        num_cameras: size of the camera axis, 0 for an embedding of viewpoints only.
        num_views: size of the viewpoint axis, 0 for an embedding of cameras only.

    Returns:
        (B,) int64 rows.

    Raises:
        UserError: ids are missing or out of range.
    """
    cameras = _checked(camids, num_cameras, "camids", "MODEL.SIE.NUM_CAMERAS")
    views = _checked(viewids, num_views, "viewids", "MODEL.SIE.NUM_VIEWS")
    if cameras is None:
        assert views is not None
        return views
    if views is None:
        return cameras
    return cameras * num_views + views


def _checked(ids: Tensor | None, count: int, name: str, key: str) -> Tensor | None:
    if count == 0:
        return None
    if ids is None:
        raise UserError(
            f"the model embeds {count} {name} ({key}), but the batch has no {name!r}; "
            f"pass 0-based ids, or build the model without them"
        )
    ids = ids.long()
    low, high = torch.stack(torch.aminmax(ids)).tolist()  # one wait for the GPU
    if low < 0:
        raise UserError(
            f"{name} holds {low}: an image of a camera or view that the model was not trained with "
            f"(negative ids mean unknown); {key} is {count}. Evaluate on the training cameras, or "
            "train with MODEL.SIE.CAMERA and MODEL.SIE.VIEW off for unseen ones"
        )
    if high >= count:
        raise UserError(
            f"{name} holds {high}, but {key} is {count} (ids are 0-based, so at most {count - 1}); "
            f"set {key} to at least {high + 1}, or to 0 to take it from the training set"
        )
    return ids


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
    """

    camera_table: Tensor

    def __init__(
        self,
        num_cameras: int,
        num_views: int,
        embed_dim: int,
        sie_coe: float = 3.0,
        camera_table: str = "",
    ) -> None:
        super().__init__()
        if num_cameras < 0 or num_views < 0 or num_cameras + num_views == 0:
            raise ValueError(
                f"SIE needs cameras or views, got num_cameras={num_cameras}, num_views={num_views}"
            )
        self.num_cameras, self.num_views, self.sie_coe = num_cameras, num_views, sie_coe
        rows = max(num_cameras, 1) * max(num_views, 1)
        self.sie_embed = nn.Parameter(torch.empty(rows, 1, embed_dim))
        nn.init.trunc_normal_(self.sie_embed, std=0.02)
        self.register_buffer("camera_table", encode_table(camera_table))

    def forward(self, camids: Tensor | None, viewids: Tensor | None) -> Tensor:
        """Return lambda * S for 0-based ids (B,): (B, 1, D), to be added to every token."""
        rows = sie_rows(camids, viewids, self.num_cameras, self.num_views)
        return self.sie_coe * self.sie_embed[rows.to(self.sie_embed.device)]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # The table of a checkpoint describes the checkpoint's rows. This model's data loaders use
        # the table of its config, which `resolve_side_information` has taken from the checkpoint
        # already where the config left it open.
        state_dict[prefix + "camera_table"] = self.camera_table
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def encode_table(text: str) -> Tensor:
    """Camera table as a (1024,) uint8 tensor, padded with zeros (state dicts hold tensors)."""
    data = text.encode()
    if len(data) > TABLE_BYTES:
        raise UserError(f"the camera table is {len(data)} bytes, at most {TABLE_BYTES} fit: {text}")
    return torch.frombuffer(bytearray(data.ljust(TABLE_BYTES, b"\0")), dtype=torch.uint8).clone()


def decode_table(table: Tensor) -> str:
    """Inverse of :func:`encode_table`."""
    return bytes(table.tolist()).rstrip(b"\0").decode()
