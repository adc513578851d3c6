"""`era fit` on a terminal: header, epoch rows, live bar, result, and the table of several seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from era_cli.console import tables
from era_cli.console.progress import WorkLine, WorkProgress, bar, print_files
from era_cli.console.terminal import SteadyConsole, duration, printable
from era_cli.results import EpochRow, FitPlan, FitResult, LayerRow, SeedResults
from era_cli.text import plural, sample

NARROW = 72  # columns below which the layer table omits the kernels
WIDE = 84  # columns from which an epoch's row shows everything
MOST_CLASSES = 20  # shown one by one; of more, the range


class FitProgress(WorkProgress):
    """Shows training: a header, a live bar on a terminal, and a row per epoch that stays.

    Args:
        record: where lasting lines go; None for nowhere (`--quiet`).
        every_layer: list every layer of the network, not just blocks.
    """

    def __init__(self, record: SteadyConsole | None, *, every_layer: bool = False) -> None:
        super().__init__(quiet=record is None)
        self._record = record
        self._every_layer = every_layer
        self._progress: Progress | None = None
        self._task: Any = None
        self._plan: FitPlan | None = None
        self._epochs = 0
        self._started = 0.0
        self._steps_before = 0
        self._steps_done = 0

    def planned(self, plan: FitPlan) -> None:
        """Prints the header, the class counts and the network."""
        self._plan, self._epochs = plan, plan.recipe.epochs
        self._steps_before = self._steps_done = plan.steps_done
        self._started = time.monotonic()
        for note in plan.notes:
            self.note(note)
        for warning in plan.warnings:
            self.warn(warning)
        if self._record is None:
            return
        self._record.print(_header(plan))
        if not plan.steps_done:  # a resumed run showed them when it started
            self._record.print(_class_table(plan))
        if not plan.steps_done or self._every_layer:
            narrow = self._record.width < NARROW
            self._record.print(_layer_table(plan, plan.leaf_layers if self._every_layer else plan.layers, narrow))
        self._record.print(_epoch_heading(self._record.width))
        for row in plan.rows_done:
            self._print_row(row, best=False)

    def epoch_started(self, epoch: int, steps_done: int) -> None:
        """Starts a bar on a terminal."""
        if self._record is None or not self._live.is_terminal or self._plan is None:
            return
        line = WorkLine(self._live, "images", self._plan.recipe.batch_size, lambda: self.seconds_left)
        self._progress = bar(line, self._live)
        self._task = self._progress.add_task(
            f"epoch {epoch}/{self._epochs}", total=self._plan.steps_per_epoch, completed=steps_done, first=steps_done
        )
        self._progress.start()

    def step_done(self) -> None:
        """Moves the bar."""
        self._steps_done += 1
        if self._progress is not None:
            self._progress.update(self._task, advance=1)

    def validating(self) -> None:
        """Says so on the bar."""
        if self._progress is not None:
            self._progress.update(self._task, description="validating")

    def epoch_ended(self, row: EpochRow, best: bool) -> None:
        """Replaces the bar by the epoch's row."""
        self.stop()
        self._print_row(row, best=best)

    def _print_row(self, row: EpochRow, *, best: bool) -> None:
        if self._record is not None:
            self._record.print(_epoch_line(row, self._epochs, best, self._record.width), soft_wrap=True)

    def stop(self) -> None:
        """Removes the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end of training at the pace so far, or None before the first step."""
        done = self._steps_done - self._steps_before
        if not done or self._plan is None:
            return None
        left = self._plan.steps_per_epoch * self._epochs - self._steps_done
        return (time.monotonic() - self._started) / done * left

    def show_result(self, result: FitResult, opened: Sequence[Path], others: Sequence[Path] = ()) -> None:
        """Prints the final panel, and the files of the run."""
        if self._record is not None:
            self._record.print(_result_panel(result, self._record))
        self.show_files(opened, others)

    def show_files(self, opened: Sequence[Path], others: Sequence[Path] = ()) -> None:
        """Prints the files of the run as `print_files` does."""
        if self._record is not None:
            print_files(self._record, opened, others)


def headline(result: FitResult) -> str:
    """The result in one line."""
    sampled = f", on {result.test_sample} test images" if result.test_sample else ""
    return f"test accuracy {result.test_acc:.2%} ({result.test_correct:,} of {result.test_count:,}){sampled}"


def seeds_headline(seeds: SeedResults) -> str:
    """The result of several seeds in one line."""
    spread = "" if seeds.deviation is None else f", standard deviation {100 * seeds.deviation:.2f} points"
    return f"mean test accuracy {seeds.mean:.2%}{spread} ({_seeds(seeds)})"


def _seeds(seeds: SeedResults) -> str:
    sampled = seeds.results[0].test_sample
    return f"{len(seeds.seeds)} seeds" + (f", {sampled} test images" if sampled else "")


def print_seeds(console: Console, seeds: SeedResults) -> None:
    """Prints a row per run, then mean and sample standard deviation of the test accuracy."""
    table = tables.titled(_seeds(seeds))
    tables.add_names(table, "run")
    tables.add_numbers(table, "seed", "validation", "test accuracy", "time")
    for run, seed, result in zip(seeds.runs, seeds.seeds, seeds.results, strict=True):
        validation = "-" if result.val_acc is None else f"{result.val_acc:.2%}"
        table.add_row(printable(str(run)), str(seed), validation, f"{result.test_acc:.2%}", duration(result.seconds))
    table.add_section()
    table.add_row("mean", "", "", f"{seeds.mean:.2%}", "", style="bold")
    if seeds.deviation is not None:
        table.add_row("standard deviation", "", "", f"{100 * seeds.deviation:.2f} points", "", style="bold")
    console.print(table)


def _header(plan: FitPlan) -> Table:
    recipe = plan.recipe
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    totals = {"test": plan.test_total}
    counted = {name: int(count.sum()) for name, count in plan.class_counts.items()}
    counts = " / ".join(f"{sample(count, totals.get(name, count))} {name}" for name, count in counted.items())
    table.add_row("run", printable(str(plan.run)))
    side = plan.image_size
    table.add_row("data", printable(f"{plan.source}: {counts}, {len(plan.classes)} classes, {side}x{side} px"))
    table.add_row("network", f"{plan.recipe.network}, {plan.parameters:,} parameters")
    table.add_row("device", printable(f"{plan.device}, {plan.precision}{_processes(plan)}"))
    table.add_row(
        "recipe",
        f"{recipe.name}: {recipe.optimizer}, one-cycle to {recipe.max_lr:g},"
        f" {plural(recipe.epochs, 'epoch')} of {plural(plan.steps_per_epoch, 'step')}, batch size {recipe.batch_size},"
        f" seed {recipe.seed}{'' if recipe.flip else ', no flip'}",
    )
    if plan.steps_done:
        epoch, step = divmod(plan.steps_done, plan.steps_per_epoch)
        table.add_row("resumed", f"after {plural(epoch, 'epoch')}" + (f" and {plural(step, 'step')}" if step else ""))
    return table


def _processes(plan: FitPlan) -> str:
    if plan.processes == 1:
        return ""
    machines = "" if plan.nodes == 1 else f" on {plan.nodes} nodes"
    return f", {plan.processes} processes of {plural(plan.threads, 'thread')}{machines}"


def _class_table(plan: FitPlan) -> Table:
    table = tables.titled("Images per class")
    tables.add_names(table, "class")
    for name in plan.class_counts:
        table.add_column(name, justify="right")
    counts = list(plan.class_counts.values())
    if len(plan.classes) <= MOST_CLASSES:
        for place, name in enumerate(plan.classes):
            table.add_row(printable(name), *(f"{int(count[place]):,}" for count in counts))
    else:
        table.add_row(f"fewest of {len(plan.classes)}", *(f"{int(count.min()):,}" for count in counts))
        table.add_row("most", *(f"{int(count.max()):,}" for count in counts))
    table.add_section()
    table.add_row("total", *(f"{int(count.sum()):,}" for count in counts), style="bold")
    return table


def _layer_table(plan: FitPlan, layers: tuple[LayerRow, ...], narrow: bool) -> Table:
    table = tables.titled("Network, per image")
    tables.add_names(table, "layer")
    table.add_column("output", no_wrap=True)
    if not narrow:
        table.add_column("kernel", no_wrap=True)
    tables.add_numbers(table, "parameters", "multiply-adds")
    for layer in layers:
        shape = "x".join(map(str, layer.output_shape))
        kernel = () if narrow else (layer.kernel,)
        table.add_row(layer.name, shape, *kernel, f"{layer.parameters:,}", f"{layer.multiply_adds:,}")
    table.add_section()
    kernel = () if narrow else ("",)
    table.add_row("total", "", *kernel, f"{plan.parameters:,}", f"{plan.multiply_adds:,}", style="bold")
    return table


def _epoch_heading(width: int) -> Text:
    wide = f"{'lr':>9}{'images/s':>10}" if width >= WIDE else ""
    return Text(f"{'epoch':>9}{'train loss':>12}{'acc':>8}{'val loss':>10}{'acc':>8}{wide}{'time':>8}", style="bold")


def _epoch_line(row: EpochRow, epochs: int, best: bool, width: int) -> Text:
    number = f"{row.epoch}/{epochs}"
    val_loss = "-" if row.val_loss is None else f"{row.val_loss:.4f}"
    val_acc = "-" if row.val_acc is None else f"{row.val_acc:.2%}"
    wide = f"{row.lr:>9.2g}{row.images_per_second:>10,.0f}" if width >= WIDE else ""
    line = f"{number:>9}{row.train_loss:>12.4f}{row.train_acc:>8.2%} {val_loss:>9}{val_acc:>8}{wide}"
    line += f"{duration(row.seconds):>8}"
    return Text(line + " best" * (best and row.val_acc is not None), style="green" if best else "")


def _result_panel(result: FitResult, console: Console) -> Any:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    if result.val_acc is None:
        table.add_row("best epoch", f"{result.best_epoch}, the last (no validation split)")
    else:
        table.add_row("best epoch", f"{result.best_epoch}, validation {result.val_acc:.2%}")
    table.add_row("test accuracy", f"{headline(result).removeprefix('test accuracy ')}, loss {result.test_loss:.4f}")
    table.add_row("wall time", duration(result.seconds))
    return Panel(table, title="Result", title_align="left", expand=False) if console.is_terminal else table
