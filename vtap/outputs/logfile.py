"""Reports -> log files, in the original design's format: one row an interval.

A row shows each value of its last finished interval, as -t and -j may differ. A full disk costs
the log, never the measurement: it is said once, and tried again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Callable, TextIO

from vtap.errors import VtapError
from vtap.measurements import MEASUREMENTS, Column, Value
from vtap.reports import Report, hold_values
from vtap.rules import ALL_RULES, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vtap.samples import Sample, StreamKey

SEPARATOR = " | "


def sorted_columns() -> list[tuple[str, Column]]:
    """Return the columns of one protocol, each after the name of its measurement."""
    columns = [(row.name, row.column) for row in MEASUREMENTS if row.column]
    return sorted(columns, key=lambda pair: pair[1].rank)


class LogFiles:
    """Writes `monitor_<pid>_<date>_<time>.log`; one file an interface where there are several."""

    def __init__(
        self,
        folder: Path,
        interfaces: Sequence[str],
        warn: Callable[[str], None],
        *,
        now: datetime | None = None,
    ) -> None:
        """Open the files; VtapError says why one cannot be."""
        started = now or datetime.now().astimezone()
        stem = f"monitor_{os.getpid()}_{started:%Y-%m-%d_%H:%M}"
        self._warn = warn
        self._failing: set[str] = set()
        self._files: dict[str, TextIO] = {}
        self._held: dict[StreamKey, dict[str, Value | None]] = {}
        for interface in interfaces:
            suffix = f"_{interface}" if len(interfaces) > 1 else ""
            path = folder / f"{stem}{suffix}.log"
            try:
                self._files[interface] = path.open("x", encoding="utf-8")
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                message = f"cannot write log {path}: {reason}; name another folder with --log-dir"
                raise VtapError(message) from None
            self._write(interface, SEPARATOR.join([_stamp(started), *_titles()]) + "\n\n")

    def emit(self, reports: Sequence[Report], _sample: Sample) -> None:
        """Write one row for each interface."""
        rows = [report for report in reports if report.key.rule == ALL_RULES]
        for report in rows:
            self._held[report.key] = hold_values(self._held.get(report.key, {}), report)
        for interface in self._files:
            by_protocol = {r.key.protocol: r for r in rows if r.key.interface == interface}
            moment = next(iter(by_protocol.values())).moment
            stamp = _stamp(datetime.fromtimestamp(moment.wall_time).astimezone())
            values = [
                _render(self._held[by_protocol[protocol].key][name], column)
                for protocol in Protocol
                for name, column in sorted_columns()
            ]
            self._write(interface, SEPARATOR.join([stamp, *values]) + "\n")

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            with suppress(OSError):  # what could not be written was said
                file.close()

    def _write(self, interface: str, text: str) -> None:
        file = self._files[interface]
        try:
            file.write(text)
            file.flush()
        except OSError as error:
            if interface not in self._failing:
                reason = (error.strerror or str(error)).lower()
                cure = "measuring goes on, the log is tried again"
                self._warn(f"cannot write log {file.name}: {reason}; {cure}")
            self._failing.add(interface)
        else:
            self._failing.discard(interface)


def _stamp(time: datetime) -> str:
    return f"{time:%Y-%m-%d,%H:%M:%S}"


def _titles() -> list[str]:
    return [
        f"{protocol.name}_{column.title}" for protocol in Protocol for _, column in sorted_columns()
    ]


def _render(value: Value | None, column: Column) -> str:
    """Return a value as the log has it: 0 where it is not measured."""
    return f"{(value or 0) * column.scale:.{column.decimals}f}"
