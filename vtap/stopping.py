"""Ends instances: cleanly, by force after a bound.

A signal goes to the process that holds the record, never to what merely has its pid.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from vtap.errors import PrivilegeError, VtapError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vtap.instances import Instances
    from vtap.records import Record

STOP_BOUND_S = 10.0
"""Time for the final report; a compilation that has begun ends first."""
KILL_BOUND_S = 5.0


class Process:
    """A process by a handle that stays its own when the pid is used again (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        """Open the handle; raises ProcessLookupError."""
        self._descriptor = os.pidfd_open(pid)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; raises ProcessLookupError or PermissionError."""
        signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, bound_s: float) -> bool:
        """Tell whether the process has ended, within the bound."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, bound_s) * 1000))


class Found(NamedTuple):
    """A running instance, and the folder that has its record."""

    record: Record
    instances: Instances

    @property
    def log(self) -> Path | None:
        """Where its messages go, None if to a terminal."""
        return self.instances.log_of(self.record)

    def open_process(self) -> Process | None:
        """Return its process, None if it has ended."""
        try:
            process = Process(self.record.pid)
        except ProcessLookupError:
            return None
        # Only now: what holds the record while the handle is open is what the handle is of.
        running = {record.pid for record in self.instances.find_running()}
        return process if self.record.pid in running else None


def stop_instances(
    found: Sequence[Found], bound_s: float = STOP_BOUND_S
) -> Iterator[str | VtapError]:
    """Stop all at once and yield, for each in order, what was done, or the error it met."""
    deadline_s = time.monotonic() + bound_s
    begun = [(one.record, _send_term(one)) for one in found]
    for record, process in begun:
        if isinstance(process, VtapError):
            yield process
        elif process is None or process.wait(deadline_s - time.monotonic()):
            yield f"stopped {record}"
        else:
            yield _kill(record, process, bound_s)


def _send_term(one: Found) -> Process | VtapError | None:
    process = one.open_process()
    if process is None:
        return None
    try:
        process.send(signal.SIGTERM)
    except ProcessLookupError:
        return None
    except PermissionError:
        message = f"cannot stop {one.record}: it belongs to another user; run as root, with sudo"
        return PrivilegeError(message)
    return process


def _kill(record: Record, process: Process, bound_s: float) -> str | VtapError:
    try:
        process.send(signal.SIGKILL)
    except ProcessLookupError:
        return f"stopped {record}"
    if process.wait(KILL_BOUND_S):
        return f"killed {record}: it had not ended {bound_s:g} s after SIGTERM"
    message = f"cannot stop {record}: it has not ended {KILL_BOUND_S:g} s after SIGKILL"
    return VtapError(message)
