"""Config keys of TransReID."""

from __future__ import annotations

from fastreid.config import CfgNode


def add_transreid_config(cfg: CfgNode) -> None:
    """Add the keys of TransReID to a FastReID config, in place.

    Section numbers are those of He et al., "TransReID", ICCV 2021.
    """
    backbone = cfg.MODEL.BACKBONE
    # Any plain ViT of timm, by name. MODEL.BACKBONE.FEAT_DIM must be its embedding dimension;
    # FastReID's own keys STRIDE_SIZE, SIE_COE (lambda of section 3.3), DROP_PATH_RATIO,
    # DROP_RATIO and ATT_DROP_RATE apply.
    backbone.TIMM_NAME = "vit_base_patch16_224"
    # Keep only the first blocks of that ViT, for small models trained from scratch; 0 = all.
    backbone.NUM_BLOCKS = 0
    # (rows, columns) of the position embeddings in PRETRAIN_PATH; () = the grid of TIMM_NAME
    # (14x14 for ImageNet). LUPerson's weights are (16, 8).
    backbone.PRETRAIN_GRID = ()
    # "patch": one convolution, as in the paper. "ics": the IBN convolution stem of TransReID-SSL.
    backbone.STEM = "patch"
    # Recompute the blocks in the backward pass instead of keeping their activations: less memory,
    # more time.
    backbone.GRADIENT_CHECKPOINTING = False

    # Side information embedding (section 3.3)
    cfg.MODEL.SIE = CfgNode()
    cfg.MODEL.SIE.CAMERA = False
    cfg.MODEL.SIE.VIEW = False
    # Sizes of the table; 0 = as many as the training set has
    cfg.MODEL.SIE.NUM_CAMERAS = 0
    cfg.MODEL.SIE.NUM_VIEWS = 0
    # What an image of an unknown camera or viewpoint (negative id) gets: "mean" of the table's
    # rows, "zero" (nothing is added), or "error" (refused)
    cfg.MODEL.SIE.UNKNOWN = "mean"
    # Probability, in training, that the camera of an image is taken as unknown
    cfg.MODEL.SIE.CAMERA_DROPOUT = 0.0

    # Jigsaw patch module (section 3.2); used by MODEL.HEADS.NAME: JPMHead
    cfg.MODEL.JPM = CfgNode()
    # k: local parts, each with its own BNNeck and classifier
    cfg.MODEL.JPM.NUM_PARTS = 4
    # m: 5 for persons, 8 for vehicles in the released configs (m - 1 tokens move, see jigsaw.py)
    cfg.MODEL.JPM.SHIFT_NUM = 5
    # g: groups of the shuffle
    cfg.MODEL.JPM.SHUFFLE_GROUPS = 2
    # False: split the patches in their own order ("w/o rearrange" of table 3)
    cfg.MODEL.JPM.REARRANGE = True
    # True: at test time f_g alone, D instead of (k + 1) * D numbers; the parts are not computed
    cfg.MODEL.JPM.GLOBAL_ONLY = False

    # Feature at test time: before or after the BNNeck. The released configs use "before".
    cfg.MODEL.HEADS.TEST_NECK_FEAT = "before"

    # L = GLOBAL_WEIGHT * L(f_g) + LOCAL_WEIGHT * mean_j L(f_l^j), equation 6: 1 and 1.
    # The released code, which made the reported numbers, has 0.5 and 0.5.
    cfg.MODEL.LOSSES.GLOBAL_WEIGHT = 1.0
    cfg.MODEL.LOSSES.LOCAL_WEIGHT = 1.0

    # SOLVER.SCHED: WarmupCosineLR (schedule.py), the released schedule; SOLVER.WARMUP_FACTOR and
    # SOLVER.MAX_EPOCH apply, SOLVER.WARMUP_ITERS must be 0.
    # Epochs of linear warm-up, part of the cosine; 20 for TransReID-SSL
    cfg.SOLVER.WARMUP_EPOCHS = 5
    # Last learning rate of all parameters as a multiple of SOLVER.BASE_LR
    cfg.SOLVER.ETA_MIN_FACTOR = 0.002
