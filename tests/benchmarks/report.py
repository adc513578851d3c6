"""Figures as one line for the terminal, as JSON, and as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from era_cli.files import atomic_write_json, atomic_write_text, make_folder
from tests.benchmarks.measuring import Absent, Figure

SCHEMA = 1
_COLUMNS = ("what", "left", "right", "left - right", "ratio", "each round", "target", "met")


@dataclass
class PartResult:
    """What one part of the suite has found so far, and the seconds it took."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    seconds: float = 0.0
    failed: bool = False


def line(found: Figure | Absent) -> str:
    """One figure for the terminal."""
    if isinstance(found, Absent):
        return f"{found.what}: not measured, {found.reason}"
    rounds = ", ".join(f"{ratio:.3f}" for ratio in found.ratios)
    verdict = "" if found.target is None else f"; {found.target}: {'met' if found.met else 'MISSED'}"
    return (
        f"{found.what}: {found.left} {_amount(found.left_median, found.unit)},"
        f" {found.right} {_amount(found.right_median, found.unit)},"
        f" ratio {found.ratio:.3f} (rounds {rounds}){verdict}"
    )


def as_json(conditions: Mapping[str, str], results: Sequence[PartResult]) -> dict[str, Any]:
    """Everything, every round included."""
    return {"schema": SCHEMA, "conditions": dict(conditions), "parts": [_part_document(part) for part in results]}


def as_markdown(conditions: Mapping[str, str], results: Sequence[PartResult]) -> str:
    """The conditions, then a table for every part; medians, and the ratio of every round."""
    blocks = ["# Benchmarks", _table(("condition", "value"), conditions.items())]
    for part in results:
        blocks.append(f"## {part.name}")
        rows = [*map(_row, part.figures), *map(_absent_row, part.absent)]
        blocks.append(_table(_COLUMNS, rows))
        blocks += [f"- {_cell(figure.what)}: {_cell(figure.note)}" for figure in part.figures if figure.note]
        blocks.append(f"Took {part.seconds:.0f} s.")
    return "\n\n".join(blocks) + "\n"


def write(folder: Path, conditions: Mapping[str, str], results: Sequence[PartResult]) -> None:
    """results.json and results.md in `folder`, each whole or as it was."""
    make_folder(folder)
    atomic_write_json(folder / "results.json", as_json(conditions, results))
    atomic_write_text(folder / "results.md", as_markdown(conditions, results))


def _part_document(part: PartResult) -> dict[str, Any]:
    return {
        "name": part.name,
        "seconds": part.seconds,
        "failed": part.failed,
        "figures": [_figure_document(figure) for figure in part.figures],
        "absent": [{"what": absent.what, "reason": absent.reason} for absent in part.absent],
    }


def _figure_document(figure: Figure) -> dict[str, Any]:
    return {
        "what": figure.what,
        "left": figure.left,
        "right": figure.right,
        "unit": figure.unit,
        "rounds": [{"left": left, "right": right, "ratio": left / right} for left, right in figure.rounds],
        "median": {
            "left": figure.left_median,
            "right": figure.right_median,
            "difference": figure.difference,
            "ratio": figure.ratio,
        },
        "target": None if figure.target is None else str(figure.target),
        "met": figure.met,
        "note": figure.note,
    }


def _row(figure: Figure) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "**no**"}[figure.met]
    return (
        figure.what,
        f"{figure.left}: {_amount(figure.left_median, figure.unit)}",
        f"{figure.right}: {_amount(figure.right_median, figure.unit)}",
        _amount(figure.difference, figure.unit),
        f"{figure.ratio:.3f}",
        ", ".join(f"{ratio:.3f}" for ratio in figure.ratios),
        "" if figure.target is None else str(figure.target),
        met,
    )


def _absent_row(absent: Absent) -> tuple[str, ...]:
    return (absent.what, f"not measured: {absent.reason}", *[""] * (len(_COLUMNS) - 2))


def _amount(value: float, unit: str) -> str:
    """Four figures at least, with its unit."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{text} {unit}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    """`text` so that it stays one cell and shows as it is."""
    for sign, escaped in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;")):
        text = text.replace(sign, escaped)
    return " ".join(text.split())
