"""The Debian package in a fresh Debian 13: installs, runs, upgrades and purges cleanly."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vtap
from tests.support.chroot import Chroot, debootstrap
from tests.support.frames import ethernet, ipv4, send_frames, tcp, udp
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Veth

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = "trixie"
BUILD_TIMEOUT_S = 300
START_TIMEOUT_S = 60
NEWER = "99.0"

# What dpkg, apt and the linker write about any package.
BOOKKEEPING = re.compile(r"/(var/(lib|cache|log)/|etc/ld\.so\.cache|tmp$|run$)")


def build_package(source: Path, folder: Path) -> Path:
    """Build the package of this source tree."""
    built = subprocess.run(
        [source / "script/package", folder],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )
    return Path(built.stdout.splitlines()[-1])


def copy_source(folder: Path, version: str) -> Path:
    """Copy the source tree, as a release with this version."""
    hidden = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=hidden, symlinks=True)
    init = folder / "vtap/__init__.py"
    init.write_text(init.read_text().replace(f'"{vtap.__version__}"', f'"{version}"'))
    return folder


def run(*command: str | Path) -> str:
    """Run in the source tree."""
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=BUILD_TIMEOUT_S
    ).stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_package(ROOT, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def installed_once(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    """Install the package in a fresh Debian; what it depends on is all that apt brings."""
    folder = tmp_path_factory.mktemp("chroot")
    fresh = debootstrap(folder, SUITE)
    shutil.copy(package, fresh.upper / package.name)
    fresh.run("apt-get", "install", "--yes", "--no-install-recommends", f"./{package.name}")
    yield fresh
    shutil.rmtree(folder)


@pytest.fixture
def installed(installed_once: Chroot, tmp_path: Path) -> Iterator[Chroot]:
    """A root of the test's own in which the package is installed."""
    yield installed_once.layer(tmp_path / "layer")
    shutil.rmtree(tmp_path / "layer")


def test_the_same_commit_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """Built again, elsewhere, the package is the same file."""
    source = copy_source(tmp_path / "source", vtap.__version__)

    again = build_package(source, tmp_path / "again")

    assert again.name == package.name == f"vtap_{vtap.__version__}_all.deb"
    assert again.read_bytes() == package.read_bytes()


def test_every_command_has_its_place_on_the_path(installed: Chroot) -> None:
    """vtap-monitor and every other command say the version that was packaged."""
    commands = sorted(path.stem for path in ROOT.glob("*.py"))
    assert "monitor" in commands

    said = [installed.run(f"vtap-{name}", "--version").stdout for name in commands]

    assert said == [f"vTap {vtap.__version__}\n"] * len(commands)


def test_the_installed_monitor_counts_exactly(installed: Chroot, veth: Veth) -> None:
    """23 UDP and 11 TCP packets sent: 23 and 11 counted, with the configuration in /etc."""
    errors = installed.upper / "errors"
    with errors.open("w") as stderr:
        monitor = veth.right.namespace.popen(
            installed.command(
                *("vtap-monitor", "-i", veth.right.ifname, "-conf", "/etc/vtap/config.json"),
                *("--format", "json"),
            ),
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        wait_until(
            lambda: "measuring on" in errors.read_text(),
            START_TIMEOUT_S,
            "the monitor to measure",
            seen=errors.read_text,
        )
        send_frames(veth.left, [ethernet(ipv4(udp(bytes(100))))] * 23)
        send_frames(veth.left, [ethernet(ipv4(tcp(bytes(100))))] * 11)
        monitor.send_signal(signal.SIGTERM)
        output, _ = monitor.communicate(timeout=START_TIMEOUT_S)

    assert monitor.returncode == 0, errors.read_text()
    totals = {
        line["protocol"]: line["packets_total"] for line in map(json.loads, output.splitlines())
    }
    assert totals == {"TCP": 11, "UDP": 23, "ICMP": 0}


def test_an_upgrade_keeps_the_configuration(installed: Chroot, tmp_path: Path) -> None:
    """A newer package replaces the program; a configuration that was edited stays as it is."""
    newer = build_package(copy_source(tmp_path / "newer", NEWER), tmp_path)
    installed.run("sed", "-i", 's/"SEQUENCE_THRESHOLD": 2/"SEQUENCE_THRESHOLD": 7/',
                  "/etc/vtap/config.json")  # fmt: skip
    shutil.copy(newer, installed.upper / newer.name)

    installed.run("apt-get", "install", "--yes", f"./{newer.name}")

    assert installed.run("vtap-monitor", "--version").stdout == f"vTap {NEWER}\n"
    config = installed.run("cat", "/etc/vtap/config.json").stdout
    assert '"SEQUENCE_THRESHOLD": 7' in config
    assert installed.run("dpkg", "--audit").stdout == ""


def test_purging_leaves_nothing(installed: Chroot) -> None:
    """After a run and a purge, no file of the package or of its run is left."""
    before = installed.paths()
    package_paths = set(installed.run("dpkg", "-L", "vtap").stdout.splitlines())
    installed.run("vtap-monitor", "--check", "-i", "lo", "-conf", "/etc/vtap/config.json")

    installed.run("apt-get", "purge", "--yes", "vtap")

    after = installed.paths()
    assert {path for path in after - before if not BOOKKEEPING.match(path)} == set()
    assert {path for path in after if re.search("vtap", path) and path in package_paths} == set()
    assert {path for path in after if re.search("/(etc|usr|opt|srv)/.*vtap", path)} == set()
    assert "vtap" not in installed.run("dpkg-query", "-W").stdout


def test_the_package_depends_on_what_script_setup_installs(package: Path) -> None:
    """One list: what runs from a checkout is what runs when installed."""
    listed = run("script/setup", "--list").split()
    depends = run("dpkg-deb", "--field", package, "Depends").strip().split(", ")
    assert "python3-bpfcc" in listed

    # dh_python3 names the interpreter a second time, of any architecture.
    assert sorted(set(depends) - {"python3:any"}) == sorted(listed)


def test_man_pages_and_completion_go_by_the_names_on_the_path(installed: Chroot) -> None:
    """Each command has a page that names no script, and completes in bash; units have the man
    pages' names and no path of a checkout.
    """
    files = installed.run("dpkg", "-L", "vtap").stdout.split()
    for page in (ROOT / "docs/man").glob("*.py.8"):
        name = f"vtap-{page.name.partition('.')[0]}"
        assert f"/usr/share/man/man8/{name}.8.gz" in files
    for path in files:
        if re.search(r"\.(8\.gz|service)$", path):
            text = installed.run("zcat", "--force", path).stdout
            assert not re.findall(r"\S*\.(?:py|PY)\b|/opt/\S*", text), path
    for path in files:
        if "/bash-completion/completions/" in path:
            name = path.rpartition("/")[2]
            said = installed.run("bash", "-c", f". {path} && complete -p {name}").stdout
            assert said.endswith(f" {name}\n")
