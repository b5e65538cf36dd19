"""Ablation on the synthetic ToyReID: baseline, +JPM, +SIE, both; several seeds, mean and spread.

python tools/ablation.py --seeds 1 2 3 MODEL.DEVICE cuda

Trains one model after another in logs/ablation; an interrupted call is resumed by the next.
"""

from .runner import Arm, Study

FOLDER = "projects/TransReID/configs/ToyReID"
CONFIGS = {
    "baseline": "vit_tiny_base",
    "+JPM": "vit_tiny_jpm",
    "+SIE": "vit_tiny_sie",
    "TransReID (+JPM +SIE)": "vit_tiny_transreid",
}
ARMS = [Arm(title, f"{FOLDER}/{name}.yml", name) for title, name in CONFIGS.items()]
STUDY = Study(__doc__, "ablation", ARMS)
main, parser = STUDY.main, STUDY.parser
