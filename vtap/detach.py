"""Fork an instance that outlives its terminal, and wait until it measures or has failed.

The child keeps the terminal for its messages until then, and writes to its log from then on.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING, Callable

from vtap.errors import InstanceError, VtapError
from vtap.records import Record, parse_record, render_record

if TYPE_CHECKING:
    from pathlib import Path

START_BOUND_S = 60
"""A thousand rules compile in some ten seconds."""

Detach = Callable[[Record, "Path"], None]


class Child:
    """The process that is to become an instance, as its parent sees it."""

    def __init__(self, pid: int, reading: int) -> None:
        self.pid = pid
        self._reading = reading

    def wait(self, bound_s: float = START_BOUND_S) -> Record | int:
        """Return the record once it measures, or the exit status of what has failed.

        Raises VtapError if it neither measures nor ends within the bound, or ends without a word.
        """
        try:
            return self._wait(bound_s)
        finally:
            os.close(self._reading)

    def _wait(self, bound_s: float) -> Record | int:
        deadline_s = time.monotonic() + bound_s
        text = b""
        while not text.endswith(b"\n}\n"):
            ready, _, _ = select.select(
                [self._reading], [], [], max(0.0, deadline_s - time.monotonic())
            )
            if not ready:
                self._kill()
                message = f"instance {self.pid} did not measure within {bound_s:g} s; it is killed"
                raise VtapError(message)
            part = os.read(self._reading, select.PIPE_BUF)
            if not part:
                return self._exit_status()
            text += part
        record = parse_record(text)
        if record is None:
            message = f"instance {self.pid} said what is no record: {text!r}"
            raise VtapError(message)
        return record

    def _exit_status(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            name = signal.Signals(-code).name
            message = f"instance {self.pid} was ended by {name} before it measured"
            raise InstanceError(message)
        if code == 0:
            message = f"instance {self.pid} was stopped before it measured"
            raise InstanceError(message)
        return code

    def _kill(self) -> None:
        """End the child, which cannot have been reaped, so that its pid is its own."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def fork_instance() -> Child | Detach:
    """Fork; returns the Child to its parent, and to the child what it calls once it measures."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    os.close(reading)
    os.setsid()
    stdin = os.open(os.devnull, os.O_RDONLY)
    os.dup2(stdin, 0)
    os.close(stdin)
    return lambda record, log: _detach(writing, record, log)


def _detach(writing: int, record: Record, log: Path) -> None:
    """Let go of the terminal and of the folder, and tell the parent; VtapError if that fails."""
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VtapError(f"cannot write log {log}: {reason}") from None
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    os.chdir("/")
    try:
        os.write(writing, render_record(record).encode())
    except BrokenPipeError:
        message = "the start was interrupted, nobody waits for the instance: it ends"
        raise InstanceError(message) from None
    finally:
        os.close(writing)
