"""Two runs, or two groups of runs, told apart on the same images. Loads no torch until a run was evaluated."""

from era_cli.errors import UsageError
from era_cli.text import plural


def check_sizes(a: int, b: int) -> None:
    """Refuses numbers of runs of which no interval is known.

    Raises:
        UsageError: one run is to be compared with several, or a side has none.
    """
    if not a or not b or (a == 1) != (b == 1):
        raise UsageError(
            f"A is {plural(a, 'run')} and B {plural(b, 'run')}: name one run on each side, to compare two trained"
            " networks, or at least two on each, to compare recipes over seeds"
        )
