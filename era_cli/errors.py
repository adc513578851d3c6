"""Errors that a person can fix, and what stops a command from outside."""

from __future__ import annotations


class EraError(Exception):
    """One sentence that names the cause and the fix; the command ends with `exit_code`."""

    exit_code = 1


class UsageError(EraError):
    """Wrong usage: the command was asked for something that it cannot do."""

    exit_code = 2


class ProcessLost(EraError):
    """One of the processes that train together is gone; what was saved can be resumed."""


class Interrupted(BaseException):
    """A signal asked the command to stop.

    Like KeyboardInterrupt it is no Exception, so that no `except Exception` on the way keeps it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells report it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, or that of one of torch's allocators, which raise a RuntimeError."""
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("allocate memory" in said or "out of memory" in said)
    )
