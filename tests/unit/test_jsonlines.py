"""JSON lines: an object a stream and interval, null for what is not measured."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.support.samples import make_report, make_sample, stream_key
from vtap.config import Config, Display
from vtap.measurements import Basis
from vtap.outputs.jsonlines import JsonLines
from vtap.reports import Report, measured_names
from vtap.rules import Protocol

# The example of the specification.
LINE = {
    "time": "2026-11-22T20:00:01.000Z", "interface": "veth1", "rule": "all", "protocol": "TCP",
    "seconds": 1.0002, "packets": 10, "bytes": 1000, "payload_bytes": 460,
    "packets_total": 120, "bytes_total": 12000, "payload_bytes_total": 5520,
    "throughput_bytes_per_second": 999.8, "goodput_bytes_per_second": 459.9,
    "packets_per_second": 9.998,
    "jitter_stddev_seconds": 0.0000026, "interarrival_mean_seconds": 0.0000054,
    "sequence": {"number": 181, "packets": 120, "reverse": 0, "small": 0, "big": 0, "errors": 0},
}  # fmt: skip
VALUES = {
    **{name: LINE[name] for name in list(LINE)[5:-1]},
    **{f"sequence.{name}": value for name, value in LINE["sequence"].items()},  # type: ignore[attr-defined]
}


def lines_of(*reports: Report) -> list[dict[str, Any]]:
    stream = io.StringIO()
    JsonLines(stream).emit(reports, make_sample())
    assert stream.getvalue().endswith("\n")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_that_of_the_specification() -> None:
    """Keys, their order, and values."""
    (line,) = lines_of(make_report(values=VALUES, seconds=1.0002))  # type: ignore[arg-type]

    assert line == LINE
    assert list(line) == list(LINE)
    assert list(line["sequence"]) == list(LINE["sequence"])


def test_a_line_is_on_one_line_without_nan() -> None:
    """Any JSON reader takes it."""
    stream = io.StringIO()
    JsonLines(stream).emit([make_report(), make_report()], make_sample())

    assert stream.getvalue().count("\n") == 2
    assert "NaN" not in stream.getvalue()


def test_what_is_not_measured_is_null() -> None:
    """Every key is there; a sequence that is measured but has no number yet is an object."""
    (line,) = lines_of(make_report())

    assert list(line) == list(LINE)
    assert [name for name, value in line.items() if value is not None] == [
        "time", "interface", "rule", "protocol", "seconds", "sequence",
    ]  # fmt: skip
    assert set(line["sequence"].values()) == {None}


@pytest.mark.parametrize(
    ("config", "protocol", "is_null"),
    [
        (Config(), Protocol.TCP, False),
        (Config(), Protocol.UDP, True),
        (Config(offset=0), Protocol.UDP, False),
        (Config(offset=0, display=frozenset({Display.JITTER})), Protocol.TCP, True),
    ],
)
def test_sequence_is_null_where_none_is_measured(
    config: Config, protocol: Protocol, is_null: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """UDP without an OFFSET has no such object."""
    key = stream_key(protocol)
    (line,) = lines_of(make_report(key, measured=measured_names(config, key)))

    assert (line["sequence"] is None) is is_null


def test_zero_is_not_null() -> None:
    """Silence is measured."""
    (line,) = lines_of(make_report(values={"packets": 0, "sequence.number": 0}))

    assert (line["packets"], line["sequence"]["number"]) == (0, 0)


def test_each_stream_has_its_line_in_order() -> None:
    """Interface, rule and protocol say which."""
    keys = [stream_key(p, i, r) for i in ("a", "b") for r in ("all", "voice") for p in Protocol]
    lines = lines_of(*map(make_report, keys))

    assert [(line["interface"], line["rule"], line["protocol"]) for line in lines] == [
        (key.interface, key.rule, key.protocol.name) for key in keys
    ]


@pytest.mark.parametrize(
    ("wall_time", "time"),
    [
        (1795377601.0, "2026-11-22T20:00:01.000Z"),
        (1795377601.0626, "2026-11-22T20:00:01.062Z"),
        (0.9999, "1970-01-01T00:00:00.999Z"),
    ],
)
def test_time_is_utc_with_milliseconds(wall_time: float, time: str) -> None:
    """Whatever the time zone of the machine."""
    assert lines_of(make_report(wall_time=wall_time))[0]["time"] == time


def test_a_line_of_a_jitter_interval_has_no_rates() -> None:
    """What goes on has no value yet; totals have."""
    values = {"jitter_stddev_seconds": 1e-6, "packets_total": 5}
    ended = {Basis.JITTER_INTERVAL, Basis.TOTAL}
    (line,) = lines_of(make_report(values=values, ended=ended, seconds=3.0))

    assert (line["seconds"], line["jitter_stddev_seconds"], line["packets_total"]) == (3.0, 1e-6, 5)
    assert line["packets"] is line["throughput_bytes_per_second"] is None


def test_an_interval_is_flushed_and_the_stream_left_open() -> None:
    """A script that reads a pipe waits for no buffer."""

    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Stream()
    output = JsonLines(stream)
    output.emit([make_report()], make_sample())
    output.close()

    assert (stream.flushed, stream.closed) == (1, False)
