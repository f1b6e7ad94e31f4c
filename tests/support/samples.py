"""Samples, deltas and reports made by hand, for tests without a program.

Stands on vtap.samples and vtap.measurements only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtap.measurements import MEASUREMENTS, Basis, Value
from vtap.reports import Moment, Report
from vtap.rules import ALL_RULES, Protocol
from vtap.samples import (
    NS_PER_SECOND,
    UNPARSED_REASONS,
    Delta,
    InterfaceSample,
    ProgramAccount,
    Sample,
    StreamKey,
    StreamSample,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

# The members of struct stream; test_measurements.py compares them with bpf/stream.h.
COUNTERS = (
    "packets",
    "bytes",
    "payload_bytes",
    "gaps",
    "gap_sum_ns",
    "gap_squares_low",
    "gap_squares_high",
    "interruptions",
    "sequence_packets",
    "sequence_reverse",
    "sequence_small",
    "sequence_big",
)
ALL_NAMES = frozenset(row.name for row in MEASUREMENTS)
EVERYTHING = frozenset(Basis)
WALL_TIME = 1795377601.0  # 2026-11-22T20:00:01Z


def counters(**counted: int) -> dict[str, int]:
    """Return every counter of a stream, 0 where it is not given."""
    assert not counted.keys() - set(COUNTERS)
    return {name: counted.get(name, 0) for name in COUNTERS}


def gap_counters(gaps_ns: Iterable[int]) -> dict[str, int]:
    """Return the counters that count_gap() in bpf/stream.h makes of these gaps."""
    gaps = list(gaps_ns)
    return {
        "gaps": len(gaps),
        "gap_sum_ns": sum(gaps),
        "gap_squares_low": sum(gap * gap & 0xFFFFFFFF for gap in gaps),
        "gap_squares_high": sum(gap * gap >> 32 for gap in gaps),
    }


def delta(seconds: float = 1.0, number: int | None = None, **counted: int) -> Delta:
    """Return what a stream counted in some seconds."""
    return Delta(seconds, counters(**counted), number)


def stream_key(
    protocol: Protocol = Protocol.TCP, interface: str = "veth1", rule: str = ALL_RULES
) -> StreamKey:
    """Return the key of a stream on veth1, of the row over all rules."""
    return StreamKey(interface, rule, protocol)


def interface_sample(
    *, up: bool = True, unmatched: int = 0, merged: int = 0, **unparsed: int
) -> InterfaceSample:
    """Return the counters of an interface; every reason not named is 0."""
    reasons = {reason: unparsed.get(reason, 0) for reason in UNPARSED_REASONS}
    return InterfaceSample(up, unmatched, merged, reasons)


def make_sample(
    time_s: float = 0.0,
    streams: Mapping[StreamKey, StreamSample] | None = None,
    interfaces: Mapping[str, InterfaceSample] | None = None,
    account: ProgramAccount | None = None,
) -> Sample:
    """Return a reading at time_s of the monotonic clock, and as long after WALL_TIME."""
    return Sample(
        round(time_s * NS_PER_SECOND),
        WALL_TIME + time_s,
        streams or {},
        interfaces if interfaces is not None else {"veth1": interface_sample()},
        account,
    )


def make_report(
    key: StreamKey | None = None,
    values: Mapping[str, Value | None] | None = None,
    *,
    ended: AbstractSet[Basis] = EVERYTHING,
    measured: AbstractSet[str] = ALL_NAMES,
    seconds: float = 1.0,
    wall_time: float = WALL_TIME,
) -> Report:
    """Return a report with these values, None for all others."""
    values = values or {}
    assert not values.keys() - ALL_NAMES
    return Report(
        Moment(key or stream_key(), wall_time, seconds),
        ended,
        {name: values.get(name) for name in ALL_NAMES},
        measured,
    )
