"""Config keys of DINO pre-training."""

from __future__ import annotations

from fastreid.config import CfgNode


def add_dino_config(cfg: CfgNode) -> None:
    """Add the keys of DINO to a config that has those of TransReID, in place.

    Source of the values: Caron et al., ICCV 2021, and its released code.
    """
    cfg.DINO = CfgNode()
    # K: outputs of the head. Small batches want fewer.
    cfg.DINO.OUT_DIM = 65536
    cfg.DINO.HIDDEN_DIM = 2048
    cfg.DINO.BOTTLENECK_DIM = 256
    # Keep the norms of the last layer's weights at 1
    cfg.DINO.NORM_LAST_LAYER = True
    # tau_s
    cfg.DINO.STUDENT_TEMP = 0.1
    # tau_t: from WARMUP_TEACHER_TEMP to TEACHER_TEMP, linear over the epochs; 0.07 is usual
    cfg.DINO.TEACHER_TEMP = 0.04
    cfg.DINO.WARMUP_TEACHER_TEMP = 0.04
    cfg.DINO.WARMUP_TEACHER_TEMP_EPOCHS = 0
    # m of equation 4
    cfg.DINO.CENTER_MOMENTUM = 0.9
    # Momentum of the teacher at the start, by a cosine to 1 at the end; 0.9995 at batch 256
    cfg.DINO.MOMENTUM = 0.996
    # Weight decay by a cosine from SOLVER.WEIGHT_DECAY to this; none on biases and 1-d parameters
    cfg.DINO.WEIGHT_DECAY_END = 0.4
    # Weight of KoLeo, which spreads the features over more dimensions; 0 as in the released recipe,
    # 0.1 in DINOv2. The images of one forward pass are compared: see MICRO_BATCH.
    cfg.DINO.KOLEO_WEIGHT = 0.0
    # Greatest norm of the gradient of each parameter on its own; 0 = no clipping
    cfg.DINO.CLIP_GRADIENT = 3.0
    # Images of one forward pass of one process; a step's gradients are summed over as many passes
    # as its share of SOLVER.IMS_PER_BATCH needs. 0 = the whole share. Changes nothing but memory
    # and time, for a ViT without KoLeo; BatchNorm has its statistics from a pass.
    cfg.DINO.MICRO_BATCH = 0
    # Epochs in which the last layer stays as it is
    cfg.DINO.FREEZE_LAST_LAYER = 1
    # The learning rate is SOLVER.BASE_LR * SOLVER.IMS_PER_BATCH / 256 after SOLVER.WARMUP_EPOCHS
    # from 0, then a cosine to this, absolute.
    cfg.DINO.MIN_LR = 1e-6
    # End the run when it has collapsed; False only says so
    cfg.DINO.STOP_ON_COLLAPSE = True
    # Iterations at the start in which collapse is not looked for: outputs begin almost uniform
    cfg.DINO.COLLAPSE_GRACE = 100
    # Views: two globals and this many locals; (H, W) in pixels, global views have INPUT.SIZE_TRAIN
    cfg.DINO.LOCAL_VIEWS = 8
    cfg.DINO.LOCAL_SIZE = [128, 64]
    # Part of the image's area that a view shows
    cfg.DINO.GLOBAL_SCALE = [0.4, 1.0]
    cfg.DINO.LOCAL_SCALE = [0.05, 0.4]
    # Width / height of that part, before it is resized; torchvision's, as in the released recipe,
    # stretches an upright image
    cfg.DINO.CROP_RATIO = [3 / 4, 4 / 3]
    # Greatest share of images that cannot be read before the run ends
    cfg.DINO.MAX_BAD_IMAGES = 0.01
