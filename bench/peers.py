"""What can be attached to an interface, vTap among it, each as a context that says what it saw.

Stands on tests/support for namespaces; knows nothing of how a cost is measured.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Callable, NamedTuple, Optional

from bcc import BPF

from tests.support.injector import compile_program
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.netns import Interface

REPOSITORY = Path(__file__).resolve().parent.parent
SO_ATTACH_BPF = 50  # asm-generic/socket.h
START_S = 30
END_S = 30

EMPTY_PROGRAM = b"int empty(struct __sk_buff *skb) { return 0; }"

Finish = Callable[[], Optional[int]]
"""Ends what is attached and returns the packets it saw, None if it does not count."""


class Peer(NamedTuple):
    """One row of the table."""

    name: str
    attach: Callable[[Interface], contextlib.AbstractContextManager[Finish]]


@contextlib.contextmanager
def attach_nothing(_interface: Interface) -> Iterator[Finish]:
    """Leave the interface alone."""
    yield lambda: None


@contextlib.contextmanager
def attach_empty_filter(interface: Interface) -> Iterator[Finish]:
    """Attach a socket filter that does nothing: the floor of what any filter costs."""
    bpf = compile_program(EMPTY_PROGRAM)
    with interface.packet_socket() as opened:
        program = bpf.load_func(b"empty", BPF.SOCKET_FILTER)
        opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, program.fd)
        yield lambda: None
    bpf.cleanup()


def attach_command(
    make_command: Callable[[str], Sequence[str]], started: str, seen: str
) -> Callable[[Interface], contextlib.AbstractContextManager[Finish]]:
    """Attach a program that says on standard error when it runs, and at its end what it saw.

    started and seen are regular expressions; the group of seen is the number of packets.
    """

    @contextlib.contextmanager
    def attach(interface: Interface) -> Iterator[Finish]:
        with tempfile.TemporaryFile("w+") as said, open("/dev/null", "w") as nowhere:  # noqa: PTH123
            command = make_command(interface.ifname)
            child = interface.namespace.popen(command, stdout=nowhere, stderr=said)

            def finish() -> int:
                child.send_signal(signal.SIGINT)
                child.wait(END_S)
                return int(_find(seen, said)[1])

            try:
                wait_until(
                    lambda: re.search(started, _read(said)),
                    START_S,
                    f"start of {command}",
                    seen=lambda: _read(said),
                )
                yield finish
            finally:
                child.kill()
                child.wait()

    return attach


def _read(said: IO[str]) -> str:
    said.seek(0)
    return said.read()


def _find(pattern: str, said: IO[str]) -> re.Match[str]:
    found = re.search(pattern, _read(said))
    if found is None:
        message = f"no '{pattern}' in: {_read(said)}"
        raise RuntimeError(message)
    return found


def vtap_command(ifname: str) -> list[str]:
    """Return the monitor with all four measurements, numbers of UDP at OFFSET 4."""
    configuration = str(REPOSITORY / "script" / "demo.json")
    monitor = str(REPOSITORY / "monitor.py")
    return ["/usr/bin/python3", monitor, "-i", ifname, "-conf", configuration, "-server_port", "0"]


def tcpdump_command(ifname: str) -> list[str]:
    """Return tcpdump as one records with it, writing to nowhere."""
    return ["tcpdump", "-i", ifname, "-w", "/dev/null"]


NOTHING = Peer("nothing", attach_nothing)

PEERS = (
    NOTHING,
    Peer("empty socket filter (the floor)", attach_empty_filter),
    Peer(
        "vTap, all four measurements",
        attach_command(vtap_command, "measuring on", r"(\d+) packets counted"),
    ),
    Peer(
        "`tcpdump -w /dev/null`",
        attach_command(tcpdump_command, "listening on", r"(\d+) packets captured"),
    ),
)
