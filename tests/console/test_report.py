from __future__ import annotations

import io
import re

from era_cli.console.report import headline, print_report
from era_cli.console.terminal import SteadyConsole
from tests.page.support import evaluation, report
from tests.reports.support import pictures


def test_it_says_what_is_in_the_page_and_what_is_not() -> None:
    made, _ = report(evaluation(2_000), pictures(2_000), room=80_000)
    console = SteadyConsole(io.StringIO(), width=80)
    print_report(console, [("run", "runs/mine")], made, 1_234_567)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    wrong, suspects, _ = made.gallery.groups
    assert re.search(rf"misclassified\s+{len(wrong.rows):,} of {wrong.total:,}", text)
    assert len(wrong.rows) < wrong.total
    assert re.search(rf"heat maps\s+Grad-CAM at layer3, {len(made.gallery.heatmaps):,} images", text)
    assert re.search(r"size\s+1 MB", text)
    assert suspects.title.lower() in text
    assert headline(made, 1_234_567).endswith(f"{len(made.gallery.heatmaps):,} images, 1 MB")
