"""What may be claimed of a difference, in one sentence. Loads no torch."""

from __future__ import annotations

from era_cli.results import Better, Difference, SettingChange, Side
from era_cli.text import plural

SIGNIFICANT = 0.05
_ONLY_NETWORKS = (
    "this compares two trained networks, not two recipes: how much another seed would change is not in the interval"
)
_SAME_RECIPE = (
    "both were trained by the same recipe, so this says how two trained networks differ, and nothing about recipes"
)


def better(difference: Difference) -> Better | None:
    """The side that may be claimed to be better: interval and test must both exclude that there is no difference.

    Of few images the interval may exclude it although the exact test, which errs on the safe side, does not.
    """
    if difference.interval is None or difference.p_value is None or difference.p_value >= SIGNIFICANT:
        return None
    low, high = difference.interval
    return "b" if low > 0 else "a" if high < 0 else None


def sentence(a: Side, b: Side, difference: Difference, count: int, settings: tuple[SettingChange, ...]) -> str:
    """The claim, what it rests on, and how far it goes."""
    sides = {"a": _called("A", a), "b": _called("B", b)}
    if difference.interval is None:
        return (
            f"no difference can be claimed: neither the {plural(len(a.runs), 'run')} of A nor the"
            f" {plural(len(b.runs), 'run')} of B vary in accuracy, so the variation between seeds is unknown"
        )
    single = b.deviation is None
    mean = f" on {plural(count, 'image')}" if single else " on average"
    test = "McNemar's exact p" if single else "Welch's p"
    winner = better(difference)
    low, high = difference.interval
    if winner is not None:
        loser = "a" if winner == "b" else "b"
        low, high = (low, high) if winner == "b" else (-high, -low)
        return (
            f"{sides[winner]} is better than {sides[loser]} by {_points(abs(difference.value))}{mean}, 95% interval"
            f" {_number(low)} to {_number(high)}; {_scope(a, b, count, settings)}"
        )
    return (
        f"no difference can be claimed: {_observed(sides, difference.value)}{mean}, {_doubt(difference, test)};"
        f" {_scope(a, b, count, settings)}"
    )


def _called(letter: str, side: Side) -> str:
    return f"{letter} ({side.runs[0].name if len(side.runs) == 1 else plural(len(side.runs), 'run')})"


def _observed(sides: dict[str, str], value: float) -> str:
    if not value:
        return f"{sides['a']} and {sides['b']} are equally accurate"
    ahead, behind = ("b", "a") if value > 0 else ("a", "b")
    return f"{sides[ahead]} is {_points(abs(value))} ahead of {sides[behind]}"


def _doubt(difference: Difference, test: str) -> str:
    """Why it is no claim."""
    assert difference.interval is not None
    low, high = difference.interval
    interval, p_value = f"95% interval of B - A, {_number(low)} to {_number(high)},", f"{difference.p_value:.2g}"
    if low <= 0 <= high:
        return f"{'but' if difference.value else 'and'} the {interval} includes 0 ({test} = {p_value})"
    return f"but {test} is {p_value}, though the {interval} excludes 0"


def _scope(a: Side, b: Side, count: int, settings: tuple[SettingChange, ...]) -> str:
    sides = (("A", a), ("B", b))
    if unfinished := [letter for letter, side in sides if not all(run.finished for run in side.runs)]:
        return (
            f"the training of {' and '.join(unfinished)} is not finished, so this is about the networks as they are,"
            " and says nothing about recipes"
        )
    if b.deviation is None:
        return _ONLY_NETWORKS if any(each.name.startswith("recipe.") for each in settings) else _SAME_RECIPE
    mixed = [
        letter
        for letter, values in (("A", [setting.a for setting in settings]), ("B", [setting.b for setting in settings]))
        if any(len(each) > 1 for each in values)
    ]
    if mixed:
        return f"the runs of {' and '.join(mixed)} differ in more than their seeds, so this is about these runs alone"
    if repeated := [letter for letter, side in sides if len({run.seed for run in side.runs}) < len(side.runs)]:
        return f"runs of {' and '.join(repeated)} have the same seed, so this is about these runs alone"
    if not settings:
        return "the sides differ in no recorded setting, so a difference between them is probably chance"
    return f"the interval is over seeds, for these {plural(count, 'image')} alone"


def _points(value: float) -> str:
    number = _number(value)
    return f"{number} point{'s' * (number != '1.00')}"


def _number(value: float) -> str:
    """In points; what is not 0 does not look as if it were: an interval that excludes 0 must show it."""
    number = f"{100 * value:.2f}"
    return f"{100 * value:.1g}" if value and not float(number) else number
