"""Killed, resumed, shared by processes: always the same bytes, and nothing is scored twice."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from cfs.scores.reading import read_scores
from cfs.scores.shards import only_process
from cfs.scoring import scoring
from cfs.scoring.options import ScoringOptions, rank_and_world
from python_forks import run, run_together
from reid_common.errors import UserError
from small_scoring import NUM_IMAGES, content, score, vit_cfg, write_pool

HERE = Path(__file__).parent
SHARDS = 3  # of 4, 4 and 3 images, two batches each


@pytest.fixture(scope="module")
def whole(vits, scored_pool, tmp_path_factory) -> dict[str, bytes]:
    """Name -> content of a folder that one process made in one go."""
    folder = tmp_path_factory.mktemp("whole") / "scores"
    score(scored_pool, folder, vit_cfg(), *vits)
    return content(folder)


@pytest.fixture
def scored(monkeypatch) -> list[str]:
    """Names of the images that went through the models."""
    names: list[str] = []
    score_batch = scoring.score_batch

    def noting(images, batch_names, *rest):
        names.extend(batch_names)
        return score_batch(images, batch_names, *rest)

    monkeypatch.setattr(scoring, "score_batch", noting)
    return names


def test_what_a_folder_holds(whole) -> None:
    assert list(whole) == ["meta.json", *(f"part-{number:05d}.parquet" for number in range(SHARDS))]
    meta = json.loads(whole["meta.json"])
    assert meta["count"] == NUM_IMAGES
    assert meta["dataset"] == ["pool"]
    assert len(meta["source_sha256"]) == len(meta["target_sha256"]) == 64
    assert meta["source_sha256"] != meta["target_sha256"]
    assert meta["source_config"]["MODEL"]["BACKBONE"]["TIMM_NAME"] == "vit_tiny_patch16_224"
    assert meta["versions"]["torch"] == torch.__version__


def test_columns_of_a_shard(whole, tmp_path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "part.parquet").write_bytes(whole["part-00002.parquet"])
    schema = parquet.read_schema(tmp_path / "part.parquet")
    types = dict(zip(schema.names, schema.types, strict=True))
    assert types == {"path": pa.string(), "score": pa.float32(), "reason": pa.string()}
    assert parquet.read_table(tmp_path / "part.parquet").num_rows == 3


@pytest.mark.parametrize("batch", [1, 3])
def test_killed_and_resumed(batch, whole, vits, scored_pool, tmp_path, scored) -> None:
    out = tmp_path / "scores"
    done = run(HERE / "killed_scoring.py", scored_pool, out, *vits, batch)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(out.glob("part-*.parquet"))) == batch // 2
    score(scored_pool, out, vit_cfg(), *vits)
    assert content(out) == whole
    finished = 4 * (batch // 2)
    assert scored == list(read_scores(str(out)).names)[finished:]


def test_a_finished_folder_is_not_scored_again(whole, vits, scored_pool, tmp_path, scored) -> None:
    out = tmp_path / "scores"
    score(scored_pool, out, vit_cfg(), *vits)
    scored.clear()
    score(scored_pool, out, vit_cfg(), *vits)
    assert not scored
    assert content(out) == whole


def test_two_gloo_processes(whole, vits, scored_pool, tmp_path) -> None:
    out = tmp_path / "scores"
    done = run_together(2, HERE / "two_scoring.py", scored_pool, out, *vits)
    assert done.returncode == 0, done.stderr
    assert content(out) == whole
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert not set(first) & set(second)
    assert len(first) == 7  # shards 0 and 2
    assert len(second) == 4  # shard 1


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads, whole, vits, scored_pool, tmp_path, monkeypatch) -> None:
    """Each batch is that of one thread, since kernels round otherwise with more of them."""
    used: list[int] = []
    score_batch = scoring.score_batch

    def noting(*args):
        used.append(torch.get_num_threads())
        return score_batch(*args)

    monkeypatch.setattr(scoring, "score_batch", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        score(scored_pool, tmp_path / "scores", vit_cfg(), *vits)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert used == [1] * 6  # batches
    assert content(tmp_path / "scores") == whole


def test_processes_at_different_times_after_a_kill(
    whole, vits, scored_pool, tmp_path, scored
) -> None:
    """Rank 1 of 2 first, then one of the shards is lost, then rank 0, then rank 1 again."""
    out = tmp_path / "scores"
    shards = score(scored_pool, out, vit_cfg(), *vits, rank=1, world=2)
    assert [number for number, _ in shards.missing()] == [0, 2]
    assert len(scored) == 4
    with pytest.raises(UserError, match=r"2 of 3 shards are missing, the first is part-00000"):
        read_scores(str(out))
    shards.file(1).unlink()
    score(scored_pool, out, vit_cfg(), *vits, rank=0, world=2)
    score(scored_pool, out, vit_cfg(), *vits, rank=1, world=2)
    assert content(out) == whole


def test_ranks_of_torchrun(monkeypatch) -> None:
    assert rank_and_world() == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert rank_and_world() == (3, 8)
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UserError, match="whole numbers"):
        rank_and_world()
    with pytest.raises(UserError, match="RANK is 2, WORLD_SIZE 2"):
        ScoringOptions(rank=2, world=2)


def _enter(folder: Path, rank: int, answers) -> None:
    try:
        with only_process(folder, rank):
            answers.put("in")
    except UserError as error:
        answers.put(str(error))


def test_a_second_process_of_one_rank_is_kept_out(tmp_path) -> None:
    """The lock is the process's own: one that it has forked, as a loader's worker, lacks it."""
    context = multiprocessing.get_context("fork")

    def enter(rank: int) -> str:
        answers = context.SimpleQueue()
        process = context.Process(target=_enter, args=(tmp_path, rank, answers))
        process.start()
        process.join(60)
        return answers.get()

    with only_process(tmp_path, 0):
        assert "another process (rank 0) is scoring" in enter(0)
        assert enter(1) == "in"
    assert enter(0) == "in"
    assert not list(tmp_path.iterdir())


def test_other_weights_settings_or_images_are_refused(vits, scored_pool, tmp_path) -> None:
    out = tmp_path / "scores"
    score(scored_pool, out, vit_cfg(), *vits)
    before = content(out)
    swapped, cfg = vits[::-1], vit_cfg(MODEL__PIXEL_MEAN=[1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="another file of source weights, another file of target"):
        score(scored_pool, out, vit_cfg(), *swapped)
    with pytest.raises(UserError, match="config of the source model, another config of the target"):
        score(scored_pool, out, cfg, *vits)
    with pytest.raises(UserError, match="another batch size"):
        score(scored_pool, out, vit_cfg(), *vits, batch_size=3)
    shutil.copytree(scored_pool, tmp_path / "pool")
    first = next((tmp_path / "pool").rglob("*.png"))
    first.rename(first.with_name("renamed.png"))
    with pytest.raises(UserError, match="another list of images"):
        score(tmp_path / "pool", out, vit_cfg(), *vits)
    more = write_pool(tmp_path / "more", 12)
    with pytest.raises(UserError, match="another number of images, another list"):
        score(more, out, vit_cfg(), *vits)
    assert content(out) == before


def test_folders_that_are_no_scores(whole, tmp_path) -> None:
    with pytest.raises(UserError, match="there are no scores"):
        read_scores(str(tmp_path))
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    assert len(read_scores(str(tmp_path)).values) == NUM_IMAGES
    (tmp_path / "part-00001.parquet").write_bytes(whole["part-00002.parquet"])
    with pytest.raises(UserError, match="has 3 rows, not 4"):
        read_scores(str(tmp_path))
    (tmp_path / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read"):
        read_scores(str(tmp_path))
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        read_scores(str(tmp_path))


def test_parquet_files_without_meta_are_not_taken_over(vits, scored_pool, tmp_path) -> None:
    (tmp_path / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"Parquet files but no meta.json"):
        score(scored_pool, tmp_path, vit_cfg(), *vits)


def test_scores_of_several_shards_are_in_order(whole, tmp_path) -> None:
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    scores = read_scores(str(tmp_path))
    assert list(scores.names) == sorted(scores.names)
    assert scores.values.dtype == np.float32
