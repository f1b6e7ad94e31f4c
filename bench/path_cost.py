"""Nanoseconds a packet that a monitor adds to the receive path, beside its peers.

Injects frames (tests/support/injector.py) with each peer attached in turn, round after round, so
that a busy moment of the machine hits all of them; what counts is the median of the rounds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers import NOTHING, PEERS, Peer
from tests.support.frames import ethernet, ipv4, udp
from tests.support.injector import Injector
from tests.support.netns import Interface, Namespace, veth_pair

PAYLOAD_BYTES = 64
NUMBER_OFFSET = 14 + 20 + 8 + 4  # Ethernet, IPv4, UDP, OFFSET of script/demo.json
WARM_UP_FRAMES = 100_000


class Cost(NamedTuple):
    """One measurement: what a frame took on each CPU, and what the peer saw of those sent."""

    packet_ns: float
    sent: int
    seen: int | None


def measure(peer: Peer, interface: Interface, injector: Injector, frames: int, cpus: int) -> Cost:
    """Inject with the peer attached, from this many CPUs at once; a frame is numbered."""
    frame = ethernet(ipv4(udp(bytes(PAYLOAD_BYTES))))
    with peer.attach(interface) as finish:
        injector.inject(frame, WARM_UP_FRAMES)
        injections = [
            injector.start(frame, frames, cpu=cpu, first_number=cpu * 2**31) for cpu in range(cpus)
        ]
        packet_ns = statistics.mean(injection.wait() for injection in injections)
        return Cost(packet_ns, WARM_UP_FRAMES + frames * cpus, finish())


def run_rounds(rounds: int, frames: int, cpus: int) -> dict[str, list[Cost]]:
    """Measure every peer once a round; by the peer's name, in the order of rounds."""
    costs: dict[str, list[Cost]] = {peer.name: [] for peer in PEERS}
    with (
        Namespace("bench") as left,
        Namespace("bench") as right,
        veth_pair("bench", left, right) as veth,
        Injector(veth.right, number_offset=NUMBER_OFFSET) as injector,
    ):
        for number in range(rounds):
            for peer in PEERS:
                costs[peer.name].append(measure(peer, veth.right, injector, frames, cpus))
            print(f"{cpus} CPU, round {number + 1} of {rounds} done", file=sys.stderr)
    return costs


def added_ns(costs: dict[str, list[Cost]], name: str) -> float:
    """Return the median over the rounds of what a peer took above nothing in the same round."""
    pairs = zip(costs[name], costs[NOTHING.name])
    return statistics.median(peer.packet_ns - nothing.packet_ns for peer, nothing in pairs)


def describe_machine() -> str:
    """Return processor, kernel, distribution and date on one line."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="ascii"))
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text(encoding="utf-8"))
    return ", ".join(
        [
            f"{os.cpu_count()} x {processor[1] if processor else platform.machine()}",
            f"Linux {platform.release()}",
            system[1] if system else "unknown distribution",
            f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        ]
    )


def render(results: dict[int, dict[str, list[Cost]]]) -> str:
    """Return the Markdown table; results by number of CPUs."""
    titles = ["Attached"]
    for cpus in results:
        titles += [f"{cpus} CPU{'s at once' if cpus > 1 else ''}: ns a packet", "added"]
    titles += ["packets seen of those sent"]
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1)]
    for peer in PEERS:
        line = [peer.name]
        for costs in results.values():
            line.append(f"{statistics.median(cost.packet_ns for cost in costs[peer.name]):.0f}")
            line.append(f"{added_ns(costs, peer.name):+.0f}" if peer is not NOTHING else "")
        lines.append(
            [*line, _render_seen([c for costs in results.values() for c in costs[peer.name]])]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _render_seen(costs: list[Cost]) -> str:
    """Return the share that was seen, "all" only if it is."""
    if costs[0].seen is None:
        return ""
    seen, sent = sum(cost.seen or 0 for cost in costs), sum(cost.sent for cost in costs)
    return f"all {sent}" if seen == sent else f"{100 * seen / sent:.2f} %"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 rounds of 0.5 million frames")
    parser.add_argument("--json", metavar="PATH", help="write every single measurement there")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Print the table."""
    options = parse_arguments(arguments)
    rounds, frames = (5, 500_000) if options.quick else (11, 2_000_000)
    counts = [count for count in (1, 2) if count <= (os.cpu_count() or 1)]
    results = {cpus: run_rounds(rounds, frames, cpus) for cpus in counts}
    print(
        f"{describe_machine()}; medians of {rounds} rounds of {frames} UDP frames "
        f"of {14 + 20 + 8 + PAYLOAD_BYTES} bytes a CPU.\n"
    )
    print(render(results))
    if options.json:
        document: dict[str, Any] = {
            "machine": describe_machine(),
            "path_cost": {
                cpus: {name: [cost._asdict() for cost in series] for name, series in costs.items()}
                for cpus, costs in results.items()
            },
        }
        Path(options.json).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
