"""Catastrophic forgetting scores: score images, look at the scores, choose the best images.

transreid score --source-weights dino/teacher_backbone.pth --target-weights ft/model_final.pth \\
    --config-file dino.yml --target-config-file finetune.yml --dataset LUPerson -o scores/
transreid inspect --scores scores/
transreid plot --scores scores/ --target-images Market1501 -o pictures/
transreid select --scores scores/ --keep 0.5 -o CFS_list.pkl

A high score says that training on the target moved an image little: it is close to the target.
Kill scoring at any time: the same command resumes. torchrun shares the work among processes and
machines.
"""

from __future__ import annotations

from ..groups import group_main

COMMANDS = {
    "score": ("scores.score", "score a data set into a folder"),
    "inspect": ("scores.inspect", "print count, quantiles, means of folders"),
    "plot": ("scores.plot", "draw a histogram and contact sheets"),
    "select": ("scores.select", "write the list of the best images"),
}

main = group_main(__doc__, COMMANDS)
