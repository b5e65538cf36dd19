"""Who is hard to find: scores of each identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class IdentityScores:
    """Scores of I identities that have a query with a match, worst mean AP first.

    Attributes:
        pids: (I,) identities.
        num_queries: (I,) their queries that count.
        ap: (I,) mean average precision of these, 0..1.
        rank1: (I,) share of these whose nearest image is right, 0..1.
        first_hit: (I,) mean 1-based rank of the first right image.
    """

    pids: np.ndarray
    num_queries: np.ndarray
    ap: np.ndarray
    rank1: np.ndarray
    first_hit: np.ndarray


def identity_scores(ap: np.ndarray, first_hit: np.ndarray, pids: np.ndarray) -> IdentityScores:
    """Average the scores of queries by identity; equally bad ones in the order of their numbers.

    Args:
        ap: (Q,) average precisions, 0..1.
        first_hit: (Q,) 0-based ranks of the first right image, -1 = no match: it does not count.
        pids: (Q,) identities.
    """
    counted = first_hit >= 0
    names, of = np.unique(pids[counted], return_inverse=True)
    num_queries = np.bincount(of, minlength=len(names))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, weights=values[counted], minlength=len(names)) / num_queries

    scores = mean(ap)
    worst_first = np.argsort(scores, kind="stable")
    columns = (names, num_queries, scores, mean(first_hit == 0), mean(first_hit + 1))
    return IdentityScores(*(column[worst_first] for column in columns))
