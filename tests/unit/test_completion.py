"""Completion in real shells: what Tab offers is what the parsers take, and what is there now."""

from __future__ import annotations

import os
import pty
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOUND_S = 20

if not (
    shutil.which("register-python-argcomplete") or shutil.which("register-python-argcomplete3")
):
    pytest.skip("argcomplete is missing", allow_module_level=True)

BASH = """
. script/completion.sh
COMP_LINE=$1 COMP_POINT=${#1}
_python_argcomplete "${1%% *}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(line: str) -> list[str]:
    """Return what bash offers at the end of the line."""
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("./controller.py st", ["start", "stop", "status"]),
        ("./controller.py start --deta", ["--detached"]),
        ("./controller.py status --j", ["--json"]),
        ("./controller.py stop --j", []),
        ("./monitor.py --deta", []),
        ("./monitor.py -test_t", ["-test_throughput"]),
        ("./monitor.py --direction ", ["in", "out", "both"]),
        ("./monitor.py -conf config.j", ["config.json"]),
        ("./monitor.py --log-dir scr", ["script/"]),
        ("./monitor.py --log-dir READ", []),
        ("./controller.py logs 4", []),
    ],
)
def test_bash_offers_what_fits(line: str, offered: list[str]) -> None:
    """Verbs, options of the verb, values, files and folders; nothing where nothing fits."""
    assert complete(line) == offered


def test_interfaces_are_those_of_this_machine() -> None:
    """After -i, of the monitor and of the controller's start."""
    names = {name for _, name in socket.if_nameindex()}

    for line in ("./monitor.py -i ", "./controller.py start -i "):
        assert names <= set(complete(line))


def test_zsh_completes_too() -> None:
    """A Tab at its prompt."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is missing")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "PS1": "READY", "TERM": "dumb"})  # noqa: S606
    try:
        _read_until(terminal, "READY")
        os.write(terminal, b". script/completion.sh; PS1=LOADED\n")
        _read_until(terminal, "\rLOADED", "\nLOADED")
        os.write(terminal, b"./controller.py start --deta\t")
        _read_until(terminal, "--detached")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _read_until(terminal: int, *texts: str) -> None:
    shown = ""
    deadline_s = time.monotonic() + BOUND_S
    while not any(text in shown for text in texts):
        left_s = deadline_s - time.monotonic()
        assert select.select([terminal], [], [], max(0, left_s))[0], shown
        shown += os.read(terminal, 4096).decode()
