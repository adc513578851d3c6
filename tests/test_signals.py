from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from era_cli.errors import Interrupted
from era_cli.signals import STOPPING, HeldSignals, ending, raise_on_signals


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_raises_and_knows_its_exit_code(signum: int, code: int) -> None:
    raise_on_signals()
    with pytest.raises(Interrupted) as stopped:
        os.kill(os.getpid(), signum)
    assert stopped.value.exit_code == code


def test_the_first_signal_is_held_and_the_second_raises() -> None:
    raise_on_signals()
    before = [signal.getsignal(signum) for signum in STOPPING]
    held = HeldSignals()
    held.hold()
    os.kill(os.getpid(), signal.SIGTERM)
    assert held.received == signal.SIGTERM
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)
    assert held.received == signal.SIGTERM
    held.release()
    assert [signal.getsignal(signum) for signum in STOPPING] == before


@pytest.mark.parametrize("install", ["raise_on_signals()", "HeldSignals().hold()"])
def test_a_signal_that_the_shell_ignores_stays_ignored(install: str) -> None:
    # nohup ignores SIGHUP, and a script's `&` ignores SIGINT, before Python starts.
    program = f"import os, signal; from era_cli.signals import *; {install}; os.kill(os.getpid(), signal.SIGHUP)"
    done = subprocess.run(
        [sys.executable, "-c", program], preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert done.returncode == 0


def test_a_signal_ends_the_process_within_the_block_and_raises_after_it() -> None:
    program = """
import os, signal, time
from era_cli.errors import Interrupted
from era_cli.signals import ending, raise_on_signals
raise_on_signals()
with ending():
    if {}:
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached")
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
except Interrupted:
    print("raised")
"""
    for within, outcome in ((True, (143, "", "Stopped by SIGTERM.\n")), (False, (0, "raised\n", ""))):
        done = subprocess.run([sys.executable, "-c", program.format(within)], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == outcome


def test_ending_gives_the_signals_back_when_the_block_fails() -> None:
    raise_on_signals()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="so"), ending():
        raise ValueError("so")
    assert signal.getsignal(signal.SIGINT) is before
