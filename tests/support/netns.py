"""Network namespaces and veth pairs that are silent, named after their test, and gone afterwards.

Stands on iproute2 (and ethtool for offloads); knows nothing of frames or of vTap.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

Result = TypeVar("Result")

IFNAME_LENGTH = 15  # IFNAMSIZ - 1, linux/if.h
CLONE_NEWNET = 0x40000000  # linux/sched.h
ETH_P_ALL = 0x0003  # linux/if_ether.h
COMMAND_TIMEOUT_S = 60
LEFT_MAC = "02:00:00:00:00:01"
RIGHT_MAC = "02:00:00:00:00:02"

# net.ipv6.conf.default of a namespace with IPv6: no address of its own making, nothing asked of
# routers or neighbours.
_QUIET_IPV6 = {
    "addr_gen_mode": 1,
    "accept_dad": 0,
    "accept_ra": 0,
    "autoconf": 0,
    "router_solicitations": 0,
}

_LIBC = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def unique_name(test_name: str) -> str:
    """Make a name of at most 15 characters from the test's letters, the pid and a number."""
    tail = f"{os.getpid():x}-{next(_numbers):x}"
    letters = re.sub(r"[^a-z0-9]", "", test_name.lower().replace("test_", "", 1))
    return letters[: IFNAME_LENGTH - len(tail)] + tail


def ip(command: str) -> str:
    """Run `ip` with the words of `command` and return its output; raises CalledProcessError."""
    return subprocess.run(
        ["ip", *command.split()],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    ).stdout


class Namespace:
    """A network namespace with its loopback interface up; a context manager.

    Without `ipv6` no interface in it has IPv6, so that none sends a frame unasked. With it, the
    addresses that a test gives are announced to multicast listeners (MLD), and nothing else is.
    """

    def __init__(self, test_name: str, *, ipv6: bool = False) -> None:
        """Choose the name; the namespace appears on entering the context."""
        self.name = unique_name(test_name)
        self._ipv6 = ipv6
        self._children: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """Create the namespace."""
        ip(f"netns add {self.name}")
        try:
            self.call(self._quieten)
            ip(f"-n {self.name} link set lo up")
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process that is left inside, then delete the namespace."""
        self._delete()

    def _quieten(self) -> None:
        """Set the defaults that later interfaces take; without IPv6 the kernel has none."""
        conf = Path("/proc/sys/net/ipv6/conf")
        if not conf.exists():
            return
        for folder in ("all", "default"):
            (conf / folder / "disable_ipv6").write_text(str(int(not self._ipv6)))
        for key, value in _QUIET_IPV6.items():
            (conf / "default" / key).write_text(str(value))

    def _delete(self) -> None:
        """Kill what runs inside by pid, the children and whatever they started; delete."""
        try:
            for child in self._children:
                child.kill()
                child.wait()
                for stream in (child.stdin, child.stdout, child.stderr):
                    if stream is not None:
                        stream.close()
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            ip(f"netns delete {self.name}")

    def pids(self) -> tuple[int, ...]:
        """Return the processes inside: the children and whatever they started."""
        return tuple(map(int, ip(f"netns pids {self.name}").split()))

    def call(self, function: Callable[[], Result]) -> Result:
        """Call a function on a thread inside; sockets that it opens belong to the namespace."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def enter_and_call() -> None:
            try:
                self.enter_thread()
                results.append(function())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=enter_and_call)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def enter_thread(self) -> None:
        """Move the calling thread alone into the namespace, for good (setns(2))."""
        with Path("/run/netns", self.name).open("rb") as handle:
            if _LIBC.setns(handle.fileno(), CLONE_NEWNET) != 0:
                error = ctypes.get_errno()
                raise OSError(error, f"setns: {os.strerror(error)}", self.name)

    def run(
        self, command: Sequence[str], *, check: bool = True, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, output captured; with `check` raises CalledProcessError."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            check=check,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def popen(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO[str] | None = None,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command inside, with its own pid; killed at the latest with the namespace."""
        child = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=cwd,
            text=True,
        )
        self._children.append(child)
        return child


class Interface(NamedTuple):
    """One end of a veth pair."""

    namespace: Namespace
    ifname: str
    ifindex: int
    mac: str

    def set_offloads(self, **offloads: bool) -> None:
        """Switch offloads with ethtool, by its names: gro=True, tso=False."""
        switches = [word for name, on in offloads.items() for word in (name, "on" if on else "off")]
        self.namespace.run(["ethtool", "-K", self.ifname, *switches])

    def packet_socket(self) -> socket.socket:
        """Open a raw packet socket bound to the interface, usable outside the namespace."""
        # Protocol 0 until bound: nothing of another interface gets in (packet(7)).
        opened = self.namespace.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        opened.bind((self.ifname, ETH_P_ALL))  # in host byte order: Python swaps it
        return opened


class Veth(NamedTuple):
    """Two interfaces, each of which receives what the other one sends."""

    left: Interface
    right: Interface


def interface_statistics(namespace: Namespace, ifname: str) -> dict[str, int]:
    """Read what `ip -s link` counts: rx_packets, rx_bytes, rx_dropped, tx_packets, ..."""
    links: list[dict[str, Any]] = json.loads(
        ip(f"-n {namespace.name} -j -s link show dev {ifname}")
    )
    return {
        f"{direction}_{counter}": value
        for direction, counters in links[0]["stats64"].items()
        for counter, value in counters.items()
    }


@contextlib.contextmanager
def veth_pair(
    test_name: str,
    left: Namespace,
    right: Namespace | None = None,
    *,
    left_addresses: Sequence[str] = (),
    right_addresses: Sequence[str] = (),
    mtu: int = 1500,
    arp: bool = False,
    offloads: Mapping[str, bool] | None = None,
) -> Iterator[Veth]:
    """Connect two namespaces, or one with itself, by a veth pair that is up; remove it afterwards.

    Addresses are written as for `ip address add` (10.0.0.1/24); `mtu` in bytes. Without `arp`
    nobody asks for an address, and traffic between the stacks needs static neighbours.
    """
    right = left if right is None else right
    names = (unique_name(test_name), unique_name(test_name))
    ip(
        f"link add {names[0]} netns {left.name} address {LEFT_MAC} mtu {mtu} type veth"
        f" peer name {names[1]} netns {right.name} address {RIGHT_MAC} mtu {mtu}"
    )
    try:
        veth = Veth(_interface(left, names[0]), _interface(right, names[1]))
        for end, addresses in zip(veth, (left_addresses, right_addresses)):
            if offloads:
                end.set_offloads(**offloads)
            switch = "on" if arp else "off"
            ip(f"-n {end.namespace.name} link set dev {end.ifname} arp {switch} up")
            for address in addresses:
                ip(f"-n {end.namespace.name} address add {address} dev {end.ifname}")
        wait_until_running(veth)
        yield veth
    finally:
        # A socket that a test left open would keep the pair alive after its namespaces.
        ip(f"-n {left.name} link delete dev {names[0]}")


def wait_until_running(veth: Veth) -> None:
    """Wait until the kernel has seen the carrier of both ends, until when it throws away what one
    sends.
    """

    def is_running(end: Interface) -> bool:
        return "state UP" in ip(f"-n {end.namespace.name} link show dev {end.ifname}")

    wait_until(lambda: all(map(is_running, veth)), COMMAND_TIMEOUT_S, f"a carrier of {veth}")


def _interface(namespace: Namespace, ifname: str) -> Interface:
    """Look up number and address of an interface."""
    links: list[dict[str, Any]] = json.loads(ip(f"-n {namespace.name} -j link show dev {ifname}"))
    return Interface(namespace, ifname, links[0]["ifindex"], links[0]["address"])
