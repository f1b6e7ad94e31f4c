"""What ends a run: SIGINT, SIGTERM and SIGHUP, each once, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BOUND_S = 20

# Says what each wait returned, for whose seconds its parent asks by a line.
WAITING = """
import signal, sys
if sys.argv[1:]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from vtap.signals import StopSignals
stop = StopSignals()
print("ready", flush=True)
for line in sys.stdin:
    print("waiting", flush=True)
    print(stop.wait(float(line)), flush=True)
"""


class Waiter:
    """A process that waits for its end."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WAITING, *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "ready"

    def read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, timeout_s: float) -> None:
        """Have it wait."""
        assert self.process.stdin
        self.process.stdin.write(f"{timeout_s}\n")
        self.process.stdin.flush()
        assert self.read() == "waiting"

    def state(self) -> str:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0]


@contextlib.contextmanager
def waiter(*words: str) -> Iterator[Waiter]:
    one = Waiter(*words)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def test_without_a_signal_the_time_passes() -> None:
    """The run goes on."""
    with waiter() as one:
        one.ask(0.01)
        assert one.read() == "False"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_for_good(number: signal.Signals) -> None:
    """Each of them; and a second one does not end the process."""
    with waiter() as one:
        one.ask(BOUND_S)
        for _ in range(2):
            one.process.send_signal(number)
        assert one.read() == "True"
        one.ask(BOUND_S)
        assert one.read() == "True"


def test_a_signal_before_the_wait_is_kept() -> None:
    """One that came during a compilation, say."""
    with waiter() as one:
        one.process.send_signal(signal.SIGTERM)
        one.ask(BOUND_S)
        assert one.read() == "True"


def test_under_nohup_the_terminal_may_go() -> None:
    """SIGHUP is passed over, SIGTERM is not."""
    with waiter("nohup") as one:
        one.process.send_signal(signal.SIGHUP)
        one.ask(0.05)
        assert one.read() == "False"
        one.process.send_signal(signal.SIGTERM)
        one.ask(BOUND_S)
        assert one.read() == "True"


def test_ctrl_z_and_fg_end_nothing() -> None:
    """A process that was stopped for longer than its wait goes on."""
    with waiter() as one:
        one.ask(0.5)
        os.kill(one.process.pid, signal.SIGSTOP)
        wait_until(lambda: one.state() == "T", BOUND_S, "the stop")
        # The wait is over by the clock that goes on; nothing but time can make that so.
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(0.6)
        os.kill(one.process.pid, signal.SIGCONT)
        assert one.read() == "False"
        one.process.send_signal(signal.SIGTERM)
        one.ask(BOUND_S)
        assert one.read() == "True"
