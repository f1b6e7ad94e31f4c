"""What can be attached to an interface, vTap among it: started, ended, and asked what it saw.

Stands on tests/support for namespaces; knows nothing of how a cost is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from bcc import BPF

from bench.programs import OFFSET, load_file
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.netns import Interface

REPOSITORY = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
SO_ATTACH_BPF = 50  # asm-generic/socket.h
START_S = 60
END_S = 30

DISPLAYS = ("Throughput", "Goodput", "Jitter", "SEQ_ERRORS")

Finish = Callable[[], Optional[int]]
"""Ends what is attached and returns the packets it saw, None if it does not count."""


class Attached(NamedTuple):
    """A peer that runs; pids are its processes, none if it is only in the kernel."""

    finish: Finish
    pids: tuple[int, ...] = ()


Attach = Callable[["Interface", Path], contextlib.AbstractContextManager[Attached]]


class Peer(NamedTuple):
    """One row of the table.

    Attributes:
        attach: takes the interface and a folder for files.
        needs: the command that must be there.
        copies_frames: whether its process works on every frame.
    """

    name: str
    attach: Attach
    needs: str = PYTHON
    copies_frames: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it is installed."""
        return shutil.which(self.needs) is not None


@contextlib.contextmanager
def attach_nothing(_interface: Interface, _folder: Path) -> Iterator[Attached]:
    """Leave the interface alone."""
    yield Attached(lambda: None)


def attach_filter(name: str, counters: bytes | None = None) -> Attach:
    """Attach bench/NAME.c as a socket filter; counters is its map of packets by protocol."""

    @contextlib.contextmanager
    def attach(interface: Interface, _folder: Path) -> Iterator[Attached]:
        loaded = load_file(name, program_type=BPF.SOCKET_FILTER)
        with interface.packet_socket() as opened:
            opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, loaded.fd)

            def finish() -> int | None:
                if counters is None:
                    return None
                # The packets of the sequence counters: those that two CPUs at once may spoil.
                return sum(int(leaf.packets) for leaf in loaded.bpf[counters].values())

            yield Attached(finish)
        loaded.bpf.cleanup()

    return attach


def attach_command(
    make_command: Callable[[str, Path], Sequence[str]],
    ready: str | None,
    seen: str | None,
    *,
    ask: Callable[[Path], Sequence[str]] | None = None,
    quiet: bool = True,
) -> Attach:
    """Attach a program that says, or whose socket shows, that it runs.

    ready and seen are regular expressions over what it says; the group of seen is the number of
    packets, asked for before the end if `ask` is the command for that. Of one that is not quiet
    what it prints goes nowhere.
    """

    @contextlib.contextmanager
    def attach(interface: Interface, folder: Path) -> Iterator[Attached]:
        said = folder / "said"
        with said.open("w") as output, Path(os.devnull).open("w") as nowhere:
            child = interface.namespace.popen(
                make_command(interface.ifname, folder),
                stdin=subprocess.PIPE,  # iftop spins when its input ends
                stdout=output if quiet else nowhere,
                stderr=output,
                cwd=folder,
            )

        def is_ready() -> bool:
            if child.poll() is not None:
                message = f"{child.args!r} ended: {said.read_text()}"
                raise RuntimeError(message)
            if ready is not None:
                return re.search(ready, said.read_text()) is not None
            return has_packet_socket(child.pid)

        def finish() -> int | None:
            text = ""
            if ask is not None:
                text = interface.namespace.run(ask(folder)).stdout
            child.send_signal(signal.SIGINT)
            child.wait(END_S)
            text += said.read_text()
            return sum(map(int, re.findall(seen, text))) if seen is not None else None

        try:
            wait_until(is_ready, START_S, f"start of {child.args!r}", seen=said.read_text)
            pids = interface.namespace.pids()
            yield Attached(finish, pids)
        finally:
            child.kill()
            child.wait()

    return attach


def has_packet_socket(pid: int) -> bool:
    """Tell whether the network namespace of a process has one; it is alone there."""
    return len(Path(f"/proc/{pid}/net/packet").read_text(encoding="ascii").splitlines()) > 1


def monitor_command(ifname: str, configuration: Path, *options: str) -> list[str]:
    """Return the command that monitors an interface, on any free port."""
    monitor = str(REPOSITORY / "monitor.py")
    conf = str(configuration)
    return [PYTHON, monitor, "-i", ifname, "-conf", conf, "-server_port", "0", *options]


def write_configuration(folder: Path, displays: Sequence[str] = DISPLAYS) -> Path:
    """Write a configuration that measures these, UDP numbered at OFFSET."""
    path = folder / "config.json"
    switches = {name: str(name in displays) for name in DISPLAYS}
    path.write_text(json.dumps({"DISPLAY": switches, "OFFSET": OFFSET}), encoding="utf-8")
    return path


def vtap(*displays: str) -> Attach:
    """Attach the monitor with these measurements."""
    return attach_command(
        lambda ifname, folder: monitor_command(ifname, write_configuration(folder, displays)),
        "measuring on",
        r"(\d+) packets counted",
    )


NOTHING = Peer("nothing", attach_nothing)
EMPTY = Peer("empty socket filter", attach_filter("empty"))
FLOOR = Peer("floor: 74 bytes, clock, one addition", attach_filter("floor"))
SEED_STYLE = Peer("baseline after the original design", attach_filter("seed_style", b"sequences"))
VTAP = Peer("vTap, all four measurements", vtap(*DISPLAYS))
TCPDUMP_WRITE = Peer(
    "`tcpdump -w /dev/null`",
    attach_command(
        lambda ifname, _: ["tcpdump", "-i", ifname, "-w", "/dev/null"],
        "listening on",
        r"(\d+) packets captured",
    ),
    "tcpdump",
    copies_frames=True,
)
TCPDUMP_PRINT = Peer(
    "`tcpdump -n`",
    attach_command(
        lambda ifname, _: ["tcpdump", "-n", "-i", ifname],
        "listening on",
        r"(\d+) packets captured",
        quiet=False,
    ),
    "tcpdump",
    copies_frames=True,
)
TSHARK = Peer(
    "`tshark -q -z io,stat`",
    attach_command(
        lambda ifname, _: ["tshark", "-i", ifname, "-q", "-z", "io,stat,0"],
        None,
        r"<>[^|]*\| +(\d+) +\|",
    ),
    "tshark",
    copies_frames=True,
)
IFTOP = Peer(
    "`iftop -t`",
    attach_command(
        lambda ifname, _: ["iftop", "-t", "-n", "-N", "-i", ifname], None, None, quiet=False
    ),
    "iftop",
    copies_frames=True,
)
SOFTFLOWD = Peer(
    "`softflowd`",
    attach_command(
        lambda ifname, folder: [
            *("softflowd", "-d", "-i", ifname),
            *("-p", str(folder / "pid"), "-c", str(folder / "ctl")),
        ],
        "starting data collection",
        r"Packets processed: (\d+)",
        ask=lambda folder: ["softflowctl", "-c", str(folder / "ctl"), "statistics"],
    ),
    "softflowd",
    copies_frames=True,
)
BMON = Peer(
    "`bmon`",
    attach_command(lambda ifname, _: ["bmon", "-p", ifname, "-o", "ascii"], "", None, quiet=False),
    "bmon",
)

PEERS = (
    NOTHING,
    EMPTY,
    FLOOR,
    SEED_STYLE,
    *(Peer(f"vTap, {display} alone", vtap(display)) for display in DISPLAYS),
    VTAP,
    TCPDUMP_WRITE,
    TCPDUMP_PRINT,
    TSHARK,
    IFTOP,
    SOFTFLOWD,
    BMON,
)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Provide a folder that a peer without privileges may write to as well."""
    with tempfile.TemporaryDirectory(prefix="vtap-bench-") as name:
        Path(name).chmod(0o777)
        yield Path(name)
