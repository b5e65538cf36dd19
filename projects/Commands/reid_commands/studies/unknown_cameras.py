"""What the SIE does for cameras that training has not seen, on the synthetic ToyReID or others.

python tools/unknown_cameras.py --seeds 1 2
python tools/unknown_cameras.py --dataset Market1501:identities=200

Trains under cameras 1-4 without SIE, with it, and with it and camera dropout; then evaluates the
same weights with each policy of MODEL.SIE.UNKNOWN under cameras 5-6 (unseen), 1-6 (both) and 1-4
(seen, where the policy makes no difference). The last third of the cameras of --dataset is unseen.
An interrupted call is resumed by the next.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path

from reid_common.errors import UserError
from reid_common.files import read_json, write_json
from reid_core.data.opened_sets import opened_set
from reid_core.data.thinning import camera_of, split_thinning
from reid_core.run.output_lock import only_run

from .finished_run import evaluate_weights, markdown
from .runner import Arm, Rows, Scores, Study, dataset_options, file_name, mean_and_spread

CONFIG = "projects/TransReID/configs/ToyReID/vit_tiny_unknown_cameras.yml"
TESTS = {
    "unseen cameras (5-6)": "ToyReID:cameras=5-6",
    "both (1-6)": "ToyReID:cameras=1-6",
    "seen (1-4)": "ToyReID:cameras=1-4",
}
BOTH = ("mean", "zero")
# Name -> its KEY VALUE pairs, and policies; without SIE the policy makes no difference
TRAININGS = {
    "no SIE": (["MODEL.SIE.CAMERA", "False", "MODEL.SIE.VIEW", "False"], BOTH[:1]),
    "SIE": ([], BOTH),
    "SIE, dropout": (["MODEL.SIE.CAMERA_DROPOUT", "0.3"], BOTH),
}


def evaluate(
    policies: dict[str, str], tests: dict[str, str], folder: Path, pairs: list[str]
) -> dict[str, Scores]:
    """Rows of the table: scores of the trained weights, measured once and kept in ``folder``.

    Args:
        policies: row -> value of MODEL.SIE.UNKNOWN.
        tests: column -> test set.
        folder: of the training.
        pairs: KEY VALUE pairs of the training.
    """
    weights = folder / "model_final.pth"
    scores: dict[str, Scores] = {}
    with only_run(str(folder)):
        for row, policy in policies.items():
            file = folder / f"unknown_cameras_{policy}.json"
            if not file.exists() or file.stat().st_mtime < weights.stat().st_mtime:
                opts = [*pairs, "MODEL.SIE.UNKNOWN", policy]
                write_json(file, evaluate_weights(CONFIG, opts, weights, tests))
            scores[row] = read_json(file)
    return scores


def summary(scores: Rows) -> str:
    """Markdown table of mAP / Rank-1, mean over the seeds, with the spread of mAP.

    Args:
        scores: for each row the scores of each seed, by test set.
    """
    rows = []
    columns = [*next(iter(scores.values()))[0]]
    for row, runs in scores.items():
        cells = []
        for column in columns:
            rank1 = sum(run[column]["Rank-1"] for run in runs) / len(runs)
            cells.append(f"{mean_and_spread([r[column]['mAP'] for r in runs])} / {rank1:.1f}")
        rows.append([row, len(runs), *cells])
    return markdown(["mAP / Rank-1", "seeds", *columns], rows)


def tests_of(dataset: str | None) -> dict[str, str]:
    """Column of the table -> test set: cameras that training has not seen, all, and those it has.

    The unseen ones are the last third, at least two, those of ToyReID 5-6 of its first six.

    Raises:
        UserError: the data set has too few cameras, or its name chooses some.
    """
    if dataset is None:
        return TESTS
    _, thinning = split_thinning(dataset)
    if thinning is not None and thinning.cameras is not None:
        whole, _, cameras = dataset.rpartition(":cameras=")
        raise UserError(
            f"--dataset {dataset} has cameras {cameras} only; which ones are trained and tested on "
            f"is for this study to choose: name {whole}"
        )
    opened = opened_set(dataset)
    count = max(camera_of(item[2]) for item in [*opened.train.items, *opened.test.items]) + 1
    if count < 4:
        raise UserError(
            f"--dataset {dataset} has {count} camera(s); name one with at least 4: matches are "
            "under two cameras, seen ones and unseen ones"
        )
    seen = count - max(2, count // 3)
    ranges = {"unseen cameras": f"{seen + 1}-{count}", "both": f"1-{count}", "seen": f"1-{seen}"}
    return {f"{what} ({some})": f"{dataset}:cameras={some}" for what, some in ranges.items()}


def arms(args: argparse.Namespace) -> Iterator[Arm]:
    """The trainings."""
    tests = tests_of(args.dataset)
    unseen, _, seen = tests.values()
    more = dataset_options(args.dataset and seen, unseen)
    for name, (options, policies) in TRAININGS.items():
        rows = {name if len(policies) == 1 else f"{name}: {policy}": policy for policy in policies}
        measure = functools.partial(evaluate, rows, tests)
        yield Arm(name, CONFIG, file_name(name), [*more, *options], evaluate=measure)


STUDY = Study(__doc__, "unknown_cameras", arms, seeds=(1, 2), table=summary)
main, parser = STUDY.main, STUDY.parser
