"""THE table: what vTap measures, each with its name, unit, help, formula and how it is shown.

A new measurement is a counter in bpf/stream.h and one row here; reports, outputs and documentation
follow from the row.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Union

from vtap.config import Display

if TYPE_CHECKING:
    from vtap.samples import Delta

Value = Union[int, float]


class Basis(enum.Enum):
    """What time a value is about."""

    INTERVAL = "the last finished interval (-t)"
    JITTER_INTERVAL = "the last finished jitter interval (-j)"
    TOTAL = "since the start"


class Block(enum.Enum):
    """The parts of the text console's output."""

    JITTER = "jitter"
    THROUGHPUT = "throughput"
    GOODPUT = "goodput"
    SEQUENCE = "sequence"


@dataclass(frozen=True)
class Line:
    """A line of the text console: `before` + value * scale + `after`.

    {protocol} in before is replaced, and {unit} by the unit of rates, bytes or bits.
    """

    block: Block
    before: str
    scale: float = 1
    decimals: int = 0
    after: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the log file; its title follows the protocol and a `_`.

    Columns stand by their rank, those of one rank in the table's order.
    """

    title: str
    scale: float = 1
    decimals: int = 0
    rank: int = 9


@dataclass(frozen=True)
class Metric:
    """A Prometheus series; a counter if its name ends in _total, else a gauge."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Measurement:
    """One row of the table.

    Attributes:
        name: its key in the JSON output; a dot makes an object of what stands before it.
        formula: from a delta over the time that basis names; None is "not measured".
        display: the switch in the configuration; None: always measured.
    """

    name: str
    unit: str
    help: str
    basis: Basis
    display: Display | None
    formula: Callable[[Delta], Value | None]
    metric: Metric | None = None
    line: Line | None = None
    column: Column | None = None


def _count(counter: str) -> Callable[[Delta], Value | None]:
    return lambda delta: delta.counters[counter]


def _rate(counter: str) -> Callable[[Delta], Value | None]:
    return lambda delta: delta.counters[counter] / delta.seconds if delta.seconds > 0 else None


def _mean_gap(delta: Delta) -> Value | None:
    gaps = delta.counters["gaps"]
    return delta.counters["gap_sum_ns"] / gaps / 1e9 if gaps > 0 else None


def _gap_deviation(delta: Delta) -> Value | None:
    """sqrt(sum (x - mean)^2 / n) = sqrt(n * sum x^2 - (sum x)^2) / n, the sums exact integers."""
    gaps = delta.counters["gaps"]
    if gaps <= 0:
        return None
    squares = (delta.counters["gap_squares_high"] << 32) + delta.counters["gap_squares_low"]
    return math.sqrt(max(gaps * squares - delta.counters["gap_sum_ns"] ** 2, 0)) / gaps / 1e9


def _sequence_errors(delta: Delta) -> Value | None:
    return sum(delta.counters[f"sequence_{kind}"] for kind in ("reverse", "small", "big"))


def _sequence_kind(kind: str, meaning: str) -> Measurement:
    return Measurement(
        f"sequence.{kind}",
        "packets",
        f"Sequence errors: number {meaning}",
        Basis.TOTAL,
        Display.SEQUENCE,
        _count(f"sequence_{kind}"),
        metric=Metric("vtap_sequence_errors_total", (("kind", kind),)),
        line=Line(Block.SEQUENCE, f"    {kind}_err: "),
        column=Column("reverse_error" if kind == "reverse" else f"{kind}_err"),
    )


MEASUREMENTS = (
    Measurement(
        "packets",
        "packets",
        "Packets of the interval",
        Basis.INTERVAL,
        None,
        _count("packets"),
    ),
    Measurement(
        "bytes",
        "bytes",
        "Bytes of whole frames of the interval",
        Basis.INTERVAL,
        Display.THROUGHPUT,
        _count("bytes"),
    ),
    Measurement(
        "payload_bytes",
        "bytes",
        "Bytes of transport payload of the interval",
        Basis.INTERVAL,
        Display.GOODPUT,
        _count("payload_bytes"),
    ),
    Measurement(
        "packets_total",
        "packets",
        "Packets",
        Basis.TOTAL,
        None,
        _count("packets"),
        metric=Metric("vtap_packets_total"),
    ),
    Measurement(
        "bytes_total",
        "bytes",
        "Bytes of whole frames, Ethernet header and VLAN tags included, FCS not",
        Basis.TOTAL,
        Display.THROUGHPUT,
        _count("bytes"),
        metric=Metric("vtap_bytes_total"),
    ),
    Measurement(
        "payload_bytes_total",
        "bytes",
        "Bytes of transport payload, after the TCP, UDP or ICMP header, from the IP length",
        Basis.TOTAL,
        Display.GOODPUT,
        _count("payload_bytes"),
        metric=Metric("vtap_payload_bytes_total"),
    ),
    Measurement(
        "throughput_bytes_per_second",
        "bytes per second",
        "Bytes of whole frames per second",
        Basis.INTERVAL,
        Display.THROUGHPUT,
        _rate("bytes"),
        metric=Metric("vtap_throughput_bytes_per_second"),
        line=Line(Block.THROUGHPUT, "{protocol} bitrate [{unit}]: ", 1e-6, 4),
        column=Column("Throughput (bytes/sec)", 1, 4, rank=0),
    ),
    Measurement(
        "goodput_bytes_per_second",
        "bytes per second",
        "Bytes of transport payload per second",
        Basis.INTERVAL,
        Display.GOODPUT,
        _rate("payload_bytes"),
        metric=Metric("vtap_goodput_bytes_per_second"),
        line=Line(Block.GOODPUT, "{protocol} bitrate [{unit}]: ", 1e-6, 4),
        column=Column("Goodput (bytes/sec)", 1, 4, rank=1),
    ),
    Measurement(
        "packets_per_second",
        "packets per second",
        "Packets per second",
        Basis.INTERVAL,
        None,
        _rate("packets"),
        metric=Metric("vtap_packets_per_second"),
    ),
    Measurement(
        "jitter_stddev_seconds",
        "seconds",
        "Standard deviation of the times between consecutive packets",
        Basis.JITTER_INTERVAL,
        Display.JITTER,
        _gap_deviation,
        metric=Metric("vtap_jitter_stddev_seconds"),
        line=Line(Block.JITTER, "Jitter[STDDEV] {protocol}: ", 1e3, 4, " ms"),
        column=Column("Jitter_STDDEV (ms)", 1e3, 4, rank=3),
    ),
    Measurement(
        "interarrival_mean_seconds",
        "seconds",
        "Mean of the times between consecutive packets",
        Basis.JITTER_INTERVAL,
        Display.JITTER,
        _mean_gap,
        metric=Metric("vtap_interarrival_mean_seconds"),
        line=Line(Block.JITTER, "Average {protocol}: ", 1e3, 4, " ms"),
        column=Column("Jitter_AVG (ms)", 1e3, 4, rank=2),
    ),
    Measurement(
        "sequence.number",
        "",
        "Sequence number of the last packet that carries one",
        Basis.TOTAL,
        Display.SEQUENCE,
        lambda delta: delta.sequence_number,
        metric=Metric("vtap_sequence_number"),
        line=Line(Block.SEQUENCE, "    seq_num: "),
        column=Column("seq_num"),
    ),
    Measurement(
        "sequence.packets",
        "packets",
        "Packets that carry a sequence number",
        Basis.TOTAL,
        Display.SEQUENCE,
        _count("sequence_packets"),
        metric=Metric("vtap_sequence_packets_total"),
        line=Line(Block.SEQUENCE, "    count: "),
        column=Column("count"),
    ),
    _sequence_kind("reverse", "below the one before"),
    _sequence_kind("small", "the same again, or 2 to SEQUENCE_THRESHOLD above"),
    _sequence_kind("big", "more than SEQUENCE_THRESHOLD above the one before"),
    Measurement(
        "sequence.errors",
        "packets",
        "Sequence errors of all kinds",
        Basis.TOTAL,
        Display.SEQUENCE,
        _sequence_errors,
        line=Line(Block.SEQUENCE, "    total_sequence_errors: "),
        column=Column("total_err"),
    ),
)
