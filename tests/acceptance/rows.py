"""One line of the truth table: what was measured, the truth, vTap's figure, other tools' figures.

Takes what scenarios find out; knows how a line is judged and printed, not how it came about.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Value = Union[int, float, tuple[int, ...], None]

TITLES = ("measurement", "scenario", "truth", "vTap", "error", "other tools")
EXACT = "0"


@dataclass(frozen=True)
class Row:
    """One figure and its truth.

    Attributes:
        stream: what tells apart rows that the table shows as one, if they have the same values.
        truth: None where there is none: the figure is shown, not judged.
        allowed: the largest error that passes; 0 is equality. The scenario says why not 0.
        others: by the tool's name.
    """

    measurement: str
    scenario: str
    unit: str
    truth: Value
    vtap: Value
    allowed: float = 0
    stream: str = ""
    others: Mapping[str, Value] = field(default_factory=dict)

    def error(self, value: Value | None = None) -> float:
        """Return how far vTap, or another tool's value, is from the truth; in the row's unit."""
        truth, found = _numbers(self.truth), _numbers(self.vtap if value is None else value)
        differences = [b - a for a, b in zip(truth, found)]
        if len(truth) != len(found):
            return math.inf
        return differences[0] if len(differences) == 1 else sum(map(abs, differences))

    def is_right(self) -> bool:
        """Tell whether vTap is as near to the truth as it must be."""
        return self.truth is None or abs(self.error()) <= self.allowed


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Return the rows by measurement, then scenario, each in the order of its first row."""
    measurements = list(dict.fromkeys(row.measurement for row in rows))
    scenarios = list(dict.fromkeys(row.scenario for row in rows))
    return sorted(
        rows,
        key=lambda row: (measurements.index(row.measurement), scenarios.index(row.scenario)),
    )


def _numbers(value: Value) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def wrong_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that do not hold; a test wants none."""
    return [row for row in rows if not row.is_right()]


def render_summary(rows: Sequence[Row]) -> str:
    """Return a Markdown table with one line a measurement: how many figures, and the worst."""
    lines = ["| measurement | figures | largest error of vTap |", "|---|---|---|"]
    judged = [row for row in rows if row.truth is not None]
    for measurement in dict.fromkeys(row.measurement for row in judged):
        group = [row for row in judged if row.measurement == measurement]
        worst = max(group, key=lambda row: abs(row.error()) / (row.allowed or 1))
        lines.append(f"| {measurement} | {len(group)} | {_render_error(worst)} |")
    return "\n".join(lines) + "\n"


def render_table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table; equal ones that differ by their stream are one line."""
    lines = [f"| {' | '.join(TITLES)} |", "|---|---|---:|---:|---:|---|"]
    key = lambda row: (row.measurement, row.scenario, row.truth, row.vtap)  # noqa: E731
    for _, equal in itertools.groupby(rows, key):
        group = list(equal)
        row = group[0]
        streams = ", ".join(dict.fromkeys(row.stream for row in group if row.stream))
        cells = [
            row.measurement,
            f"{row.scenario}: {streams}" if streams else row.scenario,
            _render(row.truth, row.unit),
            _render(row.vtap, row.unit),
            _render_error(row),
            "; ".join(_render_other(row, name) for name in row.others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _render(value: Value, unit: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return " / ".join(map(str, value))
    number = f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"
    return f"{number.replace(',', ' ')} {unit}"


def _render_error(row: Row) -> str:
    if row.truth is None:
        return "-"
    error = row.error()
    if error == 0:
        return EXACT
    if isinstance(row.truth, tuple) or not row.truth:
        return f"{error:+g}"
    number = f"{error:+,}".replace(",", " ") if isinstance(error, int) else f"{error:+.4f}"
    return f"{number} {row.unit} ({100 * error / row.truth:+.3f} %)"


def _render_other(row: Row, name: str) -> str:
    value = row.others[name]
    text = f"{name} {_render(value, row.unit)}"
    if isinstance(row.truth, (int, float)) and row.truth and isinstance(value, (int, float)):
        text += f" ({100 * row.error(value) / row.truth:+.2f} %)"
    return text
