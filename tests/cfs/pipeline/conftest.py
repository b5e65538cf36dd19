"""Fixtures for the tests of a pipeline and its report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small_report
from cfs.pipeline import operations
from cfs.pipeline.report import writing as pipeline_report
from small_scoring import write_pool
from toyreid.people.plan import ToySpec
from toyreid.people.render import render_toyreid


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch) -> None:
    """What a dry run measures for a second a model, for a few steps."""
    monkeypatch.setattr(operations, "MEASURED_SECONDS", 0.02)


@pytest.fixture(scope="session")
def report_data(tmp_path_factory) -> Path:
    """Root of the data sets: a pool that was scored, and a small ToyReID."""
    root = tmp_path_factory.mktemp("report_data")
    write_pool(root / "pool")
    render_toyreid(str(root), ToySpec(num_train_ids=2, num_test_ids=2, num_cameras=2))
    return root


@pytest.fixture(scope="session")
def reported(report_data, tmp_path_factory) -> Path:
    """Folder in which all stages are done and the pictures are drawn; read-only."""
    folder = tmp_path_factory.mktemp("reported")
    small_report.write_records(folder)
    small_report.write_scores(folder, report_data / "pool")
    small_report.write_results(folder)
    for stage in ("source", "pretrain", "finetune"):
        small_report.write_curves(folder / stage)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(report_data))
        pipeline_report.write_report(folder)
    return folder


@pytest.fixture
def finished(report_data, reported, tmp_path, monkeypatch) -> Path:
    """A copy of it, without the report."""
    monkeypatch.setenv("FASTREID_DATASETS", str(report_data))
    folder = tmp_path / 'run & <b>"1"</b>'
    shutil.copytree(reported, folder)
    for name in pipeline_report.NAMES:
        (folder / name).unlink()
    small_report.write_records(folder)
    return folder
