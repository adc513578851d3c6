"""How the processes of one `era fit` begin: one that starts the others, the first, and those that follow it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import typer

from era_cli.commands.several import Team
from era_cli.errors import EraError, Interrupted
from era_cli.place import Place
from era_cli.signals import ending

if TYPE_CHECKING:
    from era_cli.core.fit.request import FitRequest
    from era_cli.core.training.group import Group


def start(team: Team, precision: str) -> NoReturn:
    """Runs this command in several processes, and ends as the first of them does."""
    with ending():
        from era_cli.commands import launch

    if team.gpus != "0":  # refuses what is absent
        with ending():
            from era_cli.core.training import devices

        devices.choose(team.gpus, precision, Place(processes=team.processes, nodes=team.nodes))
    raise typer.Exit(launch.run(team.per_node, team.nodes))


@contextlib.contextmanager
def meet(at: Place) -> Iterator[Group]:
    """The processes that train together, of which this is the first; they are released when the block is done."""
    from era_cli.core.fit.job import DONE
    from era_cli.core.training import devices, group

    everyone = group.meet(at)
    devices.share_cores(at)
    try:
        yield everyone
        everyone.tell(DONE)
        everyone.leave()
    finally:
        everyone.say_left()


def follow(at: Place, request: FitRequest) -> None:
    """Trains what the first process says, silently; prints an error only if that process cannot be reached."""
    with ending():
        from era_cli.core.fit import follow as follower
        from era_cli.core.training import group

    everyone = group.meet(at)
    try:
        follower.follow(everyone, request)
    except (EraError, Interrupted) as error:
        raise typer.Exit(error.exit_code) from error
