"""Throughput: eight rule sets at once on the same packets, at three rates, beside bmon and tcpdump.

trafgen sends frames of eight kinds in turn, so that the share of each rule set is known exactly.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.acceptance.rows import Row
from tests.acceptance.rulesets import FRAMES, PROTOCOLS, RULE_SETS, RuleSet
from tests.acceptance.tools import (
    LineReader,
    run_bmon,
    run_tcpdump,
    run_trafgen,
    trafgen_packet,
    undo_bmon_filter,
)
from tests.support.frames import send_frames
from tests.support.monitor import END_S, run_monitor
from tests.support.netns import Namespace, interface_statistics, veth_pair
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.acceptance.tools import Capture
    from tests.support.monitor import Monitor
    from tests.support.netns import Interface


class Pace(NamedTuple):
    """How fast and how many packets; a multiple of the kinds of frames."""

    name: str
    arguments: Sequence[str]
    packets: int
    captured: bool


PACES = (
    Pace("500 packets/s", ["--rate", "500pps"], 5_000, captured=True),
    Pace("10 000 packets/s", ["--rate", "10000pps"], 100_000, captured=True),
    # No capture beside it: tcpdump would take a core and lose packets all the same. A small ring,
    # since the kernel sends a whole one before it lets anybody else have the CPU.
    Pace("unpaced", ["--ring-size", "1MiB"], 1_600_000, captured=False),
)

TOTAL, SUMMED = "throughput, total", "throughput, printed rates summed up"

WHOLE_RUN = 0.01
"""Share by which the sum of printed rates may differ from the bytes of the run.

Both print a rate each second, and take some milliseconds more or less than one; nobody who reads
the pipe knows how many. That cancels out between two intervals of the same traffic, and remains
where it starts and ends: 0.5 % of the 10 s of a run where a busy machine lets them wait for 50 ms.
bmon also rounds to 0.01 KiB or MiB, 0.2 % of the rates here.
"""


class Run(NamedTuple):
    """One pace with everything that measured it.

    pipes and totals are by the rule set's name; pipes are bytes summed up from rates.
    """

    pace: Pace
    interface_bytes: int
    interface_packets: int
    totals: dict[str, dict[str, int]]
    pipes: dict[str, float]
    bmon_bytes: float
    bmon_printed: float
    captured: dict[str, int]


def run_throughput(pace: Pace, folder: Path) -> Run:
    """Send once, measure with every rule set, bmon, tcpdump and the interface's own counters."""
    with (
        Namespace("throughput") as sender,
        Namespace("throughput") as receiver,
        veth_pair("throughput", sender, receiver) as veth,
        contextlib.ExitStack() as stack,
    ):
        send_frames(veth.left, [FRAMES["A"][1]])  # bmon starts where a counter is not 0
        monitors = {
            rules.name: stack.enter_context(_run_piped_monitor(veth.right, folder, rules))
            for rules in RULE_SETS
        }
        bmon = stack.enter_context(run_bmon(veth.right))
        capture = (
            stack.enter_context(run_tcpdump(veth.right, folder, pace.packets))
            if pace.captured
            else None
        )
        for pid in (bmon.pid, *(piped.monitor.pid for piped in monitors.values())):
            _put_first(pid)
        before = interface_statistics(receiver, veth.right.ifname)
        packets = [trafgen_packet(frame) for _, frame in FRAMES.values()]
        run_trafgen(veth.left, folder, packets, pace.packets, *pace.arguments)
        totals = {
            rules.name: _wait_for_totals(monitors[rules.name].monitor, rules, pace)
            for rules in RULE_SETS
        }
        # Until the filter has forgotten the traffic: 0.25 of it is left after each interval.
        bmon.wait_for_rates(lambda rates: rates[-1] < max(rates) / 200, "the end in bmon's filter")
        after = interface_statistics(receiver, veth.right.ifname)
        pipes = {name: monitor.end() for name, monitor in monitors.items()}
        if capture:
            capture.wait_for_end()
        rates = bmon.rates()
        return Run(
            pace,
            after["rx_bytes"] - before["rx_bytes"],
            after["rx_packets"] - before["rx_packets"],
            totals,
            pipes,
            sum(undo_bmon_filter(rates)),
            sum(rates),
            _captured_bytes(capture) if capture else {},
        )


def _put_first(pid: int) -> None:
    """Let a process run as soon as its interval is over, however busy the machine is.

    A rate is right for any length of its interval, but a sum of rates takes each for a second. All
    its threads, since one that waits for a CPU may hold what the others wait for (Python's lock).
    """
    for task in Path("/proc", str(pid), "task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))


def expected_bytes(rules: RuleSet, pace: Pace) -> dict[str, int]:
    """Return the bytes that trafgen sent of each protocol and the rules match."""
    each = pace.packets // len(FRAMES)
    return {
        protocol: each * sum(len(FRAMES[k][1]) for k in rules.kinds if FRAMES[k][0] == protocol)
        for protocol in PROTOCOLS
    }


def make_rows(run: Run) -> list[Row]:
    """Return two rows for each rule set: the total, and the sum of the rates that were printed.

    bmon sees the whole, of which the set has a known share.
    """
    totals, sums = [], []
    all_bytes = sum(expected_bytes(RULE_SETS[0], run.pace).values())
    for rules in RULE_SETS:
        scenario = f"{run.pace.name}, {rules.name}"
        truth = sum(expected_bytes(rules, run.pace).values())
        total = sum(run.totals[rules.name].values())
        captured = {"tcpdump": run.captured[rules.name]} if run.captured else {}
        totals.append(Row(TOTAL, scenario, "bytes", truth, total, others=captured))
        share = truth / all_bytes
        others = {
            "bmon": round(run.bmon_bytes * share),
            "bmon as printed": round(run.bmon_printed * share),
        }
        pipe, allowed = round(run.pipes[rules.name]), WHOLE_RUN * truth
        sums.append(Row(SUMMED, scenario, "bytes", truth, pipe, allowed, others=others))
    return totals + sums


def _captured_bytes(capture: Capture) -> dict[str, int]:
    found = capture.bytes_matching([rules.display_filter for rules in RULE_SETS])
    return {rules.name: count for rules, count in zip(RULE_SETS, found)}


class _PipedMonitor(NamedTuple):
    """A monitor.py -test_throughput whose output goes through a FIFO, line by line."""

    monitor: Monitor
    reader: LineReader

    def end(self) -> float:
        """End it; returns the bytes that its rates add up to."""
        self.monitor.process.send_signal(signal.SIGINT)
        assert self.monitor.process.wait(END_S) == 0, self.monitor.stderr
        return _sum_rates(self.reader.wait_for_end())


@contextlib.contextmanager
def _run_piped_monitor(
    interface: Interface, folder: Path, rules: RuleSet
) -> Iterator[_PipedMonitor]:
    own = folder / rules.name.replace(" ", "-")
    own.mkdir()
    pipe = own / "pipe"
    os.mkfifo(pipe)
    reader = LineReader(pipe.open)
    with run_monitor(
        interface.namespace,
        own,
        *("-i", interface.ifname, "-test_throughput"),
        config={"RULES": rules.rules, "MONITOR_SERVER": True},
        stdout=pipe,
    ) as monitor:
        yield _PipedMonitor(monitor, reader)


def _sum_rates(lines: Sequence[str]) -> float:
    """Add up the rates of all protocols; word 3 of a bitrate line is 10^6 bytes per second."""
    rates = [line.split()[3] for line in lines if " bitrate [MBytes/sec]: " in line]
    return sum(map(float, rates)) * 1e6


def _wait_for_totals(monitor: Monitor, rules: RuleSet, pace: Pace) -> dict[str, int]:
    """Wait until the endpoint has every matching packet; returns the bytes of each protocol."""
    packets = pace.packets // len(FRAMES) * len(rules.kinds)

    def totals(metric: str) -> dict[str, int]:
        return {
            protocol: int(value)
            for name, value in monitor.scrape().items()
            for protocol in PROTOCOLS
            if name.startswith(f"{metric}{{") and f'protocol="{protocol}"' in name
        }

    wait_until(
        lambda: sum(totals("vtap_packets_total").values()) >= packets,
        30,
        f"{packets} packets of {rules.name}",
        seen=lambda: totals("vtap_packets_total"),
    )
    return totals("vtap_bytes_total")
