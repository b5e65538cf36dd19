"""Training curves of metrics.json files: what is drawn of whole, resumed, killed and new runs."""

from __future__ import annotations

import json
from pathlib import Path

from reid_commands.visualize import curves


def write_metrics(folder: Path, rows: list[dict], tail: str = "") -> Path:
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.json").write_text(text + tail)
    return folder


def test_curves_show_each_run_once(tmp_path, figures) -> None:
    first = write_metrics(
        tmp_path / "first",
        [
            {"iteration": 9, "total_loss": 4.0, "lr": 0.1},
            {"iteration": 19, "total_loss": 3.0, "lr": 0.2, "mAP": 10.0, "Rank-1": 20.0},
            {"iteration": 19, "total_loss": 2.5, "lr": 0.2},  # after a resume
            {"iteration": 29, "total_loss": float("nan"), "lr": 0.1},
        ],
        tail='{"iteration": 39, "total_l',  # killed
    )
    sets = {"A/mAP": 1.0, "A/Rank-1": 2.0, "B/mAP": 3.0, "B/Rank-1": 4.0, "B/mINP": 5.0}
    second = write_metrics(tmp_path / "second", [{"iteration": 5, "total_loss": 1.0, **sets}])
    runs = [str(first), str(second / "metrics.json")]
    curves.main([*runs, "-o", str(tmp_path / "c.png")])
    loss, rate, score = figures[0].axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [
        [[9, 4], [19, 2.5]],
        [[5, 1]],
    ]
    assert rate.lines[0].get_xydata().tolist() == [[9, 0.1], [19, 0.2], [29, 0.1]]
    assert sorted(y for line in score.lines for _, y in line.get_xydata()) == [1, 2, 3, 4, 10, 20]
    legend = [text.get_text() for text in score.get_legend().get_texts()]
    assert set(legend) == {*sets, "mAP", "Rank-1"} - {"B/mINP"}
    lines = {(line.get_linestyle(), line.get_marker(), line.get_color()) for line in score.lines}
    assert len(lines) == 6  # each can be told from the others


def test_curves_before_the_first_test(tmp_path) -> None:
    run = write_metrics(tmp_path / "run", [{"iteration": 0, "total_loss": 4.0, "lr": 0.1}])
    curves.main([str(run), "-o", str(tmp_path / "c.svg")])
    assert "no test yet" in (tmp_path / "c.svg").read_text()
