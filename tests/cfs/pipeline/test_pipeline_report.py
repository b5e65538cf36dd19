"""The report of the pipeline: tables and pictures, in both forms, from whole and cut runs."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
import small_report
from cfs.pipeline.records import read_record, write_record
from cfs.pipeline.report import pictures as pipeline_report_pictures
from cfs.pipeline.report import writing as pipeline_report
from cfs.scores import pictures as cfs_pictures
from html_page import Page, check_alone
from PIL import Image
from reid_commands import report
from reid_common.errors import UserError
from small_report import HOSTILE, TABLES
from synthetic import write_market


def written(folder: Path) -> tuple[str, str]:
    page, text = pipeline_report.write_report(folder)
    assert (page, text) == (folder / "report.html", folder / "report.md")
    return page.read_text(encoding="utf-8"), text.read_text(encoding="utf-8")


def markdown_rows(text: str, start: str) -> list[str]:
    """Cells of the first row of a Markdown table that begins so."""
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(start)} +\|", line))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_finished_folder(finished) -> None:
    text, markdown = written(finished)
    page = check_alone(text)
    assert page.of("html") == [{"lang": "en"}]
    assert "Conditional pre-training: ToyUnlabeled for ToyReID" in page.texts["h1"][0]
    assert set(page.texts["caption"]) == TABLES
    cells = page.texts["th"] + page.texts["td"]
    assert {"10.0", "20.0", "14.3", "13.1", "30.0", "not run", "empty <file>"} <= set(cells)
    assert {"4,096 images, 18 epochs", "1:02:05", "cpu, 2 threads", "2.9"} <= set(cells)
    assert "ToyReID, re-ranking: mAP" in cells
    body = page.texts["body"][0]
    assert "ToyUnlabeled and ToyReID are synthetic data sets" in body
    assert "11 images, 1 of them bad, mean score" in body
    assert "Started 2026-11-27 00:11 UTC, last stage done 2026-11-27 06:59 UTC." in body
    assert "7 of 7 stages are done; 7:14:38 in all." in body
    assert len(page.of("details")) == 7
    # The values are 0.9 (bad), 0.85, 0.80, ...: the fifth of those with a score is 0.65.
    assert "5 of 10 images were kept, down to a score of 0.6500." in body
    assert markdown_rows(markdown, "final") == ["final", "14.3", "13.1", "30.0", "not run"]
    assert markdown_rows(markdown, "theta_t") == ["theta_t", "10.0", "20.0", "not run", "not run"]
    assert "down to a score of 0.6500" in markdown
    names = re.findall(r"!\[[^\]]+\]\((report/\w+\.png)\)", markdown)
    sizes = [Image.open(finished / name).size for name in names]
    images = page.of("img")
    assert len(images) == len(sizes) == 4
    for image, size in zip(images, sizes, strict=True):
        content = base64.b64decode(str(image["src"]).partition(",")[2])
        assert Image.open(io.BytesIO(content)).size == size
        assert (image["width"], image["height"]) == tuple(map(str, size))
        assert len(str(image["alt"])) > 20
    assert not list(finished.glob(".*.part"))


def test_commands_can_be_copied(finished) -> None:
    text, markdown = written(finished)
    command = f"python tools/train_net.py OUTPUT_DIR '{finished / 'source'}'"
    assert command in Page(text).texts["pre"]
    assert command in markdown
    here = ["/somewhere/here/bin/python3.11", "-m", "reid_commands", "a b"]
    assert pipeline_report._shown(here) == "python -m reid_commands 'a b'"


def test_what_is_up_to_date_is_not_drawn_again(reported, monkeypatch, report_data) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(report_data))
    first = [(reported / name).read_text() for name in pipeline_report.NAMES]
    for module, name in ((cfs_pictures, "draw_sheets"), (pipeline_report_pictures, "draw_curves")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("drawn again"))
    assert list(written(reported)) == first


def test_curves_are_drawn_anew_when_training_goes_on(finished) -> None:
    picture = finished / "report" / "curves_pretraining.png"
    before = picture.read_bytes()
    with open(finished / "source" / "metrics.json", "a") as file:
        file.write('{"iteration": 2, "total_loss": 9.0}\n')
    written(finished)
    assert picture.read_bytes() != before


def test_pictures_are_drawn_anew_for_other_scores(finished, report_data) -> None:
    written(finished)
    before = (finished / "report" / "images.png").read_bytes()
    meta = finished / "scores" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "source_sha256": "another"}))
    record = read_record(finished, "target")
    assert record is not None
    record.settings = {**record.settings, "DATASETS.TESTS": [f"ImageFolder:{report_data / 'pool'}"]}
    write_record(finished, record)
    written(finished)
    assert (finished / "report" / "images.png").read_bytes() != before


def test_stages_of_ones_own(finished) -> None:
    """A study adds trainings and evaluations of its own."""
    record = read_record(finished, "evaluate")
    assert record is not None
    own = dataclasses.replace(
        record, stage="evaluate_scratch", outputs={"results": "evaluate_scratch/results.json"}
    )
    write_record(finished, own)
    row = {**small_report.RESULTS[0], "model": "scratch", "title": "from scratch", "mAP": 7.77}
    known = {**small_report.RESULTS[0], "title": "as the study calls it"}
    (finished / "evaluate_scratch").mkdir()
    (finished / "evaluate_scratch" / "results.json").write_text(json.dumps([row, known]))
    text, markdown = written(finished)
    assert markdown_rows(markdown, "from scratch")[1:3] == ["7.8", "20.0"]
    assert "evaluate_scratch" in Page(text).texts["th"]
    assert "8 of 8 stages are done" in markdown
    assert markdown_rows(markdown, "as the study calls it")  # the last title counts
    assert small_report.RESULTS[0]["title"] not in markdown.partition("## Scores")[0]
    # A later one, although its name comes first
    later = dataclasses.replace(own, stage="an_arm", started="2026-11-28T00:00:00+00:00")
    write_record(finished, later)
    stages = list(Page(written(finished)[0]).texts["th"])
    assert stages.index("evaluate_scratch") + 1 == stages.index("an_arm")


def test_figures_of_an_evaluation_that_runs_again_are_not_shown(finished) -> None:
    record = read_record(finished, "evaluate")
    assert record is not None
    record.status = "started"
    write_record(finished, record)
    _, markdown = written(finished)
    assert str(small_report.RESULTS[0]["title"]) not in markdown.partition("## Scores")[0]


@pytest.mark.parametrize("stages", [["source"], ["source", "target", "score"], ["evaluate"]])
def test_a_partial_folder(stages, tmp_path) -> None:
    small_report.write_records(tmp_path, *stages)
    text, markdown = written(tmp_path)
    page = check_alone(text)
    missing = 7 - len(stages)
    assert page.texts["td"].count("not run") == missing
    assert page.of("img") == []
    for what in ("Evaluation", "Training", "Selection", "Scores"):
        assert f"{what}: not run." in markdown
        assert f"{what}: not run." in page.texts["body"][0]


def test_a_stage_that_was_cut(finished) -> None:
    for stage in ("score", "select"):
        record = read_record(finished, stage)
        assert record is not None
        record.status, record.finished, record.sizes = "started", None, {}
        write_record(finished, record)
    (finished / "scores" / "part-00001.parquet").unlink()
    _, markdown = written(finished)
    assert markdown_rows(markdown, "score")[2] == "started, not finished"
    assert "Scores: missing or not finished." in markdown
    assert "1 of 2 shards are missing" in markdown
    assert "Selection: not finished." in markdown


def test_images_that_are_gone(finished, tmp_path) -> None:
    """The scores are shown all the same; no older sheets are shown for them."""
    meta = finished / "scores" / "meta.json"
    content = json.loads(meta.read_text())
    meta.write_text(json.dumps({**content, "dataset": [f"ImageFolder:{tmp_path / 'gone'}"]}))
    assert (finished / "report" / "images.png").is_file()
    text, markdown = written(finished)
    page = check_alone(text)
    assert "No contact sheets: " in markdown
    alts = [str(image["alt"]) for image in page.of("img")]
    assert any(alt.startswith("Histogram of 10 scores") for alt in alts)
    assert not any(alt.startswith("Contact sheets") for alt in alts)


def test_versions_that_differ(finished) -> None:
    record = read_record(finished, "evaluate")
    assert record is not None
    record.versions = {**record.versions, "torch": "2.10"}
    write_record(finished, record)
    _, markdown = written(finished)
    assert markdown_rows(markdown, "torch") == ["torch", "2.9", "2.10"]
    assert "source, target, score, select, pretrain, finetune" in markdown


def test_hostile_names(finished) -> None:
    """Whatever stands in records is shown, and never taken for markup."""
    record = read_record(finished, "source")
    assert record is not None
    record.title, record.machine = HOSTILE, "a\nb\x1b[0m\udcff"
    record.commands = [["python", HOSTILE, "two\nlines"]]
    record.settings = {**record.settings, HOSTILE: HOSTILE}
    write_record(finished, record)
    results = finished / "evaluate" / "results.json"
    row = {"model": "x", "title": HOSTILE, "dataset": HOSTILE, "variant": "</table>", "mAP": 1.0}
    results.write_text(json.dumps([row]))
    text, markdown = written(finished)
    page = check_alone(text)
    assert HOSTILE in page.texts["td"]
    assert HOSTILE in page.texts["th"]
    assert len(page.of("img")) == 4
    outside = re.sub(r"(`{3,})text\n.*?\n\1\n", "", markdown, flags=re.DOTALL)
    assert "<img" not in outside
    assert "</table>" not in outside
    head = next(line for line in outside.splitlines() if line.startswith("| model"))
    assert len(re.findall(r"(?<!\\)\|", head)) == 4


def test_refused(tmp_path, finished, capsys) -> None:
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "nothing")])
    assert "is no folder of a pipeline" in capsys.readouterr().err
    (finished / "evaluate" / "results.json").write_text('{"model": 1}')
    with pytest.raises(UserError, match="holds no results"):
        pipeline_report.write_report(finished)
    (finished / "stages" / "source.json").write_text("[")
    with pytest.raises(UserError, match=r"source.json' is no record"):
        pipeline_report.write_report(finished)
    assert not (finished / "report.html").exists()


def test_main_names_the_files(finished, capsys) -> None:
    assert report.main([str(finished)]) == 0
    out = capsys.readouterr().out
    assert out == f"wrote {finished / 'report.html'}\nwrote {finished / 'report.md'}\n"


def test_a_target_without_the_name_of_a_toy_is_not_called_synthetic(
    finished, tmp_path, monkeypatch
) -> None:
    write_market(tmp_path / "market")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "market"))
    small_report.write_records(finished, "target", "finetune")
    for stage in ("source", "target", "score"):
        record = read_record(finished, stage)
        assert record is not None
        record.settings = {"DATASETS.NAMES": ["LUPerson"], "DATASETS.TESTS": ["Market1501"]}
        write_record(finished, record)
    (finished / "evaluate" / "results.json").unlink()
    text, markdown = written(finished)
    assert "Source: LUPerson. Target: Market1501. Tested on: not run." in markdown
    assert "synthetic" not in markdown
    assert any("Market1501" in str(image["alt"]) for image in Page(text).of("img"))
