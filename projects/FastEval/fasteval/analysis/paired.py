"""Is one model better than another, or was it luck? Paired tests on the same queries.

The difference of two models is taken query by query, so that hard queries, hard for both, drop out
of its spread. If the models were alike, each difference might as well have the other sign: the
permutation test (Fisher, 1935) flips signs at random and counts how often the mean difference gets
as large as the one observed. Queries of one identity are flipped together, because they are not
independent; :mod:`fasteval.analysis.bootstrap` says more. For Rank-1, where differences are -1, 0
and 1, flipping single queries is McNemar's test. Wilcoxon's signed rank test, which looks at ranks
of the differences instead of their mean, is given beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test, wilcoxon

from .bootstrap import BATCH_ELEMENTS, Interval, cluster_sums, confidence_interval

NUM_PERMUTATIONS = 9999  # the smallest p-value is 1 / 10,000


@dataclass
class Comparison:
    """What a second model is to a first one, over queries that count for both.

    Attributes:
        first: mean of the first model, as second of the second one.
        difference: second - first, with its bootstrap interval over identities.
        by_query: the same with the interval over single queries, which is narrower.
        p_value: of the sign-flip permutation test over identities, two-sided.
        p_by_query: of the test over single queries.
        wilcoxon: p-value of Wilcoxon's test over single queries, two-sided.
        better: queries at which the second is better.
        worse: queries at which the first is.
    """

    num_queries: int
    first: float
    second: float
    difference: Interval
    by_query: Interval
    p_value: float
    p_by_query: float
    wilcoxon: float
    better: int
    worse: int


def compare(
    first: np.ndarray,
    second: np.ndarray,
    clusters: np.ndarray,
    level: float = 0.95,
    num_resamples: int = NUM_PERMUTATIONS,
    seed: int = 0,
) -> Comparison:
    """Compare a measure (Q,) of two models on the same queries, whose identities are ``clusters``.

    The others are those of :func:`confidence_interval`; there are as many permutations as draws.

    Raises:
        ValueError: the lengths differ or are 0.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or len(first) != len(clusters) or not len(first):
        raise ValueError(f"{first.shape} and {second.shape} values for {len(clusters)} queries")
    change = second - first
    changed = change[change != 0]
    return Comparison(
        num_queries=len(change),
        first=float(first.mean()),
        second=float(second.mean()),
        difference=confidence_interval(change, clusters, level, num_resamples, seed),
        by_query=confidence_interval(change, None, level, num_resamples, seed),
        p_value=sign_flip_p_value(cluster_sums(change, clusters)[0], num_resamples, seed),
        p_by_query=sign_flip_p_value(change, num_resamples, seed),
        wilcoxon=float(wilcoxon(changed).pvalue) if len(changed) else 1.0,
        better=int(np.count_nonzero(change > 0)),
        worse=int(np.count_nonzero(change < 0)),
    )


def sign_flip_p_value(
    changes: np.ndarray, num_resamples: int = NUM_PERMUTATIONS, seed: int = 0
) -> float:
    """Two-sided p-value of "the sum of ``changes`` is 0 but for chance", 0..1.

    ``changes`` (C,) are independent: one a query, or summed over an identity's queries. Exact where
    they are so few that all combinations of signs can be tried; else ``num_resamples`` are.
    """
    changes = changes[changes != 0]  # whose sign says nothing; and the exact test stays small
    if len(changes) < 2:
        return 1.0  # one change is as extreme with either sign
    result = permutation_test(
        (changes,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_resamples,
        batch=max(1, BATCH_ELEMENTS // len(changes)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
