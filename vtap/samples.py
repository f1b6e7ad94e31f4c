"""What was read from the program, with its time; a delta is one sample minus another.

Knows no map and no measurement: counters are found by the names that bpf/stream.h gives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vtap.rules import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNPARSED_REASONS = (
    "not_ip",
    "other_protocol",
    "truncated",
    "malformed",
    "too_many_tags",
    "too_many_extensions",
)
"""Why a frame is in no stream; the order is that of enum outcome in bpf/packet.h."""

NS_PER_SECOND = 1_000_000_000


class StreamKey(NamedTuple):
    """What a stream counts: one protocol, of one row of rules, on one interface."""

    interface: str
    rule: str
    protocol: Protocol


class StreamSample(NamedTuple):
    """The counters of one stream since the start, by the names of struct stream.

    sequence_number is the last packet's, None before the first that carries one.
    """

    counters: Mapping[str, int]
    sequence_number: int | None


@dataclass(frozen=True)
class InterfaceSample:
    """Counters of one interface since the start, besides its streams.

    Attributes:
        up: it exists, is up and has a carrier.
        unmatched: packets that no rule matches.
        merged: packets that arrived merged into one frame with others (GRO, TSO).
        unparsed: frames by reason.
    """

    up: bool
    unmatched: int
    merged: int
    unparsed: Mapping[str, int]


class ProgramAccount(NamedTuple):
    """The kernel's own account of the program, where kernel.bpf_stats_enabled is on."""

    run_seconds: float
    runs: int


@dataclass(frozen=True)
class Sample:
    """One reading of all maps.

    Attributes:
        time_ns: monotonic.
        wall_time: seconds since the epoch.
    """

    time_ns: int
    wall_time: float
    streams: Mapping[StreamKey, StreamSample]
    interfaces: Mapping[str, InterfaceSample]
    account: ProgramAccount | None = None


class Delta(NamedTuple):
    """What a stream counted in some time.

    sequence_number is that of the end.
    """

    seconds: float
    counters: Mapping[str, int]
    sequence_number: int | None


def layout_streams(interfaces: Iterable[str], rows: Iterable[str]) -> tuple[StreamKey, ...]:
    """Return the stream of each slot, in the order of stream_slot() in bpf/monitor.c."""
    rows = tuple(rows)
    return tuple(
        StreamKey(interface, row, protocol)
        for interface in interfaces
        for row in rows
        for protocol in Protocol
    )


def subtract(later: StreamSample, later_ns: int, earlier: StreamSample, earlier_ns: int) -> Delta:
    """Return what was counted between two readings of a stream; times are monotonic."""
    return Delta(
        (later_ns - earlier_ns) / NS_PER_SECOND,
        {name: count - earlier.counters[name] for name, count in later.counters.items()},
        later.sequence_number,
    )
