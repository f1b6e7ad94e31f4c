"""Instances and a real terminal: one that is detached outlives it, one that is not ends with it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.controller import Controller, finish, is_alive, make_controller
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Veth

BOUND_S = 30


class Terminal:
    """A shell command in a terminal of its own; what it shows, and its closing."""

    def __init__(self, command: list[str]) -> None:
        self.shown = ""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)  # noqa: S606
        self._reaped = False

    def read_until(self, text: str) -> None:
        """Read what is shown until the text is there."""
        deadline_s = time.monotonic() + BOUND_S
        while text not in self.shown:
            left_s = deadline_s - time.monotonic()
            assert select.select([self._master], [], [], max(0, left_s))[0], self.shown
            self.shown += os.read(self._master, 4096).decode()

    def close(self) -> None:
        """Close the terminal: the kernel hangs up on its processes."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def wait(self) -> int:
        """Wait for the end of the shell and return its wait status."""
        wait_until(lambda: not is_alive(self.pid), BOUND_S, "the shell's end")
        self._reaped = True
        return os.waitpid(self.pid, 0)[1]

    def end(self) -> None:
        """End what is left, whatever the test came to."""
        self.close()
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def controller(veth: Veth, tmp_path: Path) -> Controller:
    """Provide a controller in a namespace."""
    return make_controller(veth.right, tmp_path)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Provide a list of terminals that are ended."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.end()


def in_namespace(controller: Controller, command: list[str]) -> list[str]:
    return ["ip", "netns", "exec", controller.namespace.name, *command]


def test_a_detached_instance_outlives_its_terminal(
    controller: Controller, terminals: list[Terminal]
) -> None:
    """The shell is hung up on; the instance measures on, and writes its report to its log."""
    script = '"$@"; echo done; exec sleep 1000'
    start = controller.start_command("--detached", "-t", "0.1")
    terminal = Terminal(in_namespace(controller, ["sh", "-c", script, "sh", *start]))
    terminals.append(terminal)
    terminal.read_until("done")
    (before,) = controller.status()

    terminal.close()
    status = terminal.wait()

    assert os.WTERMSIG(status) == signal.SIGHUP
    (after,) = controller.status()
    assert (after["pid"], after["state"]) == (before["pid"], "measuring")
    process = Path(f"/proc/{after['pid']}")
    assert (process / "fd/0").samefile(os.devnull)
    for descriptor in (1, 2):
        assert (process / f"fd/{descriptor}").samefile(after["log"])
    assert (process / "cwd").samefile("/")
    assert os.getsid(after["pid"]) == after["pid"]
    controller.run("stop")
    log = controller.run("logs", str(after["pid"])).stdout
    assert log.endswith(f"{controller.ifname}: 0 packets counted\n")


def test_an_instance_in_the_foreground_ends_with_its_terminal(
    controller: Controller, terminals: list[Terminal]
) -> None:
    """As a program in a terminal does, but with its record given back."""
    terminal = Terminal(in_namespace(controller, controller.start_command("-t", "0.1")))
    terminals.append(terminal)
    terminal.read_until("THROUGHPUT")

    terminal.close()

    assert terminal.wait() == 0
    assert (controller.records(), controller.targets()) == ([], {})


@pytest.mark.parametrize("detached", [[], ["--detached"]])
def test_a_compilation_shows_that_it_goes_on(
    controller: Controller, terminals: list[Terminal], detached: list[str]
) -> None:
    """Seconds are counted on one line, which is gone when the program is there."""
    with controller.long_compilation() as fifo:
        command = controller.start_command("-t", "0.1", *detached)
        terminal = Terminal(in_namespace(controller, command))
        terminals.append(terminal)
        for seconds in (0, 1):
            terminal.read_until(
                f"\r\x1b[Kcompiling the program for {controller.ifname} ... {seconds} s"
            )
        finish(fifo)
    terminal.read_until("measures on" if detached else "measuring on")

    shown = terminal.shown.rsplit("\r\x1b[K", 1)[1]
    assert shown.startswith("instance " if detached else "measuring on ")
