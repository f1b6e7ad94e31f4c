"""Run controller.py in a namespace, with a folder of records of its own.

Knows the commands and the files that the specification names, and nothing of vtap's modules.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.netns import ip
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Interface, Namespace

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"

# Stands in the place of bcc until somebody writes to the FIFO: a compilation as long as a test
# wants.  As with LLVM, a signal does not end it.
WAITING_BCC = """
import os, sys
with open({fifo!r}):
    pass
sys.path.remove(os.path.dirname(os.path.dirname(__file__)))
del sys.modules["bcc"]
from bcc import *
"""


class Controller:
    """controller.py with its state in a folder; instances end with the namespace."""

    def __init__(self, namespace: Namespace, folder: Path, ifname: str) -> None:
        self.namespace = namespace
        self.ifname = ifname
        self.state = folder / "state"
        self.config = folder / "test.json"
        self.config.write_text("{}")
        self._environment = [f"VTAP_STATE_DIR={self.state}"]

    def command(self, *words: str, script: str = "controller.py") -> list[str]:
        """Return the words of a command that runs it."""
        return ["env", *self._environment, PYTHON, str(REPOSITORY / script), *words]

    def start_command(self, *words: str) -> list[str]:
        """Return the words that start an instance on the interface."""
        return self.command("start", "-i", self.ifname, "-conf", str(self.config), *words)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end, whatever its exit status."""
        return self.namespace.run(self.command(*words), check=False)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start a verb, output captured."""
        return self.popen_command(self.command(*words))

    def popen_command(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a command, output captured."""
        return self.namespace.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def start(self, *words: str) -> dict[str, Any]:
        """Start a detached instance and return its status; it must succeed."""
        done = self.namespace.run(self.start_command("--detached", *words), check=False)
        assert (done.returncode, done.stderr) == (0, "")
        pid = int(done.stdout.split()[1])
        (status,) = (one for one in self.status() if one["pid"] == pid)
        return status

    def status(self) -> list[dict[str, Any]]:
        """Return what status --json prints."""
        done = self.run("status", "--json")
        assert done.returncode == 0
        statuses: list[dict[str, Any]] = json.loads(done.stdout)
        return statuses

    def targets(self) -> dict[str, dict[str, str]]:
        """Return Prometheus' list: the labels of each target."""
        entries = json.loads((self.state / "targets" / "instances.json").read_text())
        return {target: entry["labels"] for entry in entries for target in entry["targets"]}

    def records(self) -> list[dict[str, Any]]:
        """Return what the instances wrote of themselves."""
        return [
            json.loads(path.read_text())
            for path in sorted((self.state / "instances").glob("*.json"))
        ]

    @contextlib.contextmanager
    def long_compilation(self) -> Iterator[Path]:
        """Have what is started meanwhile wait before it compiles, until finish() of its FIFO."""
        folder = self.config.parent / "waiting"
        fifo = folder / "fifo"
        (folder / "bcc").mkdir(parents=True)
        os.mkfifo(fifo)
        (folder / "bcc" / "__init__.py").write_text(WAITING_BCC.format(fifo=str(fifo)))
        self._environment.append(f"PYTHONPATH={folder}")
        try:
            yield fifo
        finally:
            self._environment.pop()


def make_controller(interface: Interface, folder: Path) -> Controller:
    """Return a controller in the namespace of an interface, as soon as that is up."""
    name, ifname = interface.namespace.name, interface.ifname
    # The kernel takes up to a second to say so of a new one (net/core/link_watch.c).
    wait_until(lambda: "state UP" in ip(f"-n {name} link show {ifname}"), 10, "state UP")
    return Controller(interface.namespace, folder, ifname)


def finish(fifo: Path) -> None:
    """Let a compilation that waits go on."""
    with fifo.open("w"):
        pass


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, or waits to be reaped."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False
