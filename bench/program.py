"""Program cost: nanoseconds of one run by BPF_PROG_TEST_RUN, net of an empty program.

Series are interleaved: each round runs all of them once. A lower quartile stands for a series,
since what disturbs a run only ever makes it longer.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.programs import OFFSET, PATTERN, THRESHOLD, Loaded, load_file, load_monitor
from tests.support.frames import Tag, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp
from tests.support.program_run import run_program
from vtap.config import Config
from vtap.rules import parse_rule

if TYPE_CHECKING:
    from collections.abc import Sequence

REPEAT = 50_000
PAYLOAD_BYTES = 100
LONG_PAYLOAD_BYTES = 1400
INTERFACES = (2, 16)
PATTERN_POSITIONS = (0, 100, 700, 1390)

NUMBERED = Config(offset=OFFSET, sequence_threshold=THRESHOLD)
SEARCHED = Config(offset=OFFSET, pattern=PATTERN, sequence_threshold=THRESHOLD)

# No other rule of the lists below matches what this one matches.
MATCHED_RULE = "10.9.9.9 10.8.8.8 7 9 UDP"
SHAPES = (
    "{} - - - -",
    "{} 1.2.3.4 - - -",
    "{} - 1 - -",
    "{} - - 2 -",
    "{} - - - UDP",
    "{} 1.2.3.0/24 - - -",
    "{} - 1 2 UDP",
)


class Series(NamedTuple):
    """What is run on which frame."""

    name: str
    loaded: Loaded
    frame: bytes
    repeat: int = REPEAT


class RuleSet(NamedTuple):
    """Rules of which only the last one matches the frame that is sent."""

    name: str
    rules: list[str]


def measure(rounds: int) -> dict[str, float]:
    """Return nanoseconds of each series net of the empty program on the same frame."""
    empty = load_file("empty")
    series = [*_compared(), *_frames(), *_patterns()]
    return _run(rounds, empty, series)


def measure_rules(rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return nanoseconds net of the empty program by rule set, and seconds to load each."""
    datagram = udp(bytes(PAYLOAD_BYTES), sport=7, dport=9)
    frame = ethernet(ipv4(datagram, saddr="10.9.9.9", daddr="10.8.8.8"))
    series, seconds = [], {}
    for rule_set in make_rule_sets():
        start_s = time.monotonic()
        rules = tuple(map(parse_rule, rule_set.rules))
        config = Config(rules=rules, offset=OFFSET, sequence_threshold=THRESHOLD)
        series.append(Series(rule_set.name, load_monitor(config), frame))
        seconds[rule_set.name] = time.monotonic() - start_s
    return _run(rounds, load_file("empty"), series), seconds


def make_rule_sets() -> list[RuleSet]:
    """Return 1 to 10000 rules of one shape, and 1000 of eight."""
    hosts = [f"10.{n // 62500}.{n // 250 % 250}.{n % 250}" for n in range(9_999)]
    sets = [
        RuleSet(
            f"{count} rules",
            [*(f"{host} 10.8.8.8 7 9 UDP" for host in hosts[: count - 1]), MATCHED_RULE],
        )
        for count in (1, 10, 100, 1_000, 10_000)
    ]
    eight = [shape.format(host) for shape in SHAPES for host in hosts[:125]]
    eight += [f"{host} 10.8.8.8 7 9 UDP" for host in hosts[:124]]
    return [*sets, RuleSet("1000 rules of eight shapes", [*eight, MATCHED_RULE])]


def _run(rounds: int, empty: Loaded, series: Sequence[Series]) -> dict[str, float]:
    costs: dict[str, list[float]] = {each.name: [] for each in series}
    for _ in range(rounds):
        for each in series:
            run = run_program(each.loaded.fd, each.frame, repeat=each.repeat)
            idle = run_program(empty.fd, each.frame, repeat=each.repeat)
            costs[each.name].append(run.duration_ns - idle.duration_ns)
    return {name: lower_quartile(values) for name, values in costs.items()}


def lower_quartile(values: Sequence[float]) -> float:
    """Return the value below which a quarter lies."""
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def _compared() -> list[Series]:
    """VTap beside the floor and the baseline, on the frames that all of them know."""
    frames = {
        "TCP": ethernet(ipv4(tcp(bytes(PAYLOAD_BYTES)))),
        "UDP": ethernet(ipv4(udp(bytes(PAYLOAD_BYTES)))),
    }
    programs = {
        "floor": load_file("floor"),
        "floor without its load": load_file("floor", without="LOAD"),
        "floor without its clock": load_file("floor", without="CLOCK"),
        "baseline": load_file("seed_style"),
        "vTap": load_monitor(NUMBERED),
    }
    return [
        Series(f"{name}, {protocol}", loaded, frame)
        for name, loaded in programs.items()
        for protocol, frame in frames.items()
    ]


def _frames() -> list[Series]:
    """VTap by kind of frame."""
    monitor = load_monitor(NUMBERED)
    payload = bytes(PAYLOAD_BYTES)
    tagged = [Tag(7)]
    frames = {
        "ICMP": ethernet(ipv4(icmp(payload))),
        "TCP, IPv6": ethernet(ipv6(tcp(payload))),
        "UDP, IPv6": ethernet(ipv6(udp(payload))),
        "ICMPv6": ethernet(ipv6(icmpv6(payload))),
        "UDP, VLAN": ethernet(ipv4(udp(payload)), tags=tagged),
        "UDP, QinQ": ethernet(ipv4(udp(payload)), tags=[Tag(7), Tag(8)]),
        "UDP, IPv6, VLAN": ethernet(ipv6(udp(payload)), tags=tagged),
        "UDP, 18 bytes of payload": ethernet(ipv4(udp(bytes(18)))),
        "UDP, 1400 bytes of payload": ethernet(ipv4(udp(bytes(1400)))),
    }
    series = [Series(f"vTap, {name}", monitor, frame) for name, frame in frames.items()]
    datagram = ethernet(ipv4(udp(payload)))
    for count in INTERFACES:
        loaded = load_monitor(NUMBERED, interfaces=count)
        series.append(Series(f"vTap, UDP, one of {count} interfaces", loaded, datagram))
    return series


def _patterns() -> list[Series]:
    """Search for a pattern in a long payload."""
    programs = {
        "baseline": load_file("seed_style", pattern=True),
        "vTap": load_monitor(SEARCHED),
    }
    series = []
    for position in PATTERN_POSITIONS:
        before, pattern = bytes(position), PATTERN.to_bytes(4, "big")
        frame = ethernet(ipv4(udp((before + pattern).ljust(LONG_PAYLOAD_BYTES, b"\0"))))
        for name, loaded in programs.items():
            title = f"{name}, pattern at byte {position} of {LONG_PAYLOAD_BYTES}"
            series.append(Series(title, loaded, frame, REPEAT // 10))
    return series
