from __future__ import annotations

import dataclasses
import io
import re

from era_cli.console.report import headline, print_report
from era_cli.console.terminal import SteadyConsole
from era_cli.results import Report
from tests.page.support import evaluation, report
from tests.reports.support import pictures


def printed(report: Report) -> str:
    console = SteadyConsole(io.StringIO(), width=80)
    print_report(console, [("run", "runs/mine")], report, 1_234_567)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_it_says_what_is_in_the_page_and_what_is_not() -> None:
    made, _ = report(evaluation(2_000), pictures(2_000), room=80_000)
    text = printed(made)
    wrong, suspects, _ = made.gallery.groups
    assert re.search(rf"misclassified\s+{len(wrong.rows):,} of {wrong.total:,}", text)
    assert len(wrong.rows) < wrong.total
    assert re.search(rf"heat maps\s+Grad-CAM at layer3, {len(made.gallery.heatmaps):,} images", text)
    assert re.search(r"size\s+1 MB", text)
    assert suspects.title.lower() in text
    assert headline(made, 1_234_567).endswith(f"{len(made.gallery.heatmaps):,} images, 1 MB")


def test_what_is_left_out_is_not_called_none() -> None:
    made, _ = report(evaluation(300, accuracy=0.2), pictures(300))
    assert made.gallery.groups[1].total > 0
    assert re.search(r"suspected label errors\s+not listed", printed(made))
    right = dataclasses.replace(made.gallery.groups[0], rows=made.gallery.groups[0].rows[:0], total=0)
    made = dataclasses.replace(made, gallery=dataclasses.replace(made.gallery, groups=(right,)))
    assert re.search(r"misclassified\s+none", printed(made))
