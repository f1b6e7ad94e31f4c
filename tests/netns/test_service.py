"""The systemd unit: an instance runs with no more than the unit leaves it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.controller import PYTHON, REPOSITORY, Controller, make_controller

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.netns import Veth

BOUND_S = 30
UNIT = REPOSITORY / "appliance" / "vtap@.service"
CONFINED = REPOSITORY / "tests" / "support" / "confined.py"

if not shutil.which("systemd-analyze"):
    pytest.skip("systemd-analyze is missing", allow_module_level=True)


@pytest.fixture
def controller(veth: Veth, tmp_path: Path) -> Controller:
    """Provide a controller in a namespace."""
    return make_controller(veth.right, tmp_path)


def settings(name: str) -> list[str]:
    """Return the values of a setting, one for each line that it has in the unit."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return [line.split("=", 1)[1] for line in lines if line.startswith(f"{name}=")]


def expand(names: list[str]) -> set[str]:
    """Return the system calls that systemd means by names and @groups."""
    calls: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            calls.add(name)
            continue
        text = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True
        ).stdout
        members = [line.strip() for line in text.splitlines()[1:] if line.startswith("    ")]
        calls |= expand([member for member in members if not member.startswith("#")])
    return calls


def confined(controller: Controller, *, without: str = "") -> list[str]:
    """Return the words that start an instance as the unit does, less one thing that it leaves."""
    capabilities = [
        f"+{name.lower()}"
        for name in settings("CapabilityBoundingSet")[0].replace("CAP_", "").split()
        if name != without
    ]
    allowed, denied = (line.split() for line in settings("SystemCallFilter"))
    # systemd always lets @default through.
    calls = expand(["@default", *allowed]) - expand([name.lstrip("~") for name in denied])
    families = settings("RestrictAddressFamilies")[0].split()
    start = controller.command("start", "-i", controller.ifname, "-conf", str(controller.config))
    split = start.index(PYTHON)
    return [
        *start[:split],
        "setpriv", f"--bounding-set=-all,{','.join(capabilities)}", "--inh-caps=-all",
        "--no-new-privs", PYTHON, str(CONFINED),
        ",".join(family for family in families if family != without),
        ",".join(sorted(calls - {without})),
        *start[split:],
    ]  # fmt: skip


def test_an_instance_runs_with_what_the_unit_leaves_it(controller: Controller) -> None:
    """It compiles, loads, attaches, serves, is recorded, says READY=1, and ends with its report."""
    address = controller.config.parent / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(BOUND_S)
        command = confined(controller)
        process = controller.popen_command(["env", f"NOTIFY_SOCKET={address}", *command])
        assert manager.recv(100) == b"READY=1", process.communicate()

    (status,) = controller.status()
    controller.run("stop")
    said = process.communicate(timeout=BOUND_S)[1]

    assert status["state"] == "measuring"
    assert said.splitlines()[-1] == f"{controller.ifname}: 0 packets counted"
    assert (process.returncode, controller.records()) == (0, [])


@pytest.mark.parametrize("without", ["BPF", "NET_RAW", "bpf", "AF_PACKET"])
def test_it_needs_what_the_unit_leaves_it(controller: Controller, without: str) -> None:
    """Exit status 3 where one of them is missing: the confinement above is a real one."""
    done = controller.namespace.run(confined(controller, without=without), check=False)

    assert (done.returncode, done.stdout) == (3, "")


def test_systemd_takes_the_unit() -> None:
    """No setting is unknown to it, and its rating is that of docs/controller.md."""
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(UNIT)],
        capture_output=True,
        text=True,
        check=True,
    )

    level = re.search(r"Overall exposure level for \S+: (\d\.\d)", rated.stdout)
    assert level, rated.stdout
    version = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    documented = re.search(
        r"at exposure level (\d\.\d) \(systemd (\d+);",
        (REPOSITORY / "docs/controller.md").read_text(),
    )
    assert documented
    assert "Unknown" not in rated.stderr
    if version == documented[2]:
        assert level[1] == documented[1]
    assert float(level[1]) < 3  # other versions ask for other things
