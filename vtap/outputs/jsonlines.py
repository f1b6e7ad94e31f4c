"""Reports -> JSON lines: one object per stream and interval, null for what is not measured."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, TextIO

from vtap.measurements import MEASUREMENTS
from vtap.rules import ALL_RULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vtap.reports import Moment, Report
    from vtap.samples import Sample


class Field(NamedTuple):
    """A member that says what an object is of."""

    name: str
    unit: str
    help: str
    value: Callable[[Moment], Any]


def _time(moment: Moment) -> str:
    time = datetime.fromtimestamp(moment.wall_time, timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


FIELDS = (
    Field("time", "ISO 8601, UTC", "When the interval ended", _time),
    Field("interface", "", "Interface", lambda moment: moment.key.interface),
    Field("rule", "", f"`{ALL_RULES}`: the row over all rules", lambda moment: moment.key.rule),
    Field("protocol", "", "TCP, UDP or ICMP", lambda moment: moment.key.protocol.name),
    Field("seconds", "seconds", "Measured length of the interval", lambda moment: moment.seconds),
)
"""What stands before the measurements."""


class JsonLines:
    """Writes a line a report, flushed when the interval ends."""

    def __init__(self, stream: TextIO) -> None:
        """Write to stream."""
        self._stream = stream

    def emit(self, reports: Sequence[Report], _sample: Sample) -> None:
        """Write the reports of one interval."""
        for report in reports:
            self._stream.write(json.dumps(make_object(report)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream to its owner."""


def make_object(report: Report) -> dict[str, Any]:
    """Return a report as JSON has it: dotted names become members of an object, or null."""
    result: dict[str, Any] = {field.name: field.value(report.moment) for field in FIELDS}
    for row in MEASUREMENTS:
        group, dot, member = row.name.partition(".")
        if not dot:
            result[row.name] = report.values[row.name]
        elif row.name in report.measured:
            result.setdefault(group, {})[member] = report.values[row.name]
        else:
            result.setdefault(group, None)
    return result
