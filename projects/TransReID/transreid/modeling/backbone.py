"""The TransReID backbone: a timm ViT with overlapping patches and side information.

Source: He et al., "TransReID", ICCV 2021, sections 3.1 and 3.3.

Letters: B images, P prefix tokens ([cls], then registers if the ViT has some), N patches, D
dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from reid_common.errors import UserError
from reid_core.config.values import check_choice
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .cls_attention import cls_of_block
from .patch_embed import OverlapPatchEmbed, patch_grid, pos_embed_for_view
from .side_embedding import SideInformationEmbedding

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


SIE_TOKENS = ("all", "cls")


class TransReIDBackbone(nn.Module):
    """ViT that reads persons or vehicles of one fixed size.

    Args:
        vit: a plain ViT of timm, or its DINOv3; its blocks, norms and tokens are taken over, its
            patch and position embeddings are replaced by new ones for ``image_size`` and
            ``stride_size``.
        image_size: (H, W) in pixels.
        stride_size: (S_h, S_w) in pixels; 16 = no overlap, 12 (11 for Occluded-Duke) as released.
        sie: side information embedding, None for none.
        stem: "patch" or "ics", see :class:`transreid.modeling.patch_embed.OverlapPatchEmbed`.
        gradient_checkpointing: in training, recompute the blocks in the backward pass.
        sie_tokens: which tokens side information is added to, of :data:`SIE_TOKENS`: "all", as in
            equation 4, or "cls", [cls] alone, as CLIP-ReID does.
        projection: size P of CLIP's linear projection of [cls], 0 for none; see
            :meth:`forward_projected`.

    Attributes:
        any_size: take images of other sizes, too, with position embeddings made for them in each
            forward pass; False refuses them. For views of several sizes (DINO).
        drop_part_tokens: leave out part tokens that a file has, and this backbone has not.
        weights_grid: (rows, columns) that position embeddings of files may be for, beside those
            that are known; MODEL.BACKBONE.PRETRAIN_GRID.
    """

    masked_embed: nn.Parameter

    def __init__(
        self,
        vit: VisionTransformer,
        image_size: Sequence[int],
        stride_size: Sequence[int] = (16, 16),
        sie: SideInformationEmbedding | None = None,
        stem: str = "patch",
        gradient_checkpointing: bool = False,
        sie_tokens: str = "all",
        projection: int = 0,
    ) -> None:
        super().__init__()
        from .vits import plain_vit  # late: timm takes seconds

        vit = plain_vit(vit)
        check_choice("MODEL.SIE.TOKENS", sie_tokens, SIE_TOKENS)
        self.sie_tokens = sie_tokens
        self.gradient_checkpointing = gradient_checkpointing
        self.any_size = False
        self.drop_part_tokens = False
        self.weights_grid: tuple[int, ...] = ()
        self.embed_dim = vit.embed_dim
        # Distilled DeiT has a second prefix token, which ReID does not use.
        self.num_prefix_tokens = 1 + (0 if vit.reg_token is None else vit.reg_token.shape[1])
        self.pretrained_grid: tuple[int, int] = tuple(vit.patch_embed.grid_size)
        self.pos_embed_has_prefix = not vit.no_embed_class

        kernel = vit.patch_embed.proj
        self.patch_embed = OverlapPatchEmbed(
            image_size,
            kernel.kernel_size,
            stride_size,
            vit.embed_dim,
            bias=kernel.bias is not None,
            stem=stem,
        )
        self.cls_token = cast(nn.Parameter, vit.cls_token)
        self.reg_token = vit.reg_token
        length = self.patch_embed.num_patches
        length += self.num_prefix_tokens if self.pos_embed_has_prefix else 0
        self.rope: Any = getattr(vit, "rope", None)  # of DINOv3, in the place of a table
        self.pos_embed: nn.Parameter | None = None
        if self.rope is None:
            self.pos_embed = nn.Parameter(torch.empty(1, length, vit.embed_dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_drop = vit.pos_drop
        self.norm_pre = vit.norm_pre
        self.sie = sie
        self.blocks = nn.ModuleList(vit.blocks)
        self.norm = vit.norm
        self.proj: nn.Parameter | None = None
        if projection:
            self.proj = nn.Parameter(torch.randn(vit.embed_dim, projection) * vit.embed_dim**-0.5)

    def embed(
        self,
        images: Tensor,
        camids: Tensor | None = None,
        viewids: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Tokens z0 of equation 4: images (B, 3, H, W), normalised -> (B, P + N, D).

        Where ``masks`` (B, N) is True, the vector ``masked_embed`` takes the place of a patch: for
        backbones that masked image modelling has given one.
        """
        patches = self.patch_embed(images, self.any_size)
        if masks is not None:
            patches = torch.where(masks[:, :, None], self.masked_embed.to(patches), patches)
        pos_embed = self._pos_embed(images)
        side: Tensor | float = 0.0 if self.sie is None else self.sie(camids, viewids)
        on_cls = self.sie is not None and self.sie_tokens == "cls"
        cls_token: Tensor = self.cls_token + side if on_cls else self.cls_token
        prefix = [
            token.expand(images.shape[0], -1, -1)
            for token in (cls_token, self.reg_token)
            if token is not None
        ]
        if self.pos_embed_has_prefix:
            tokens = torch.cat([*prefix, patches], dim=1) + pos_embed
        else:
            tokens = torch.cat([*prefix, patches + pos_embed], dim=1)
        if self.sie is not None and not on_cls:
            tokens = tokens + side
        return self.norm_pre(self.pos_drop(tokens))

    def _grid(self, images: Tensor) -> tuple[int, int]:
        patches = self.patch_embed
        if not self.any_size:
            return patches.grid_size
        return patch_grid(images.shape[-2:], patches.patch_size, patches.stride)

    def _pos_embed(self, images: Tensor) -> Tensor | float:
        """The table of positions for these images, 0 for a ViT that has none."""
        if self.pos_embed is None:
            return 0.0
        patches, grid = self.patch_embed, self._grid(images)
        prefix = self.num_prefix_tokens if self.pos_embed_has_prefix else 0
        return pos_embed_for_view(self.pos_embed, patches.grid_size, grid, prefix)

    def _rope(self, images: Tensor) -> dict[str, Tensor]:
        """What blocks get beside their tokens: rotary positions, where the ViT has such."""
        return {} if self.rope is None else {"rope": self.rope.get_embed(shape=self._grid(images))}

    def forward_features(
        self,
        images: Tensor,
        camids: Tensor | None = None,
        viewids: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, P + N, D) after the blocks and the norm that this backbone (still) holds.

        ``masks`` (B, N) hides patches, see :meth:`embed`.
        """
        tokens = self.embed(images, camids, viewids, masks)
        return self.norm(self._through(self.blocks, tokens, self._rope(images)))

    def forward(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """[cls] after the whole ViT as a feature map (B, D, 1, 1), which FastReID's heads read."""
        return self._last_two(images, camids, viewids)[1][:, :, None, None]

    def _last_two(
        self, images: Tensor, camids: Tensor | None, viewids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """[cls] that goes into the last block, and [cls] after the norm, (B, D) each."""
        rope = self._rope(images)
        tokens = self._through(self.blocks[:-1], self.embed(images, camids, viewids), rope)
        return tokens[:, 0], self.norm(cls_of_block(self.blocks[-1], tokens, **rope))

    def forward_projected(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[cls] in three forms, as CLIP-ReID reads it.

        Returns:
            [cls] that goes into the last block (B, D), [cls] after the norm (B, D), and its
            projection (B, P).
        """
        if self.proj is None:
            raise UserError("MODEL.BACKBONE.PROJECTION is 0; set it to CLIP's, 512 for ViT-B")
        inner, cls = self._last_two(images, camids, viewids)
        return inner, cls, cls @ self.proj

    def forward_map(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """[cls] after the norm (B, D), and the patches before it as a map (B, D, rows, columns)."""
        tokens = self._through(self.blocks, self.embed(images, camids, viewids), self._rope(images))
        patches = tokens[:, self.num_prefix_tokens :].transpose(1, 2)
        return self.norm(tokens[:, 0]), patches.unflatten(2, self._grid(images))

    def _through(
        self, blocks: Iterable[nn.Module], tokens: Tensor, rope: dict[str, Tensor]
    ) -> Tensor:
        """Tokens (B, P + N, D) after the given blocks."""
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for block in blocks:
            if recompute:
                tokens = checkpoint(partial(block, **rope), tokens, use_reentrant=False)
            else:
                tokens = block(tokens, **rope)
        return tokens

    def pop_last_block(self) -> tuple[nn.Module, nn.Module]:
        """Hand the last block and the final norm over to a head that makes its branches of them.

        Nothing that the loss does not reach stays behind, so that DistributedDataParallel finds a
        gradient for every parameter.
        """
        if self.rope is not None:
            raise UserError(
                "MODEL.HEADS.NAME JPMHead rearranges patches, which a ViT with rotary positions "
                "(DINOv3) cannot follow; set MODEL.HEADS.NAME BNNeckHead"
            )
        block, norm = self.blocks[-1], self.norm
        del self.blocks[-1]
        self.norm = nn.Identity()
        return block, norm
