"""The TransReID backbone: a timm ViT with overlapping patches and side information.

Source: He et al., "TransReID", ICCV 2021, sections 3.1 and 3.3.

Letters: B images, P prefix tokens ([cls], then registers if the ViT has some), N patches, D
dimensions.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import timm
import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid_compat.errors import UserError
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .cls_attention import cls_of_block
from .patch_embed import OverlapPatchEmbed
from .pretrained import load_pretrained, load_timm_pretrained
from .side_information import SideInformationEmbedding


class TransReIDBackbone(nn.Module):
    """ViT that reads persons or vehicles of one fixed size.

    Args:
        vit: a plain ViT of timm; its blocks, norms and tokens are taken over, its patch and
            position embeddings are replaced by new ones for ``image_size`` and ``stride_size``.
        image_size: (H, W) in pixels.
        stride_size: (S_h, S_w) in pixels; 16 = no overlap, 12 (11 for Occluded-Duke) as released.
        sie: side information embedding, None for none.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        image_size: Sequence[int],
        stride_size: Sequence[int] = (16, 16),
        sie: SideInformationEmbedding | None = None,
    ) -> None:
        super().__init__()
        vit = _plain_vit(vit)
        self.embed_dim = vit.embed_dim
        # Distilled DeiT has a second prefix token, which ReID does not use.
        self.num_prefix_tokens = 1 + (0 if vit.reg_token is None else vit.reg_token.shape[1])
        self.pretrained_grid: tuple[int, int] = tuple(vit.patch_embed.grid_size)
        self.pos_embed_has_prefix = not vit.no_embed_class

        projection = vit.patch_embed.proj
        self.patch_embed = OverlapPatchEmbed(
            image_size,
            projection.kernel_size,
            stride_size,
            vit.embed_dim,
            bias=projection.bias is not None,
        )
        self.cls_token = vit.cls_token
        self.reg_token = vit.reg_token
        length = self.patch_embed.num_patches
        length += self.num_prefix_tokens if self.pos_embed_has_prefix else 0
        self.pos_embed = nn.Parameter(torch.empty(1, length, vit.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_drop = vit.pos_drop
        self.norm_pre = vit.norm_pre
        self.sie = sie
        self.blocks = nn.ModuleList(vit.blocks)
        self.norm = vit.norm

    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """Tokens z0 of equation 4: images (B, 3, H, W), normalised -> (B, P + N, D)."""
        patches = self.patch_embed(images)
        prefix = [
            token.expand(images.shape[0], -1, -1)
            for token in (self.cls_token, self.reg_token)
            if token is not None
        ]
        if self.pos_embed_has_prefix:
            tokens = torch.cat([*prefix, patches], dim=1) + self.pos_embed
        else:
            tokens = torch.cat([*prefix, patches + self.pos_embed], dim=1)
        if self.sie is not None:
            tokens = tokens + self.sie(camids, viewids)
        return self.norm_pre(self.pos_drop(tokens))

    def forward_features(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, P + N, D) after the blocks and the norm that this backbone (still) holds."""
        tokens = self.embed(images, camids, viewids)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def forward(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """[cls] after the whole ViT as a feature map (B, D, 1, 1), which FastReID's heads read."""
        tokens = self.embed(images, camids, viewids)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return self.norm(cls_of_block(self.blocks[-1], tokens))[:, :, None, None]

    def pop_last_block(self) -> tuple[nn.Module, nn.Module]:
        """Hand the last block and the final norm over to a head that makes its branches of them.

        Nothing that the loss does not reach stays behind, so that DistributedDataParallel finds a
        gradient for every parameter.
        """
        block, norm = self.blocks[-1], self.norm
        del self.blocks[-1]
        self.norm = nn.Identity()
        return block, norm


def _plain_vit(vit: nn.Module) -> VisionTransformer:
    """Return ``vit`` if this package can work with it, else raise UserError."""
    # A hybrid's patches come from a CNN, and some ViTs normalise their patches.
    patches = getattr(vit, "patch_embed", None)
    if (
        not isinstance(vit, VisionTransformer)
        or type(patches) is not PatchEmbed
        or not isinstance(patches.norm, nn.Identity)
    ):
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME gives a {type(vit).__name__}; TransReID needs a plain ViT "
            "with one convolution as patch embedding, such as vit_base_patch16_224 or "
            "deit_small_patch16_224"
        )
    if vit.cls_token is None or vit.pos_embed is None:
        raise UserError(
            "this ViT of timm has no [cls] token or no learnt position embedding, which TransReID "
            "needs; choose another MODEL.BACKBONE.TIMM_NAME, such as vit_base_patch16_224"
        )
    return vit


@BACKBONE_REGISTRY.register()
def build_transreid_backbone(cfg: CfgNode) -> TransReIDBackbone:
    """Build the backbone of a config, with pretrained weights if MODEL.BACKBONE.PRETRAIN.

    Raises:
        UserError: unknown or unfit TIMM_NAME, FEAT_DIM that is not the ViT's, train and test sizes
            that differ, SIE without table sizes, weights that cannot be had or do not fit.
    """
    options = cfg.MODEL.BACKBONE
    if list(cfg.INPUT.SIZE_TRAIN) != list(cfg.INPUT.SIZE_TEST):
        raise UserError(
            f"a ViT has position embeddings for one image size, but INPUT.SIZE_TRAIN is "
            f"{list(cfg.INPUT.SIZE_TRAIN)} and INPUT.SIZE_TEST {list(cfg.INPUT.SIZE_TEST)}; "
            "make them equal"
        )
    if not timm.is_model(options.TIMM_NAME):
        known = timm.list_models(["vit_*", "deit*"])
        similar = difflib.get_close_matches(options.TIMM_NAME, known, n=5)
        raise UserError(
            f"timm {timm.__version__} has no model {options.TIMM_NAME!r} "
            f"(MODEL.BACKBONE.TIMM_NAME); similar: {', '.join(similar) or 'none'}"
        )
    if options.NUM_BLOCKS < 0:
        raise UserError(
            f"MODEL.BACKBONE.NUM_BLOCKS is {options.NUM_BLOCKS}; set the number of blocks to keep, "
            "or 0 for all"
        )
    depth = {"depth": options.NUM_BLOCKS} if options.NUM_BLOCKS else {}
    try:
        created = timm.create_model(
            options.TIMM_NAME,
            **depth,
            num_classes=0,
            global_pool="token",
            drop_path_rate=options.DROP_PATH_RATIO,
            proj_drop_rate=options.DROP_RATIO,
            attn_drop_rate=options.ATT_DROP_RATE,
        )
    except (AssertionError, TypeError) as error:  # no [cls] token, or no ViT at all
        raise UserError(
            f"MODEL.BACKBONE.TIMM_NAME: {options.TIMM_NAME} is no plain ViT with a [cls] token "
            f"({error}); choose one, such as vit_base_patch16_224"
        ) from error
    vit = _plain_vit(created)
    if vit.embed_dim != options.FEAT_DIM:
        raise UserError(
            f"MODEL.BACKBONE.FEAT_DIM is {options.FEAT_DIM}, but {options.TIMM_NAME} has "
            f"{vit.embed_dim} dimensions; set FEAT_DIM: {vit.embed_dim}"
        )
    backbone = TransReIDBackbone(
        vit, cfg.INPUT.SIZE_TRAIN, options.STRIDE_SIZE, _build_sie(cfg, vit.embed_dim)
    )
    if options.PRETRAIN and options.PRETRAIN_PATH:
        grid = tuple(options.PRETRAIN_GRID) or None
        load_pretrained(backbone, options.PRETRAIN_PATH, grid)
    elif options.PRETRAIN:
        load_timm_pretrained(backbone, options.TIMM_NAME)
    return backbone


def _build_sie(cfg: CfgNode, embed_dim: int) -> SideInformationEmbedding | None:
    sie = cfg.MODEL.get("SIE")  # absent where add_transreid_config was not called
    if sie is None or not (sie.CAMERA or sie.VIEW):
        return None
    for enabled, key in (("CAMERA", "NUM_CAMERAS"), ("VIEW", "NUM_VIEWS")):
        if sie[enabled] and sie[key] < 1:
            raise UserError(
                f"MODEL.SIE.{enabled} is on, but MODEL.SIE.{key} is {sie[key]}; set it, or call "
                "transreid.resolve_side_information(cfg), which takes it from the training set"
            )
    return SideInformationEmbedding(
        num_cameras=sie.NUM_CAMERAS if sie.CAMERA else 0,
        num_views=sie.NUM_VIEWS if sie.VIEW else 0,
        embed_dim=embed_dim,
        sie_coe=cfg.MODEL.BACKBONE.SIE_COE,
        camera_table=",".join(cfg.DATASETS.get("CAMERAS", ())),
    )
