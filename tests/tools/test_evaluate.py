"""tools/evaluate.py: the figures of the evaluation again, pictures, comparison, bad input."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fasteval.analysis.paired import compare
from fasteval.evaluation import evaluate_features
from fasteval.evaluator import FastEvaluator
from fasteval.options import options_from_config
from fasteval.report import rank_lists, writing
from fasteval.report.evaluating import Settings, evaluated, named
from fasteval.results.meta import config_of, settings_of
from fasteval.results.result_set import ResultSet, read_results, write_results
from fastreid.evaluation import ReidEvaluator
from PIL import Image
from reid_commands import evaluate
from reid_common.errors import UserError
from reid_core.run.command_line import parse_command
from transreid.inference.feature_files import FeatureSet, write_features

NUM_QUERY, NUM_IMAGES = 12, 50
QUICK = ["--resamples", "99"]


def some_results(folder: Path, seed: int = 0, noise: float = 0.6) -> ResultSet:
    """12 queries and 38 gallery images of 6 identities and 3 cameras; identity 6 has no match."""
    ids = np.random.default_rng(100)
    pids, camids = ids.integers(0, 6, NUM_IMAGES), ids.integers(0, 3, NUM_IMAGES)
    pids[3] = 6
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(7, 16))[pids] * 0.4 + noise * rng.normal(size=(NUM_IMAGES, 16))
    features = (features * rng.uniform(1, 9, (NUM_IMAGES, 1))).astype(np.float32)
    parts = ["query"] * NUM_QUERY + ["gallery"] * (NUM_IMAGES - NUM_QUERY)
    paths = [str(folder / part / f"{number:04d}.png") for number, part in enumerate(parts)]
    cfg = config_of({})
    cfg.MODEL.DEVICE = "cpu"
    found = evaluate_features(features, pids, camids, NUM_QUERY, options_from_config(cfg))
    meta = {"evaluation": settings_of(cfg), "scores": found.figures()}
    return ResultSet(features, pids, camids, NUM_QUERY, paths, meta=meta)


def write_images(results: ResultSet) -> None:
    rng = np.random.default_rng(0)
    for path in results.paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 8, 3), np.uint8)).save(path)


def fastreid_figures(results: ResultSet, opts: list) -> dict[str, float]:
    """What FastReID's own evaluator makes of the features."""
    cfg = config_of({})
    cfg.merge_from_list(opts)
    evaluator = ReidEvaluator(cfg, results.num_query)
    ids = {"targets": torch.from_numpy(results.pids), "camids": torch.from_numpy(results.camids)}
    evaluator.process(ids, torch.from_numpy(results.features))
    return evaluator.evaluate()


def run(*words: object) -> None:
    assert evaluate.main([*map(str, words), *QUICK]) == 0


def settings(words: list[str]) -> Settings:
    return evaluate.settings(parse_command(evaluate.parser(), words))


@pytest.fixture
def results(tmp_path: Path) -> ResultSet:
    one = some_results(tmp_path / "data")
    write_results(tmp_path / "one.npz", one)
    return one


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """Arguments of the pictures, which are empty files then: drawing takes seconds."""
    calls = []

    def draw(*arguments: object) -> None:
        calls.append(arguments)
        next(one for one in arguments if isinstance(one, Path)).touch()

    for name in ("cmc", "roc", "camera_pairs", "identities", "differences"):
        monkeypatch.setattr(writing.pictures, f"draw_{name}", draw)
    monkeypatch.setattr(rank_lists.pictures, "draw_rank_rows", draw)
    return calls


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_one_file_with_everything(results: ResultSet, tmp_path: Path, capsys) -> None:
    write_images(results)
    run(tmp_path / "one.npz", "-o", tmp_path / "report", "--rows", "2", "--top", "4")
    printed = capsys.readouterr().out
    assert "12 queries (1 without a match do not count), 38 gallery images" in printed
    assert "The evaluation that saved" not in printed and "no rank lists" not in printed
    found = json.loads((tmp_path / "report/results.json").read_text())["results"]["one"]
    for measure, value in results.meta["scores"].items():
        assert found["scores"][measure] == pytest.approx(value, abs=1e-3)
        assert f"| {value:.2f} " in printed
    assert set(found["scores"]) > set(results.meta["scores"])  # TPR for the picture of the ROC
    cosines = found["cosines"]
    assert cosines["different"] < cosines["same"] < 1
    means = f"{cosines['same']:.4f} of one identity, {cosines['different']:.4f} of different ones"
    assert f"Mean cosine of two images: {means}\n" in printed
    interval = found["intervals"]["mAP"]["identity"]
    assert interval["low"] < interval["mean"] < interval["high"]
    assert interval["mean"] == pytest.approx(found["scores"]["mAP"])
    for name in ("cmc", "roc", "camera_pairs", "identities", "ranks"):
        with Image.open(tmp_path / f"report/{name}.png") as image:
            colours = image.convert("RGB").getcolors(2**24)
            assert colours is not None and len(colours) > 20, name


def test_tables_have_the_worst_first(results: ResultSet, tmp_path: Path, drawn) -> None:
    run(tmp_path / "one.npz", "-o", tmp_path / "report")
    queries = read_csv(tmp_path / "report/queries.csv")
    scores = [float(row["AP"]) for row in queries]
    assert len(queries) == 11 and scores == sorted(scores)
    assert np.mean(scores) == pytest.approx(results.meta["scores"]["mAP"], abs=1e-3)
    for row in queries:
        nearest = results.paths.index(row["nearest_image"])
        right = results.pids[nearest] == int(row["identity"])
        assert right == (row["first_right_rank"] == "1")
        assert results.paths[int(row["query"])] == row["image"]
    identities = read_csv(tmp_path / "report/identities.csv")
    assert [int(row["queries"]) for row in identities] == [
        sum(query["identity"] == row["identity"] for query in queries) for row in identities
    ]
    pairs = read_csv(tmp_path / "report/camera_pairs.csv")
    assert {row["query_camera"] for row in pairs} <= {"c1", "c2", "c3"}
    assert all(row["query_camera"] != row["match_camera"] for row in pairs)


@pytest.mark.parametrize(
    ("words", "opts"),
    [
        (["--metric", "euclidean"], ["TEST.METRIC", "euclidean"]),
        (["--rerank"], ["TEST.RERANK.ENABLED", True]),
        (
            ["--rerank", "--opts", "TEST.RERANK.K1", "7", "TEST.RERANK.LAMBDA", "0.6"],
            ["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 7, "TEST.RERANK.LAMBDA", 0.6],
        ),
        (["--aqe"], ["TEST.AQE.ENABLED", True]),
        (["--opts", "TEST.ROC.ENABLED", "True"], ["TEST.ROC.ENABLED", True]),
    ],
)
def test_other_settings_give_fastreids_figures(
    results: ResultSet, tmp_path: Path, words: list[str], opts: list
) -> None:
    path = str(tmp_path / "one.npz")
    one = evaluated("one", path, settings([path, *words, *QUICK]))
    figures = one.analysis.evaluation.figures()
    for measure, value in fastreid_figures(results, opts).items():
        assert figures[measure] == pytest.approx(value, abs=1e-3), measure


def test_settings_of_the_evaluation_are_the_default(tmp_path: Path, capsys) -> None:
    results = some_results(tmp_path)
    results.meta["evaluation"]["TEST.RERANK.ENABLED"] = True
    write_results(tmp_path / "one.parquet", results)
    run(tmp_path / "one.parquet")
    printed = capsys.readouterr().out
    assert "one: cosine, re-ranked (k1 20, k2 6, lambda 0.3);" in printed
    # which are not the settings that its figures were made with
    assert "The evaluation that saved this file had " in printed
    assert f"mAP {results.meta['scores']['mAP']:.2f}" in printed
    run(tmp_path / "one.parquet", "--no-rerank")
    printed = capsys.readouterr().out
    assert "one: cosine; " in printed and "The evaluation that saved" not in printed


@pytest.mark.parametrize("save_format", ["npz", "parquet"])
def test_what_the_evaluator_saves(results: ResultSet, tmp_path: Path, save_format: str) -> None:
    """Its figures come out again, with its settings, and so does its ranking."""
    cfg = config_of({})
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 9])
    cfg.merge_from_list(["TEST.FASTEVAL.SAVE_RESULTS", save_format, "TEST.FASTEVAL.TOP_K", 5])
    evaluator = FastEvaluator(cfg, results.num_query, str(tmp_path))
    evaluator.dataset_name = "CSVReID:/data/list.csv"
    batch = {"targets": torch.from_numpy(results.pids), "camids": torch.from_numpy(results.camids)}
    evaluator.process({**batch, "img_paths": results.paths}, torch.from_numpy(results.features))
    figures = evaluator.evaluate()
    path = str(tmp_path / f"results_CSVReID_data_list.csv.{save_format}")
    one = evaluated("one", path, settings([path, "--top", "5", *QUICK]))
    assert one.saved == figures
    assert one.analysis.evaluation.figures() == pytest.approx(figures, abs=1e-3)
    saved = read_results(path)
    np.testing.assert_array_equal(one.analysis.evaluation.topk_indices, saved.topk_indices)
    distances = one.analysis.evaluation.topk_distances
    np.testing.assert_allclose(distances, saved.topk_distances, atol=1e-5)


def test_two_files_are_compared_query_by_query(results: ResultSet, tmp_path: Path, capsys) -> None:
    """The second has its queries and gallery in another order, and lies on another machine."""
    other = some_results(Path("/elsewhere"), seed=0, noise=0.2)
    rng = np.random.default_rng(5)
    order = np.append(rng.permutation(NUM_QUERY), NUM_QUERY + rng.permutation(38))
    shuffled = replace(
        other,
        features=other.features[order],
        pids=other.pids[order],
        camids=other.camids[order],
        paths=[other.paths[row] for row in order],
    )
    write_results(tmp_path / "two.npz", shuffled)
    words = ("--names", "A", "B", "-o", tmp_path / "report")
    run(tmp_path / "one.npz", tmp_path / "two.npz", *words)
    printed = capsys.readouterr().out
    assert "B against A, 11 queries in common" in printed
    found = json.loads((tmp_path / "report/results.json").read_text())["comparisons"]["B"]
    precisions = []
    for one in (results, other):
        ranking = evaluate_features(one.features, one.pids, one.camids, NUM_QUERY).ranking
        precisions.append(ranking.average_precision[ranking.counted])
    pids = results.pids[:NUM_QUERY][np.arange(NUM_QUERY) != 3]
    expected = compare(*precisions, pids, num_resamples=99)
    assert found["mAP"]["difference"]["mean"] == pytest.approx(expected.difference.mean, abs=1e-6)
    assert found["mAP"]["p_value"] == pytest.approx(expected.p_value)
    assert (found["mAP"]["better"], found["mAP"]["worse"]) == (expected.better, expected.worse)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *("A", "B", "cmc.png", "roc.png", "results.json")
    }
    assert (tmp_path / "report/B/differences.png").stat().st_size > 1000


def test_images_elsewhere(results: ResultSet, tmp_path: Path, capsys, drawn) -> None:
    """Without the images there is all but the rank lists; --images says where they are now."""
    words = [tmp_path / "one.npz", "-o", tmp_path / "report", "--queries", "3", "0", "--top", "2"]
    run(*words)
    assert f"no rank lists: {results.paths[3]} (No such file" in capsys.readouterr().out
    assert not (tmp_path / "report/ranks.png").exists()
    assert (tmp_path / "report/identities.png").exists()
    write_images(replace(results, paths=some_results(tmp_path / "new").paths))
    run(*words, "--images", tmp_path / "new")
    assert "no rank lists" not in capsys.readouterr().out
    assert (tmp_path / "report/ranks.png").exists()


def test_queries_of_rank_lists(results: ResultSet, tmp_path: Path, drawn) -> None:
    write_images(results)
    for queries in (["worst"], ["spread"], ["3", "7"]):
        words = ["-o", tmp_path / "report", "--rows", "4", "--queries", *queries]
        run(tmp_path / "one.npz", *words)
    worst, spread, numbered = (rows for rows, *_ in drawn if isinstance(rows, list))
    by_score = [row["image"] for row in read_csv(tmp_path / "report/queries.csv")]
    assert [row.query_path for row in worst] == by_score[:4]
    assert [row.query_path for row in spread] == [results.paths[row] for row in (0, 4, 7, 11)]
    assert "no match" in numbered[0].query_caption and "AP" in numbered[1].query_caption
    for row in worst:
        assert len(row.neighbours) == 10
        own = results.paths.index(row.query_path)
        for path, _, right in row.neighbours:
            one = results.paths.index(path)
            assert right == (results.pids[one] == results.pids[own])
            assert not (right and results.camids[one] == results.camids[own])


def test_a_feature_file_will_do(results: ResultSet, tmp_path: Path, capsys) -> None:
    features = results.features / np.linalg.norm(results.features, axis=1, keepdims=True)
    ids = {"pids": results.pids, "camids": results.camids}
    write_features(tmp_path / "f.npz", FeatureSet(results.paths, features, **ids))
    run(tmp_path / "f.npz", "--num-query", NUM_QUERY)
    assert f"| mAP       | {results.meta['scores']['mAP']:.2f} " in capsys.readouterr().out


def test_names() -> None:
    assert named(["a/x.npz", "b/y.npz"], None) == {"x": "a/x.npz", "y": "b/y.npz"}
    assert list(named(["l/a/x.npz", "l/b/x.npz"], None)) == ["a/x", "b/x"]
    for files, names, message in (
        (["a.npz"], ["A", "B"], "2 names for 1 files"),
        (["a.npz", "a.npz"], None, "two results have the name 'a'"),
        (["a.pth"], None, "no name of a results file"),
    ):
        with pytest.raises(UserError, match=message):
            named(files, names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.npz"], "there is no results file"),
        (
            ["one.npz", "--opts", "TEST.RERANK.K3", "1"],
            "no key TEST.RERANK.K3; did you mean TEST.RERANK.K2",
        ),
        (["one.npz", "--rerank", "--opts", "TEST.RERANK.K1", "0"], "k1=0"),
        (["one.npz", "-o", "report", "--queries", "12"], "give worst, spread or numbers 0..11"),
        (["one.npz", "-o", "one.npz"], "-o: cannot write to"),
        (["one.npz", "--device", "cuda:77"], "device 'cuda:77' is not available ("),
        (["one.npz", "small.npz"], "different galleries, of 38 and 37 images"),
    ],
)
def test_bad_input_is_one_message(
    results: ResultSet, tmp_path: Path, monkeypatch, capsys, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    columns = {
        name: getattr(results, name)[:-1] for name in ("features", "pids", "camids", "paths")
    }
    write_results("small.npz", replace(results, **columns))
    with pytest.raises(SystemExit) as exit_:
        run(*words)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_one_identity(results: ResultSet, tmp_path: Path, capsys, drawn) -> None:
    """Nothing can be wrong, and there is no ROC."""
    write_results(tmp_path / "one.npz", replace(results, pids=np.zeros(NUM_IMAGES, int)))
    run(tmp_path / "one.npz", "-o", tmp_path / "report")
    printed = capsys.readouterr().out
    assert "100.00 to 100.00" in printed and "no ROC" in printed
    assert "of one identity\n" in printed and "different ones" not in printed
    assert not (tmp_path / "report/roc.png").exists()
    assert (tmp_path / "report/cmc.png").exists()


def test_no_query_has_a_match(results: ResultSet, tmp_path: Path, capsys) -> None:
    write_results(tmp_path / "one.npz", replace(results, camids=np.zeros(NUM_IMAGES, int)))
    with pytest.raises(SystemExit):
        run(tmp_path / "one.npz", "-o", tmp_path / "report")
    assert "None of the 12 queries has a gallery image" in capsys.readouterr().err
