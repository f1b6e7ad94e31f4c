"""Path cost: what a packet takes through the kernel's receive path, with each peer attached.

Every peer has an interface of its own, and all are attached at once, idle but for the one whose
turn it is: each round visits all of them, so that a busy moment of the machine hits all alike.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.peers import PEERS, Attached, Peer, temporary_folder
from tests.support.frames import ethernet, ipv4, udp
from tests.support.injector import Injector
from tests.support.netns import Interface, Namespace, veth_pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAYLOAD_BYTES = 64
NUMBER_OFFSET = 14 + 20 + 8 + 4  # Ethernet, IPv4, UDP, OFFSET
FRAME = ethernet(ipv4(udp(bytes(PAYLOAD_BYTES))))
PIECE_FRAMES = 20_000
WARM_UP_FRAMES = PIECE_FRAMES

SETTLED_SHARE = 0.05
SETTLE_S = 30.0
POLL_S = 0.1


class Cost(NamedTuple):
    """One turn: what a frame took on each CPU, and what the peer's processes spent for it.

    nothing_ns is what a frame took between, on the interface with nothing attached.
    """

    packet_ns: float
    nothing_ns: float
    frames: int
    cpu_seconds: float


class PathCost(NamedTuple):
    """All turns of a peer by the number of CPUs, and what it saw of what was sent to it."""

    costs: dict[int, list[Cost]]
    sent: int
    seen: int | None

    def packet_ns(self, cpus: int) -> float:
        """Nanoseconds a frame, median."""
        return statistics.median(cost.packet_ns for cost in self.costs[cpus])

    def cpu_us(self, cpus: int) -> float:
        """Microseconds a frame in the peer's processes."""
        costs = self.costs[cpus]
        return 1e6 * sum(c.cpu_seconds for c in costs) / sum(c.frames for c in costs)


class _Station(NamedTuple):
    peer: Peer
    interface: Interface
    attached: Attached


def added_ns(results: dict[str, PathCost], name: str, cpus: int) -> float:
    """Return the median over the turns of what a frame took above nothing."""
    return statistics.median(turn.packet_ns - turn.nothing_ns for turn in results[name].costs[cpus])


def measure(rounds: int, frames: int, peers: Sequence[Peer] = PEERS) -> dict[str, PathCost]:
    """Return the costs of all peers that are installed, by name."""
    counts = [count for count in (1, 2) if count <= (os.cpu_count() or 1)]
    with contextlib.ExitStack() as stack:
        left = stack.enter_context(Namespace("bench"))
        stations = [stack.enter_context(_attach(peer, left)) for peer in peers if peer.is_here]
        injector = stack.enter_context(Injector(stations[0].interface, number_offset=NUMBER_OFFSET))
        costs: dict[str, dict[int, list[Cost]]] = {
            station.peer.name: {count: [] for count in counts} for station in stations
        }
        for cpus in counts:
            for number in range(rounds):
                for station in stations if number % 2 else stations[::-1]:
                    turn = _take_turn(station, stations[0], injector, frames, cpus)
                    costs[station.peer.name][cpus].append(turn)
                print(f"path, {cpus} CPU: round {number + 1} of {rounds}", file=sys.stderr)
        sent = sum(WARM_UP_FRAMES * cpus * rounds + frames * cpus * rounds for cpus in counts)
        return {
            station.peer.name: PathCost(costs[station.peer.name], sent, station.attached.finish())
            for station in stations
        }


@contextlib.contextmanager
def _attach(peer: Peer, left: Namespace) -> Iterator[_Station]:
    with (
        temporary_folder() as folder,
        Namespace("bench") as right,
        veth_pair("bench", left, right) as veth,
        peer.attach(veth.right, folder) as attached,
    ):
        yield _Station(peer, veth.right, attached)


def _take_turn(
    station: _Station, nothing: _Station, injector: Injector, frames: int, cpus: int
) -> Cost:
    """Inject from this many CPUs at once, by turns where nothing is attached and where the peer is.

    Processes that work on every frame get all frames in one piece, which is what they have to bear.
    """
    for warmed in (nothing, station):
        _inject(warmed, injector, WARM_UP_FRAMES, cpus)
    _settle(station)
    piece_frames = frames if station.peer.copies_frames else PIECE_FRAMES
    nothing_ns, packet_ns, used_s = [], [], 0.0
    for _ in range(frames // piece_frames):
        nothing_ns.append(_inject(nothing, injector, piece_frames, cpus))
        before_s = cpu_seconds(station.attached.pids)
        packet_ns.append(_inject(station, injector, piece_frames, cpus))
        _settle(station)
        used_s += cpu_seconds(station.attached.pids) - before_s
    return Cost(_lower_quartile(packet_ns), _lower_quartile(nothing_ns), frames * cpus, used_s)


def _inject(station: _Station, injector: Injector, count: int, cpus: int) -> float:
    """Return the nanoseconds of a frame, mean of the CPUs."""
    injections = [
        injector.start(FRAME, count, cpu=cpu, first_number=cpu * 2**31, interface=station.interface)
        for cpu in range(cpus)
    ]
    return statistics.mean(injection.wait() for injection in injections)


def _lower_quartile(pieces_ns: list[float]) -> float:
    """Return what a quarter took less than: other work on the machine only makes them longer."""
    return sorted(pieces_ns)[len(pieces_ns) // 4]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time of all threads of these processes (/proc/PID/task/TID/schedstat)."""
    texts = [
        path.read_text(encoding="ascii")
        for pid in pids
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    ]
    return sum(int(text.split()[0]) for text in texts) / 1e9


def _settle(station: _Station) -> None:
    """Wait until processes that copy frames have worked off what their buffers hold."""
    if not station.peer.copies_frames:
        return
    pids = station.attached.pids
    deadline_s = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline_s:
        before_s, start_s = cpu_seconds(pids), time.monotonic()
        time.sleep(POLL_S)
        if cpu_seconds(pids) - before_s < SETTLED_SHARE * (time.monotonic() - start_s):
            return
