"""The table: every formula by literals, and names that agree with the C that counts."""

from __future__ import annotations

import random
import re
import statistics
from typing import TYPE_CHECKING

import pytest

from tests.support.samples import COUNTERS, WALL_TIME, counters, delta, gap_counters, stream_key
from vtap.codegen import BPF_FOLDER
from vtap.config import Config, Display
from vtap.measurements import MEASUREMENTS, Basis, Measurement, Value
from vtap.reports import Moment, make_report, measured_names
from vtap.rules import Protocol
from vtap.samples import (
    UNPARSED_REASONS,
    Delta,
    StreamKey,
    StreamSample,
    layout_streams,
    subtract,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BY_NAME = {row.name: row for row in MEASUREMENTS}


def measure(name: str, of: Delta) -> Value | None:
    return BY_NAME[name].formula(of)


def c_enum(header: str, tag: str) -> list[str]:
    text = (BPF_FOLDER / header).read_text(encoding="utf-8")
    body = re.search(rf"\benum {tag} \{{(.*?)\}};", text, re.DOTALL)
    assert body
    words = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    return [word.split("=")[0].strip() for word in words.split(",") if word.strip()]


def c_struct(header: str, tag: str) -> list[str]:
    text = (BPF_FOLDER / header).read_text(encoding="utf-8")
    body = re.search(rf"^struct {tag} \{{$(.*?)^\}};", text, re.DOTALL | re.MULTILINE)
    assert body
    return re.findall(r"^\t__u64 (\w+)(?:\[\w+\])?;", body[1], re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "of", "value"),
    [
        ("packets", delta(2, packets=23), 23),
        ("packets_total", delta(2, packets=23), 23),
        ("packets_per_second", delta(2, packets=23), 11.5),
        ("bytes", delta(2, bytes=1000), 1000),
        ("bytes_total", delta(2, bytes=1000), 1000),
        ("throughput_bytes_per_second", delta(2, bytes=1000), 500.0),
        ("throughput_bytes_per_second", delta(0.25, bytes=1000), 4000.0),
        ("payload_bytes", delta(2, payload_bytes=460), 460),
        ("payload_bytes_total", delta(2, payload_bytes=460), 460),
        ("goodput_bytes_per_second", delta(2, payload_bytes=460), 230.0),
        ("interarrival_mean_seconds", delta(**gap_counters([1000, 3000])), 2e-6),
        ("jitter_stddev_seconds", delta(**gap_counters([1000, 3000])), 1e-6),
        ("jitter_stddev_seconds", delta(**gap_counters([7])), 0.0),
        ("sequence.number", delta(number=0xFFFFFFFF), 0xFFFFFFFF),
        ("sequence.number", delta(number=0), 0),
        ("sequence.packets", delta(sequence_packets=5), 5),
        ("sequence.reverse", delta(sequence_reverse=6), 6),
        ("sequence.small", delta(sequence_small=7), 7),
        ("sequence.big", delta(sequence_big=8), 8),
        ("sequence.errors", delta(sequence_reverse=6, sequence_small=7, sequence_big=8), 21),
    ],
)
def test_a_formula_gives_its_number(name: str, of: Delta, value: Value) -> None:
    """Each measurement by a literal, from its own counter."""
    assert measure(name, of) == value


def test_every_measurement_is_tested_by_a_literal() -> None:
    """A row added to the table needs its literal above."""
    (mark,) = [
        mark
        for mark in test_a_formula_gives_its_number.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    ]

    assert {name for name, *_ in mark.args[1]} == BY_NAME.keys()


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("interarrival_mean_seconds", delta(packets=1)),
        ("jitter_stddev_seconds", delta(packets=1)),
        ("throughput_bytes_per_second", delta(0, bytes=5)),
        ("goodput_bytes_per_second", delta(0, payload_bytes=5)),
        ("packets_per_second", delta(0, packets=5)),
        ("sequence.number", delta(number=None)),
    ],
)
def test_what_is_not_measured_is_none(name: str, of: Delta) -> None:
    """Without a gap, a time or a number there is nothing to say: not 0."""
    assert measure(name, of) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("packets", 0),
        ("packets_per_second", 0.0),
        ("throughput_bytes_per_second", 0.0),
        ("sequence.packets", 0),
        ("sequence.errors", 0),
    ],
)
def test_silence_is_a_measured_zero(name: str, value: Value) -> None:
    """No packet in a second is a rate of 0."""
    measured = measure(name, delta(1))

    assert measured == value
    assert measured is not None


def gap_series() -> Iterator[tuple[str, list[int]]]:
    seeded = random.Random(20261122)
    yield "equal", [1_000_000] * 1000
    yield "one nanosecond apart", [1_999_999_999, 2_000_000_000]
    yield "one and the longest", [0, 2_000_000_000]
    yield "the longest, many", [2_000_000_000] * 999 + [1_999_999_999]
    yield "random", [seeded.randint(0, 2_000_000_000) for _ in range(10_000)]
    yield "random around a millisecond", [seeded.randint(999_990, 1_000_010) for _ in range(5000)]


@pytest.mark.parametrize(("_what", "gaps"), gap_series())
def test_mean_and_deviation_are_those_of_the_gaps(_what: str, gaps: list[int]) -> None:
    """Population statistics from three sums, to the precision of a double.

    1e-12: a few roundings of a 53-bit result. Sums of floats would be wrong by 1e-3 and more.
    """
    of = delta(**gap_counters(gaps))

    assert measure("interarrival_mean_seconds", of) == pytest.approx(
        statistics.mean(gaps) / 1e9, rel=1e-12, abs=0
    )
    assert measure("jitter_stddev_seconds", of) == pytest.approx(
        statistics.pstdev(gaps) / 1e9, rel=1e-12, abs=0
    )


def test_the_deviation_of_a_trillion_gaps_is_exact() -> None:
    """Half of them 1 s long, half 1 s and 2 ns: 1 ns, though the squares add up to 2^100."""
    half = 500_000_000_000
    low = half * ((10**18 & 0xFFFFFFFF) + ((10**9 + 2) ** 2 & 0xFFFFFFFF))
    high = half * ((10**18 >> 32) + ((10**9 + 2) ** 2 >> 32))
    of = delta(
        gaps=2 * half,
        gap_sum_ns=half * (2 * 10**9 + 2),
        gap_squares_low=low,
        gap_squares_high=high,
    )

    assert measure("jitter_stddev_seconds", of) == 1e-9
    assert measure("interarrival_mean_seconds", of) == 1.000000001


def test_a_reading_between_two_additions_is_no_crash() -> None:
    """A sum of squares that lacks one gap gives 0, never the root of a negative number."""
    torn = delta(gaps=2, gap_sum_ns=2000, gap_squares_low=1_000_000)

    assert measure("jitter_stddev_seconds", torn) == 0.0


def test_the_worked_example_adds_up() -> None:
    """Threshold 2, numbers 1 2 4 5 9 8 9 9: count 8, reverse 1, small 2, big 1, total 4.

    What the C counts is shown in tests/kernel; here, what becomes of it.
    """
    of = delta(
        number=9, sequence_packets=8, sequence_reverse=1, sequence_small=2, sequence_big=1
    )  # fmt: skip
    values = {row.name: row.formula(of) for row in MEASUREMENTS if row.name.startswith("seq")}

    assert values == {
        "sequence.number": 9,
        "sequence.packets": 8,
        "sequence.reverse": 1,
        "sequence.small": 2,
        "sequence.big": 1,
        "sequence.errors": 4,
    }


def test_the_counters_are_the_members_of_struct_stream() -> None:
    """What tests take for a stream is what bpf/stream.h counts."""
    assert c_struct("stream.h", "stream") == list(COUNTERS)


@pytest.mark.parametrize("row", MEASUREMENTS, ids=lambda row: row.name)
def test_a_formula_reads_only_what_the_program_counts(row: Measurement) -> None:
    """No name is misspelt: each counter that a formula asks for is in struct stream."""

    class Recording(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str) -> int:
            read.add(name)
            return 1

    read: set[str] = set()
    row.formula(Delta(1.0, Recording(), 1))

    assert read <= set(c_struct("stream.h", "stream"))
    assert read or row.name == "sequence.number"


def test_every_counter_is_read_by_a_measurement_or_the_session() -> None:
    """Nothing is counted in vain; interruptions are what the session looks at."""

    class Recording(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str) -> int:
            read.add(name)
            return 1

    read = {"interruptions"}
    for row in MEASUREMENTS:
        row.formula(Delta(1.0, Recording(), 1))

    assert read == set(COUNTERS)


def test_the_reasons_are_those_of_the_program() -> None:
    """UNPARSED_REASONS stands in the order of enum outcome in bpf/packet.h."""
    assert c_enum("packet.h", "outcome") == [
        *(reason.upper() for reason in UNPARSED_REASONS),
        "UNPARSED_REASONS",
        "PARSED",
    ]


def test_the_protocols_are_those_of_the_program() -> None:
    """Protocol's values are the numbers of enum protocol in bpf/packet.h."""
    names = c_enum("packet.h", "protocol")

    assert names.pop() == "PROTOCOLS"
    assert {name: number for number, name in enumerate(names)} == {
        f"PROTOCOL_{protocol.name}": protocol.value for protocol in Protocol
    }


def test_the_slots_are_those_of_the_program() -> None:
    """Interface, then row, then protocol, as stream_slot() in bpf/monitor.c computes."""
    layout = layout_streams(["a", "b"], ["all", "voice"])

    for interface_slot, interface in enumerate(["a", "b"]):
        for row, rule in enumerate(["all", "voice"]):
            for protocol in Protocol:
                slot = (interface_slot * 2 + row) * len(Protocol) + protocol.value
                assert layout[slot] == StreamKey(interface, rule, protocol)
    assert len(layout) == 12


def test_a_delta_is_one_reading_minus_another() -> None:
    """Counters and times are subtracted, the sequence number is that of the end."""
    earlier = StreamSample(counters(packets=10, bytes=2**63), 7)
    later = StreamSample(counters(packets=33, bytes=2**63 + 5), 3)

    assert subtract(later, 3_500_000_000, earlier, 1_000_000_000) == Delta(
        2.5, counters(packets=23, bytes=5), 3
    )


def test_a_report_has_only_what_ended_and_is_measured() -> None:
    """The values of a time that goes on, and of what is off, are None."""
    of = delta(2, packets=10, bytes=100, payload_bytes=50, **gap_counters([5, 7]))
    measured = measured_names(Config(display=frozenset({Display.THROUGHPUT})), stream_key())
    report = make_report(
        Moment(stream_key(), WALL_TIME, 2.0), {Basis.INTERVAL: of, Basis.TOTAL: of}, measured
    )

    assert {name: value for name, value in report.values.items() if value is not None} == {
        "packets": 10,
        "packets_per_second": 5.0,
        "packets_total": 10,
        "bytes": 100,
        "bytes_total": 100,
        "throughput_bytes_per_second": 50.0,
    }
    assert report.values.keys() == BY_NAME.keys()
    assert report.ended == {Basis.INTERVAL, Basis.TOTAL}


def test_names_are_unique_and_carry_their_unit() -> None:
    """A rate ends in its unit, a total in _total; metrics are told apart by their labels."""
    series = [(row.metric.name, row.metric.labels) for row in MEASUREMENTS if row.metric]

    assert len(BY_NAME) == len(MEASUREMENTS)
    assert len(set(series)) == len(series)
    assert all(row.name.endswith(row.unit.replace(" ", "_")) for row in MEASUREMENTS
               if " per " in row.unit)  # fmt: skip
    assert all(row.help and not row.help.endswith(".") for row in MEASUREMENTS)
