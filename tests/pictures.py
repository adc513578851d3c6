"""Draws every picture of the documentation from a finished run, by the commands that the documentation shows.

`make pictures RUN=runs/cifar10-1 DATA=data`, or `python -m tests.pictures RUN [DATA]`: the run is copied first and not
written to, DATA is the folder with CIFAR-10. Takes a few minutes, most of them for the learning-rate sweep.
`python -m tests.pictures A B DATA` draws the one of `era compare A B` alone.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.text import Text

from era_cli.commands import next_step
from era_cli.console import fit as console
from era_cli.console.progress import print_next
from era_cli.console.terminal import SteadyConsole
from era_cli.runs import artifacts, best_epoch
from era_cli.runs.run import Run
from tests.page import chromium as browser

IMAGES = Path(__file__).parents[1] / ".github" / "images"
LARGEST = 200_000  # bytes
WIDEST = 1660  # pixels: twice the column of a README, for sharp screens
STRIP_GAP = 24  # pixels
PNG, JPEG = ("curves", "confusion", "reliability", "lr-find", "misclassified"), ("samples", "gradcam")
COLUMNS = 88  # of the terminal captures
ROOT = Path(__file__).parents[1]
PAGE_SIZE = (1120, 690)
PAGE_SCRIPT = """
const cells = [...document.querySelectorAll(".matrix td.wrong")];
const most = (one, other) => (Number(other.textContent) > Number(one.textContent) ? other : one);
cells.reduce(most).click();
document.querySelectorAll(".tile")[1].focus({ preventScroll: true });
setTimeout(arguments[0], 1000);
"""


def era(folder: Path, *arguments: str) -> str:
    """What `era` prints on a terminal of COLUMNS, run in `folder`."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "PYTHONPATH": str(ROOT)}
    environment.pop("NO_COLOR", None)
    print("era", *arguments, file=sys.stderr)
    command = [sys.executable, "-m", "era_cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def small(picture: Image.Image, file: Path) -> None:
    """Writes `picture`, scaled down until it takes no more than LARGEST bytes; the suffix of `file` is the format."""
    scale = min(1.0, WIDEST / picture.width)
    while True:
        size = (round(picture.width * scale), round(picture.height * scale))
        scaled = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        scaled.save(file, optimize=True, quality=82, subsampling=0)  # the latter two for JPEG: text stays sharp
        if file.stat().st_size <= LARGEST:
            return
        scale *= 0.9


def strip(files: list[Path], file: Path) -> None:
    """Writes the pictures side by side at one height."""
    pictures = [Image.open(one).convert("RGB") for one in files]
    room = WIDEST - STRIP_GAP * (len(pictures) - 1)
    height = int(room / sum(picture.width / picture.height for picture in pictures))
    canvas = Image.new("RGB", (WIDEST, height), "white")
    left = 0
    for picture in pictures:
        width = round(picture.width * height / picture.height)
        canvas.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (left, 0))
        left += width + STRIP_GAP
    small(canvas, file)


def page_shot(page: Path, file: Path) -> None:
    """Writes what a browser shows of the page of a run: its most frequent mistake, one image of it with heat maps."""
    paths = browser.found()
    if paths is None:
        print("no Chromium with its driver: the picture of the page is left as it is", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as profile:
        chromium = browser.start(*paths, Path(profile))
        browser.look(chromium, PAGE_SIZE, scale=WIDEST / PAGE_SIZE[0])
        chromium.get(page.as_uri())
        chromium.execute_async_script(PAGE_SCRIPT)
        picture = Image.open(io.BytesIO(chromium.get_screenshot_as_png()))
        chromium.quit()
    small(picture, file)


class Capture:
    """A terminal whose content becomes an SVG file."""

    def __init__(self) -> None:
        self.console = SteadyConsole(io.StringIO(), record=True, width=COLUMNS, force_terminal=True)

    def prompt(self, command: str) -> None:
        """Shows a command as typed."""
        self.console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))

    def save(self, file: Path) -> None:
        """Writes the SVG, without the web font that Rich asks for."""
        svg = self.console.export_svg(title="era", unique_id="era")
        svg = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
        file.write_text(svg, encoding="utf-8")


def fit_capture(run: Run, command: str) -> Capture:
    """The epochs and the result of a finished run as `era fit` printed them, from its own files."""
    document = run.read()
    rows = run.epochs()
    capture = Capture()
    capture.prompt(command)
    progress = console.FitProgress(capture.console)
    progress._epochs = document.recipe.epochs
    capture.console.print(console._epoch_heading(COLUMNS))
    for done, row in enumerate(rows, start=1):
        best = best_epoch.best(rows[:done])
        progress.epoch_ended(row, best=best == row)
    if document.result is None:
        sys.exit(f"{run.path} is not finished")
    files = [Path("runs") / artifact.path.relative_to(run.path.parent) for artifact in run.contents()]
    progress.show_result(document.result, *artifacts.opened_first(files))
    print_next(capture.console, next_step.line("eval"))
    return capture


def draw(run: Run, folder: Path) -> None:
    """Draws everything into `folder`, whose `runs` holds a copy of the run."""
    document = run.read()
    source = document.data.source
    source_option = [] if source == "cifar10" else ["--data", source]
    command = " ".join(["era fit", *source_option, "--epochs", str(document.recipe.epochs)])
    fit_capture(run, command).save(IMAGES / "fit.svg")

    evaluation = Capture()
    evaluation.prompt("era eval")
    evaluation.console.print(Text.from_ansi(era(folder, "eval").rstrip("\n")))
    evaluation.save(IMAGES / "eval.svg")

    era(folder, "plot-curves")
    era(folder, "misclassified", "--n", "15")
    era(folder, "gradcam", "--n", "6")
    era(folder, "report")
    page_shot(run.path / "report.html", IMAGES / "report.jpg")
    era(folder, "lr-find", "--out", str(run.path / "lr-find.png"), *source_option)
    for suffix, pictures in (("png", PNG), ("jpg", JPEG)):
        for name in pictures:
            small(Image.open(run.path / f"{name}.png"), IMAGES / f"{name}.{suffix}")

    few = [folder / "misclassified.png", folder / "gradcam.png"]
    era(folder, "misclassified", "--n", "9", "--columns", "3", "--out", str(few[0]))
    era(folder, "gradcam", "--n", "3", "--out", str(few[1]))
    strip([run.path / "curves.png", run.path / "confusion.png", *few], IMAGES / "strip.jpg")


def main() -> None:
    """Copies the runs, draws, and lists the pictures with their sizes."""
    if len(sys.argv) not in (2, 3, 4):
        sys.exit("usage: python -m tests.pictures RUN [DATA], or A B DATA")
    given = [Path(argument).resolve() for argument in sys.argv[1:]]
    if len(given) > 1:
        os.environ["ERA_DATA_DIR"] = str(given.pop())  # as an option it would be in the captures
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copies = [folder / "runs" / run.name for run in given]
        for run, copy in zip(given, copies, strict=True):
            shutil.copytree(run, copy)
        if len(copies) == 1:
            draw(Run(copies[0]), folder)
        else:
            era(folder, "compare", *(copy.name for copy in copies), "--n", "6", "--out", "compare.png")
            small(Image.open(folder / "compare.png"), IMAGES / "compare.jpg")
    for file in sorted(IMAGES.iterdir()):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:,.0f} KB")


if __name__ == "__main__":
    main()
