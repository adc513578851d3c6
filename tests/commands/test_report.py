"""`era report` on real runs; what all commands have in common is in test_common, the page itself in tests/page."""

from __future__ import annotations

import json
import re
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.support import ESCAPE, as_json, digit_folder, files, invoke, named_files, the_error


def data_of(page: Path) -> dict[str, Any]:
    """What the page's script draws."""
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return dict(json.loads(found))


def test_the_page_is_that_of_the_run(run: Run) -> None:
    Image.new("RGB", (4, 4)).save(run.path / artifacts.SAMPLES)
    before = files(run.path)
    done = invoke("report")
    result = run.read().result
    assert result is not None
    assert files(run.path) - before == {"report.html"}
    assert set(named_files(done.stdout)) == {"runs/mine/report.html", "runs/mine/predictions-test.npz"}
    text = (run.path / "report.html").read_text(encoding="utf-8")
    for fact in (
        f"{result.test_acc:.2%}</dd>",
        f"{result.test_correct} of 359",
        f"parameters, trained on {run.read().data.counts.train} images of digits for 3 epochs",
        "era fit --data digits",
        run.read().data.content_hash,
        "checkpoints/best.ckpt",
        "data:image/png;base64,",  # the training samples
    ):
        assert fact in text, fact
    wrong = data_of(run.path / "report.html")["groups"][0]
    assert wrong["total"] == len(wrong["rows"]) == 359 - result.test_correct
    assert ESCAPE not in done.output
    invoke("report")
    assert (run.path / "report.html").read_text(encoding="utf-8") == text


def test_json_lists_what_it_holds(run: Run) -> None:
    told = as_json("report", "--out=pages/mine.html")
    page = Path("pages/mine.html")
    assert told["files"] == [str(page), "runs/mine/predictions-test.npz"]
    assert told["bytes"] == page.stat().st_size
    data = data_of(page)
    assert told["result"]["images"] == len(data["labels"])
    for group, shown in zip(told["result"]["groups"], data["groups"], strict=True):
        assert (group["name"], group["images"], group["total"]) == (shown["name"], len(shown["rows"]), shown["total"])
    assert told["result"]["heatmaps"] == {"method": "gradcam", "layer": "layer1", "map_size": [4, 4]}
    assert told["result"]["epochs_drawn"] == 3


def test_other_images_have_a_page_of_their_own(run: Run, tmp_path: Path) -> None:
    digit_folder(tmp_path / "scans", {"3": 7, "8": 4})
    told = as_json("report", "--data", "scans")
    (page,) = run.path.glob("report-data-scans-??????.html")
    assert str(page.relative_to(tmp_path)) in told["files"]
    data = data_of(page)
    assert sorted(data["labels"]) == [3] * 7 + [8] * 4
    assert len(data["files"]) == 11
    assert as_json("report", "--split=val")["files"][0] == "runs/mine/report-val.html"
    assert (
        "trained on these labels"
        in (data_of(Path(as_json("report", "--split=train")["files"][0]))["groups"][1]["note"])
    )


def test_an_unfinished_run_has_a_page_too(run: Run) -> None:
    run.update(status="interrupted", result=None)
    assert "is not finished" in the_error(invoke("report", code=1))
    (run.path / artifacts.SAMPLES).write_bytes(b"no picture")
    lines = run.metrics_file.read_text().splitlines()
    run.metrics_file.write_text("\n".join([*lines[:2], "2,torn"]))
    told = as_json("report", "--checkpoint=best")
    assert (told["result"]["samples"], told["result"]["epochs_drawn"]) == (False, 1)
    assert any("Left out" in note for note in told["result"]["notes"])
    text = Path(told["files"][0]).read_text(encoding="utf-8")
    assert "1 of 3 epochs" in text
    assert "Left out" in text


def test_the_page_is_opened_on_request(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def no_browser(address: str) -> bool:
        opened.append(address)
        return False

    monkeypatch.setattr(webbrowser, "open", no_browser)
    assert "open runs/mine/report.html in one yourself" in invoke("report", "--open", "--quiet").stderr
    assert opened == [(run.path / "report.html").resolve().as_uri()]


def test_a_page_against_another_run(run: Run, other: Run) -> None:
    told = as_json("report", "--run=mine", "--against=other")
    assert told["files"][0] == "runs/mine/report-against-other.html"
    assert told["against"] == "runs/other"
    compared = as_json("compare", "other", "mine", "-n1")["result"]
    assert told["result"]["claim"] == compared["claim"]
    groups = {group["name"]: group["total"] for group in told["result"]["groups"]}
    assert (groups["lost"], groups["gained"]) == (compared["paired"]["only_a"], compared["paired"]["only_b"])
    assert "Compared with other" in Path(told["files"][0]).read_text(encoding="utf-8")


def test_only_html_is_a_page(run: Run) -> None:
    assert "must end in .html" in the_error(invoke("report", "--out=page.pdf", code=2))
