"""Jitter: TCP, UDP and ICMP from trafgen at known gaps, the same packets timed by tcpdump.

The truth is tcpdump's nanosecond times, read by tshark; trafgen's gap is only what was asked for.
"""

from __future__ import annotations

import os
import statistics
import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.acceptance.rows import Row
from tests.acceptance.rulesets import PROTOCOLS
from tests.acceptance.tools import LineReader, run_tcpdump, run_trafgen, trafgen_packet
from tests.support.frames import ethernet, icmp, ipv4, tcp, udp
from tests.support.monitor import END_S, run_monitor
from tests.support.netns import Namespace, veth_pair
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.acceptance.tools import Packet
    from tests.support.netns import Interface

FRAMES = {
    "TCP": ethernet(ipv4(tcp(bytes(100)))),
    "UDP": ethernet(ipv4(udp(bytes(100)))),
    "ICMP": ethernet(ipv4(icmp(bytes(100)))),
}

POLLED = {"tso": False, "gso": False, "gro": True}
"""With these a veth is polled (NAPI), as a network card is.

Otherwise a packet gets tcpdump's time when it is queued (netif_rx()), and vTap's when the queue is
worked off, which on a busy CPU is milliseconds later.
"""

ALLOWED_S = 50e-6
ALLOWED_SHARE = 0.01
"""Both clocks are read for the same packet, tcpdump's first, on its way through the kernel.

What lies between the two readings varies by what the CPU does meanwhile: below a microsecond when
nothing interferes, tens of them when an interrupt comes in between.
"""


class Gap(NamedTuple):
    """A gap as trafgen takes it, and how many packets of each protocol."""

    name: str
    packets: int


GAPS = (Gap("10ms", 300), Gap("20ms", 150), Gap("50ms", 70), Gap("100ms", 40), Gap("500ms", 9))

MEAN, DEVIATION = "time between packets, mean", "jitter, deviation"
NS_PER_SECOND = 1e9


class Statistics(NamedTuple):
    """Mean and population standard deviation of the times between packets."""

    mean_s: float
    deviation_s: float


class Run(NamedTuple):
    """One gap, measured twice; by protocol."""

    gap: Gap
    vtap: Mapping[str, Statistics]
    tcpdump: Mapping[str, Statistics]
    captured: Mapping[str, int]


def run_jitter(gap: Gap, folder: Path) -> Run:
    """Send three streams with this gap, in an interval of vTap that lasts as long as they do."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reader = LineReader(pipe.open)
    with (
        Namespace("jitter") as sender,
        Namespace("jitter") as receiver,
        veth_pair("jitter", sender, receiver, offloads=POLLED) as veth,
        run_monitor(
            receiver,
            folder,
            *("-i", veth.right.ifname, "-test_jitter", "-j", "3600"),
            config={"MONITOR_SERVER": True},
            stdout=pipe,
        ) as monitor,
        run_tcpdump(veth.right, folder, gap.packets * len(FRAMES)) as capture,
    ):
        _send_streams(veth.left, folder, gap)
        wait_until(
            lambda: _count_packets(monitor.scrape()) == gap.packets * len(FRAMES),
            END_S,
            f"{gap.packets} packets of each protocol",
            seen=monitor.scrape,
        )
        monitor.process.terminate()
        assert monitor.process.wait(END_S) == 0, monitor.stderr
        capture.wait_for_end()
        packets = capture.packets()
    return Run(
        gap,
        _parse_block(reader.wait_for_end()),
        {protocol: _measure(packets, protocol) for protocol in PROTOCOLS},
        {name: sum(packet.protocol == name for packet in packets) for name in PROTOCOLS},
    )


def make_rows(run: Run) -> list[Row]:
    """Return mean and deviation of each protocol, in milliseconds as the console has them."""
    rows = []
    for index, measurement in enumerate((MEAN, DEVIATION)):
        for protocol in PROTOCOLS:
            truth, vtap = run.tcpdump[protocol][index], run.vtap[protocol][index]
            allowed = max(ALLOWED_S, ALLOWED_SHARE * truth)
            scenario = f"trafgen --gap {run.gap.name}, {protocol}"
            rows.append(Row(measurement, scenario, "ms", truth * 1e3, vtap * 1e3, allowed * 1e3))
    return rows


def _send_streams(interface: Interface, folder: Path, gap: Gap) -> None:
    """Run one trafgen for each protocol, all at once."""

    def send(protocol: str, frame: bytes) -> None:
        own = folder / protocol
        own.mkdir()
        run_trafgen(interface, own, [trafgen_packet(frame)], gap.packets, "--gap", gap.name)

    threads = [threading.Thread(target=send, args=stream) for stream in FRAMES.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _count_packets(samples: Mapping[str, float]) -> int:
    return sum(int(v) for name, v in samples.items() if name.startswith("vtap_packets_total{"))


def _measure(packets: Sequence[Packet], protocol: str) -> Statistics:
    times_ns = [packet.time_ns for packet in packets if packet.protocol == protocol]
    gaps_s = [(after - before) / NS_PER_SECOND for before, after in zip(times_ns, times_ns[1:])]
    return Statistics(statistics.fmean(gaps_s), statistics.pstdev(gaps_s))


def _parse_block(lines: Sequence[str]) -> dict[str, Statistics]:
    """Read the block that -test_jitter prints at the end; its value is word 2, in milliseconds."""
    values: dict[tuple[str, str], float] = {}
    for line in lines:
        if line:
            kind, protocol, number, unit = line.split()
            assert unit == "ms"
            assert (kind, protocol) not in values, "more than one interval"
            values[kind, protocol.rstrip(":")] = float(number) / 1e3
    return {
        protocol: Statistics(values["Average", protocol], values["Jitter[STDDEV]", protocol])
        for protocol in PROTOCOLS
    }
