"""The monitor as a process: how soon it counts, what it takes at rest, how it answers under load.

Stands on the running command alone: what it says, what /proc says of it, what its endpoint serves.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import signal
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from bench.path import FRAME, NUMBER_OFFSET, cpu_seconds
from bench.peers import END_S, START_S, monitor_command, temporary_folder, write_configuration
from tests.support.frames import ethernet, ipv4, udp
from tests.support.injector import Injector
from tests.support.netns import Interface, Namespace, veth_pair
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SEND_EVERY_S = 0.001
SCRAPE_EVERY_S = 0.02
AFTER_READY_FRAMES = 50
SETTLE_S = 2.0
"""After its start the process still does what it does only once."""


class Start(NamedTuple):
    """Seconds from the command's start to the first packet that is counted, and CPU seconds."""

    seconds: float
    cpu_seconds: float


class Rest(NamedTuple):
    """A monitor without traffic."""

    interfaces: int
    interval_s: float
    cpu_percent: float
    rss_kb: int
    anonymous_kb: int


class Scrapes(NamedTuple):
    """Scrapes while frames are injected on every CPU at full rate.

    inconsistent_frames: the most by which bytes or sequence numbers of one scrape differed from
    its packets.
    """

    milliseconds: list[float]
    inconsistent_frames: float
    packets: int

    def percentile_ms(self, percent: int) -> float:
        """Return the time that so many percent of the scrapes stay below."""
        return statistics.quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]


class _Running(NamedTuple):
    child: subprocess.Popen[str]
    said: Path


@contextlib.contextmanager
def _running(interfaces: Sequence[Interface], *options: str) -> Iterator[_Running]:
    """Start the monitor on interfaces of one namespace; it may not measure yet."""
    names = ",".join(interface.ifname for interface in interfaces)
    with temporary_folder() as folder:
        said = folder / "said"
        with said.open("w") as output:
            command = monitor_command(names, write_configuration(folder), *options)
            child = interfaces[0].namespace.popen(
                command, stdout=subprocess.DEVNULL, stderr=output, cwd=folder
            )
        try:
            yield _Running(child, said)
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(END_S)


def _is_measuring(running: _Running) -> bool:
    text = running.said.read_text(encoding="utf-8")
    if running.child.poll() is not None:
        raise RuntimeError(text)
    return "measuring on" in text


def _wait_measuring(running: _Running) -> None:
    wait_until(lambda: _is_measuring(running), START_S, "start of monitor.py")


def measure_start(rounds: int) -> list[Start]:
    """Start the monitor while a frame comes every millisecond; see which is the first it counts."""
    starts = []
    with (
        Namespace("bench") as left,
        Namespace("bench") as right,
        veth_pair("bench", left, right) as veth,
    ):
        for _ in range(rounds):
            with _running([veth.right]) as running:
                start_s, sent_at_s = time.monotonic(), []
                frame = ethernet(ipv4(udp(bytes(18))))
                after = 0
                with veth.left.packet_socket() as opened:
                    for number in itertools.count(1):
                        sent_at_s.append(time.monotonic())
                        opened.send(frame)
                        after += _is_measuring(running)
                        if after > AFTER_READY_FRAMES:
                            break
                        due_s = start_s + number * SEND_EVERY_S
                        time.sleep(max(0.0, due_s - time.monotonic()))
                # The compiler's process included, which has ended by then.
                used_s = sum(psutil.Process(running.child.pid).cpu_times()[:4])
                running.child.send_signal(signal.SIGINT)
                running.child.wait(END_S)
                counted = _count_packets(running)
            starts.append(Start(sent_at_s[-counted] - start_s, used_s))
    return starts


def _count_packets(running: _Running) -> int:
    text = running.said.read_text(encoding="utf-8")
    found = re.search(r"(\d+) packets counted", text)
    if found is None or found[1] == "0":
        raise RuntimeError(text)
    return int(found[1])


def measure_rest(seconds: float, cases: Sequence[tuple[int, float]]) -> list[Rest]:
    """Watch monitors of so many interfaces and such intervals, all at once, without traffic."""
    with contextlib.ExitStack() as stack:
        monitors = []
        for interfaces, interval_s in cases:
            namespace = stack.enter_context(Namespace("bench"))
            pairs = [
                stack.enter_context(veth_pair("bench", namespace))
                for _ in range((interfaces + 1) // 2)
            ]
            ends = [end for pair in pairs for end in pair][:interfaces]
            monitor = stack.enter_context(
                _running(ends, "-t", f"{interval_s:g}", "-j", f"{interval_s:g}")
            )
            _wait_measuring(monitor)
            monitors.append(monitor)
        time.sleep(SETTLE_S)
        before = [(time.monotonic(), cpu_seconds([each.child.pid])) for each in monitors]
        time.sleep(seconds)
        return [
            _observe_rest(monitor, case, *start)
            for monitor, case, start in zip(monitors, cases, before)
        ]


def _observe_rest(
    monitor: _Running, case: tuple[int, float], since_s: float, used_s: float
) -> Rest:
    pid = monitor.child.pid
    share = (cpu_seconds([pid]) - used_s) / (time.monotonic() - since_s)
    memory = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    kilobytes = dict(re.findall(r"^(\w+): +(\d+) kB$", memory, re.MULTILINE))
    return Rest(*case, 100 * share, int(kilobytes["Rss"]), int(kilobytes["Anonymous"]))


def measure_scrapes(count: int, cpus: int) -> Scrapes:
    """Scrape the endpoint again and again while every CPU injects."""
    with (
        Namespace("bench") as left,
        Namespace("bench") as right,
        veth_pair("bench", left, right) as veth,
        Injector(veth.right, number_offset=NUMBER_OFFSET) as injector,
        _running([veth.right]) as running,
    ):
        _wait_measuring(running)
        said = running.said.read_text(encoding="utf-8")
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        if port is None:
            raise RuntimeError(said)
        number = int(port[1])
        injections = [
            injector.start(FRAME, 10**12, cpu=cpu, first_number=cpu * 2**31) for cpu in range(cpus)
        ]
        wait_until(
            lambda: _read_counter(right.call(lambda: _scrape(number))[1], "vtap_packets_total"),
            START_S,
            "the first interval",
        )
        pages = right.call(lambda: [_scrape_later(number) for _ in range(count)])
        for injection in injections:
            injection.stop()
    texts = [text for _, text in pages]
    return Scrapes(
        [milliseconds for milliseconds, _ in pages],
        max(map(_disagreement, texts)),
        round(_read_counter(texts[-1], "vtap_packets_total")),
    )


def _scrape_later(port: int) -> tuple[float, str]:
    time.sleep(SCRAPE_EVERY_S)
    return _scrape(port)


def _scrape(port: int) -> tuple[float, str]:
    """Return the milliseconds that one scrape took, and the page."""
    start_s = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=END_S)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return 1e3 * (time.monotonic() - start_s), text


def _read_counter(text: str, name: str) -> float:
    found = re.search(rf'^{name}{{[^}}]*protocol="UDP"[^}}]*}} (.+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _disagreement(text: str) -> float:
    """Return by how many frames what one page says of UDP differs; all frames are alike."""
    packets = _read_counter(text, "vtap_packets_total")
    counted_otherwise = (
        _read_counter(text, "vtap_bytes_total") / len(FRAME),
        _read_counter(text, "vtap_sequence_packets_total"),
    )
    return max(abs(packets - count) for count in counted_otherwise)
