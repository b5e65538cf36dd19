"""Draw what a model looks at, whom it finds, what its cameras are to it, how it was trained.

transreid visualize attention --config-file c.yml --weights model.pth *.jpg -o attention.png
transreid visualize rank results/ranking.npz -o ranks.png
transreid visualize sie --config-file c.yml --weights model.pth -o sie.png
transreid visualize curves logs/run1 logs/run2 -o curves.png

Pictures are PNG, PDF or SVG, by the suffix of their name. No data set is needed.
"""

from __future__ import annotations

from ..groups import group_main

COMMANDS = {
    "attention": ("visualize.attention", "attention maps of images"),
    "rank": ("visualize.rank", "rank lists of a search"),
    "sie": ("visualize.sie", "camera and viewpoint embeddings of a model, with their norms"),
    "curves": ("visualize.curves", "loss, learning rate and metrics of runs"),
}

main = group_main(__doc__, COMMANDS)
