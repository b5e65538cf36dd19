"""Pages in a real browser, and what is escaped in both forms."""

from __future__ import annotations

import shlex

import browser
from cfs.pipeline.records import read_record, write_record
from cfs.pipeline.report import writing as pipeline_report
from html_page import check_alone
from reid_common.report_pages import Code, Report, Section, Table, Text, to_html, to_markdown
from small_report import HOSTILE, TABLES


def test_fences_and_escapes(tmp_path) -> None:
    blocks = [
        Code("c", "a\n```\nb"),
        Table("t", ["a|b", "n"], [["x_1 _y_", "1,000"], ["", "not run"]]),
        Text("1 < 2 & *3*"),
    ]
    report = Report("T", ["lead"], [Section("S", blocks)])
    markdown = to_markdown(report, tmp_path)
    assert "````text\na\n```\nb\n````" in markdown
    assert r"x_1 \_y\_" in markdown
    assert r"a\|b" in markdown
    assert r"1 &lt; 2 &amp; \*3\*" in markdown
    page = check_alone(to_html(report))
    assert page.texts["pre"] == ["a\n```\nb"]
    assert [cell.get("class") for cell in page.of("td")] == ["right short", "right short"]


def test_in_a_browser(finished, tmp_path) -> None:
    page, _ = pipeline_report.write_report(finished)
    found = browser.look(page, tmp_path, "--window-size=1280,900")
    assert set(found["tables"]) == TABLES
    assert {"14.3", "4,096 images, 18 epochs"} <= set(found["cells"])
    assert len(found["images"]) == 4
    assert all(image["width"] > 300 and image["alt"] for image in found["images"])
    assert all(image["colours"] > 50 for image in found["images"])
    assert [name for name in found["resources"] if not name.startswith("data:")] == []
    assert found["width"] <= found["window"]


def test_in_a_browser_hostile_dark_and_narrow(finished, tmp_path) -> None:
    record = read_record(finished, "source")
    assert record is not None
    record.title, record.commands = HOSTILE, [["python", HOSTILE, "x" * 500]]
    write_record(finished, record)
    page, _ = pipeline_report.write_report(finished)
    dark = ("--window-size=500,900", "--blink-settings=preferredColorScheme=0")
    found = browser.look(page, tmp_path, *dark)
    assert not found["injected"]
    assert [name for name in found["resources"] if not name.startswith("data:")] == []
    assert found["code"][0] == shlex.join(record.commands[0])
    assert len(found["images"]) == 4
    assert found["width"] <= found["window"] <= 500  # the page itself does not scroll sideways
    assert found["dark"]
    assert found["ground"] == "rgb(20, 24, 29)"
