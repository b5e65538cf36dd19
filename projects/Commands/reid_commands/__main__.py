"""Person re-identification with transformers: train, evaluate, extract, search and more.

transreid train --config-file projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml
transreid extract photos/ -o features.npz --config-file logs/run/config.yaml \\
    --weights logs/run/model_final.pth
"""

from __future__ import annotations

import sys

from .groups import group_main

# Command -> module, what it does
COMMANDS = {
    "train": ("train", "train a model, or evaluate it on its test sets"),
    "evaluate": ("evaluate", "evaluate saved results again: intervals, pictures, comparison"),
    "extract": ("extract", "compute features of images"),
    "search": ("search", "find the nearest images"),
    "calibrate": ("calibrate", "find the similarity from which two images count as the same"),
    "publish": ("publish", "write or push a folder of weights that others can load by name"),
    "export": ("export", "write a trained model as an ONNX file"),
    "quantize": ("quantize", "write an int8 file that is not less accurate than a margin"),
    "visualize": ("visualize", "draw attention, rank lists, camera embeddings, training curves"),
    "check-data": ("check_data", "check a data set before training on it"),
    "pretrain": ("pretrain", "choose what to pre-train on, pre-train, fine-tune, evaluate"),
    "report": ("report", "write the report of such a pre-training"),
    "score": ("scores.score", "score images by catastrophic forgetting (CFS)"),
    "select": ("scores.select", "write the list of the images with the best scores"),
    "inspect": ("scores.inspect", "print statistics of scores"),
    "plot": ("scores.plot", "draw scores as a histogram and contact sheets"),
    "convert": ("convert_weights", "convert weights from and to the released format"),
    "convert-dino": ("convert_dino", "convert DINO checkpoints from and to the released format"),
    "config-reference": ("config_reference", "write the reference of all config keys"),
    "draw-toyreid": ("draw_toyreid", "draw a contact sheet of the synthetic data sets"),
}

main = group_main(__doc__, COMMANDS, "transreid")


if __name__ == "__main__":
    sys.exit(main())
