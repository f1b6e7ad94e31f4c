"""Reports -> JSON lines: one object per stream and interval, null for what is not measured."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

from vtap.measurements import MEASUREMENTS, Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vtap.samples import Sample


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
    moment = report.moment
    time = datetime.fromtimestamp(moment.wall_time, timezone.utc)
    result: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "interface": moment.key.interface,
        "rule": moment.key.rule,
        "protocol": moment.key.protocol.name,
        "seconds": moment.seconds,
    }
    for row in MEASUREMENTS:
        group, dot, member = row.name.partition(".")
        if not dot:
            result[row.name] = report.values[row.name]
        elif row.name in report.measured:
            result.setdefault(group, {})[member] = report.values[row.name]
        else:
            result.setdefault(group, None)
    return result
