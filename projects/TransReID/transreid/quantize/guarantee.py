"""Is the int8 model not worse than float32 by more than a margin? Paired, on the same images.

Of each query the difference of the two average precisions is taken, and of each pair of two images
of one identity whether it is accepted at the model's own threshold for the false accept rate. Their
means are the differences of mAP and of TPR at that FAR. A measure is not inferior if the one-sided
95% lower bound of its difference is above minus the margin. The bounds are of a bootstrap over
identities (:mod:`fasteval.analysis.bootstrap`): all images of one are drawn together.

Letters: N images, Q queries, G of the gallery, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fasteval.analysis.bootstrap import Interval, confidence_interval
from fasteval.evaluation import evaluate_features
from reid_common.errors import UserError

from ..inference.backends.backend import ONNX_RUNTIME
from ..inference.pairs import MAX_PAIRS, pair_similarities
from ..inference.verification import threshold_at

LEVEL = 0.95
NUM_RESAMPLES = 9999
LEAST_IDENTITIES = 5  # of the queries, for a bound over identities


def check_margin(margin: float) -> None:
    """Raise UserError for a margin, 0..1, that is none."""
    if not 0 < margin < 1:
        raise UserError(f"--margin {100 * margin:g}: give percent points between 0 and 100")


@dataclass(frozen=True)
class Test:
    """What two models are compared on.

    Attributes:
        pids: (N,) identities, queries first.
        camids: (N,) cameras.
        num_query: Q.
        margin: 0..1, by which a measure may be lower.
        far: false accept rate of the TPR, 0..1.
        seed: of the draws.
    """

    __test__ = False  # not one of pytest's

    pids: np.ndarray
    camids: np.ndarray
    num_query: int
    margin: float
    far: float
    seed: int = 0


@dataclass(frozen=True)
class Paired:
    """A measure of both models, all in percent (points).

    Attributes:
        backend: what ran the second model.
        first, second: with two-sided 95% intervals.
        difference: second - first, whose ``low`` is the one-sided 95% bound.
        accepted: it is above minus the margin.
    """

    backend: str
    measure: str
    first: Interval
    second: Interval
    difference: Interval
    accepted: bool


def compare(
    first: np.ndarray, second: np.ndarray, test: Test, backend: str = ONNX_RUNTIME
) -> list[Paired]:
    """Compare two models' features (N, D) of the same images: mAP, then TPR at the FAR.

    ``backend`` is what ran the second model.

    Raises:
        UserError: there is no query with a match, or no pair of either kind.
    """
    return [
        _paired(backend, measure, one, other, clusters, test)
        for measure, clusters, (one, other) in _measured((first, second), test)
    ]


def check_meaning(features: np.ndarray, test: Test) -> None:
    """Raise UserError where the float32 model is so weak that every int8 model would pass.

    Args:
        features: (N, D) of the float32 model.
        test: a measure that is not above its margin cannot be lower by more than it.
    """
    for measure, _, (values,) in _measured((features,), test):
        if values.mean() <= test.margin:
            raise UserError(
                f"{measure} of float32 is {100 * values.mean():.2f}%, not above the margin of "
                f"{100 * test.margin:g} points, so that any int8 model would pass: take a better "
                "model, more images, a smaller --margin or a larger --far"
            )


def _measured(
    models: Sequence[np.ndarray], test: Test
) -> list[tuple[str, np.ndarray, list[np.ndarray]]]:
    """Of each measure its name, identities (Q,) or (P,), and the values of each model likewise."""
    if len(np.unique(test.pids[: test.num_query])) < LEAST_IDENTITIES:
        raise UserError(
            f"the queries are of fewer than {LEAST_IDENTITIES} identities, too few for a bound; "
            "validate on a larger data set"
        )
    precisions = [_precisions(features, test) for features in models]
    counted = ~np.isnan(precisions[0])
    if not counted.any():
        raise UserError("no query has a match in the gallery: there is nothing to compare")
    queries = test.pids[: test.num_query][counted]
    positives, negatives = _pairs(test)
    if not len(positives) or not len(negatives):
        raise UserError(
            f"{len(positives)} pairs of one identity and {len(negatives)} of two: TPR needs both"
        )
    accepted = [_accepted(features, positives, negatives, test.far) for features in models]
    return [
        ("mAP", queries, [values[counted] for values in precisions]),
        (f"TPR at FAR {test.far:g}", test.pids[positives[:, 0]], accepted),
    ]


def _precisions(features: np.ndarray, test: Test) -> np.ndarray:
    """Average precision (Q,) of each query, NaN without a match; a NaN feature matches nothing."""
    found = evaluate_features(features, test.pids, test.camids, test.num_query)
    return found.ranking.average_precision


def _pairs(test: Test) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P, 2) of a query and a gallery image: of one identity by two cameras, and of two."""
    queries, gallery = test.num_query, len(test.pids) - test.num_query
    rng = np.random.default_rng(test.seed)
    positives = []
    for query in range(queries):
        same = np.flatnonzero(test.pids[queries:] == test.pids[query]) + queries
        same = same[test.camids[same] != test.camids[query]]
        positives.append(np.stack([np.full(len(same), query), same], 1))
    total = queries * gallery
    ranks = np.arange(total) if total <= MAX_PAIRS else rng.integers(total, size=MAX_PAIRS)
    pairs = np.stack([ranks // gallery, ranks % gallery + queries], 1)
    found = np.concatenate(positives)
    if len(found) > MAX_PAIRS:
        found = found[np.sort(rng.permutation(len(found))[:MAX_PAIRS])]
    return found, pairs[test.pids[pairs[:, 0]] != test.pids[pairs[:, 1]]]


def _accepted(
    features: np.ndarray, positives: np.ndarray, negatives: np.ndarray, far: float
) -> np.ndarray:
    """Whether each positive pair is accepted at the model's own threshold: (P,) of 0 and 1."""
    threshold = threshold_at(pair_similarities(features, negatives), far)
    return (pair_similarities(features, positives) >= threshold).astype(np.float64)


def _paired(
    backend: str,
    measure: str,
    first: np.ndarray,
    second: np.ndarray,
    clusters: np.ndarray,
    test: Test,
) -> Paired:
    def interval(values: np.ndarray, level: float) -> Interval:
        return confidence_interval(values, clusters, level, NUM_RESAMPLES, test.seed).percent()

    difference = interval(second - first, 2 * LEVEL - 1)  # its lower end is one-sided
    return Paired(
        backend,
        measure,
        interval(first, LEVEL),
        interval(second, LEVEL),
        difference,
        difference.low > -100 * test.margin,
    )
