"""Two evaluations: which queries match, and that only they are compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fasteval.analysis.analyse import Analysis, analyse
from fasteval.analysis.comparison import compare_evaluations, match_queries
from fasteval.options import Options
from fasteval.results.result_set import ResultSet
from reid_common.errors import UserError

NUM_QUERY = 6


def some_analysis(seed: int = 0, queries: slice = slice(None)) -> Analysis:
    """6 queries and 20 gallery images of 3 identities and 2 cameras; only some of the queries."""
    ids = np.random.default_rng(0)
    pids, camids = ids.integers(0, 3, 26), ids.integers(0, 2, 26)
    features = np.random.default_rng(seed).normal(size=(26, 4)).astype(np.float32)
    rows = np.append(np.arange(NUM_QUERY)[queries], np.arange(NUM_QUERY, 26))
    names = [f"{number}.jpg" for number in rows]
    results = ResultSet(features[rows], pids[rows], camids[rows], len(rows) - 20, names)
    return analyse(results, Options())


def test_shared_queries_are_compared() -> None:
    whole, part = some_analysis(), some_analysis(seed=1, queries=slice(2, 5))
    compared = compare_evaluations(whole, part, num_resamples=99)
    np.testing.assert_array_equal(compared.first, whole.values("mAP")[2:5])
    np.testing.assert_array_equal(compared.second, part.values("mAP"))
    change = compared.second.mean() - compared.first.mean()
    assert compared.measures["mAP"].difference.mean == pytest.approx(change)
    hits = whole.values("Rank-1")[2:5]
    assert compared.measures["Rank-1"].first == pytest.approx(hits.mean())


def test_what_cannot_be_compared() -> None:
    one = some_analysis()
    for queries, gallery, message in (
        (one.results.query_paths, ["other.jpg"], "ranked different galleries"),
        (["a.jpg"], one.results.gallery_paths, r"share no query: one has '0\.jpg'"),
    ):
        results = replace(one.results, num_query=len(queries), paths=[*queries, *gallery])
        with pytest.raises(UserError, match=message):
            compare_evaluations(one, replace(one, results=results))
    ranking = one.evaluation.ranking
    none = replace(ranking, first_hit=np.full(NUM_QUERY, -1))
    ignored = replace(one, evaluation=replace(one.evaluation, ranking=none))
    with pytest.raises(UserError, match="no query that both"):
        compare_evaluations(one, ignored)


def test_a_large_gain_of_few_identities_is_no_proof() -> None:
    """Three identities: even if all gain, 2 of the 8 sign patterns are as extreme."""
    one = some_analysis()
    ranking = one.evaluation.ranking
    perfect = replace(ranking, average_precision=np.ones(NUM_QUERY))
    better = replace(one, evaluation=replace(one.evaluation, ranking=perfect))
    compared = compare_evaluations(one, better, num_resamples=999).measures["mAP"]
    assert len(np.unique(one.query_pids)) == 3 and compared.worse == 0
    assert compared.p_value == pytest.approx(0.25)


def test_queries_are_matched_by_path() -> None:
    rows, others = match_queries(["/d/a.jpg", "/d/b.jpg", "/d/c.jpg"], ["/d/c.jpg", "/d/a.jpg"])
    assert rows.tolist() == [0, 2] and others.tolist() == [1, 0]


def test_queries_are_matched_on_another_machine() -> None:
    """As many last parts as tell them apart: 1/a.jpg and 2/a.jpg need two."""
    rows, others = match_queries(
        ["/d/1/a.jpg", "/d/2/a.jpg"], ["C:\\x\\2\\a.jpg", "C:\\x\\1\\a.jpg"]
    )
    assert rows.tolist() == [0, 1] and others.tolist() == [1, 0]


def test_queries_that_cannot_be_matched() -> None:
    with pytest.raises(UserError, match=r"share no query: one has 'a\.jpg'"):
        match_queries(["a.jpg"], ["b.jpg"])
    with pytest.raises(UserError, match="a path of its own"):
        match_queries(["a.jpg", "a.jpg"], ["a.jpg"])
    with pytest.raises(UserError, match="a path of its own"):
        match_queries(["a.jpg"], [""])
