"""What one stream's measurements come to when an interval ends: the table's formulas applied.

Takes deltas of samples; knows no output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vtap.measurements import MEASUREMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from vtap.config import Config
    from vtap.measurements import Basis, Value
    from vtap.samples import Delta, StreamKey


class Moment(NamedTuple):
    """What a report is of.

    wall_time is seconds since the epoch, of the end; seconds the measured length of the interval
    that ended, of the jitter interval where only that.
    """

    key: StreamKey
    wall_time: float
    seconds: float


@dataclass(frozen=True)
class Report:
    """All values of one stream when an interval ends.

    Attributes:
        ended: the bases whose time ended now; values of the others are None.
        values: by the measurement's name; None: not measured, which is not zero.
        measured: the names that the configuration has measured for this protocol.
    """

    moment: Moment
    ended: AbstractSet[Basis]
    values: Mapping[str, Value | None]
    measured: AbstractSet[str]

    @property
    def key(self) -> StreamKey:
        """The stream."""
        return self.moment.key


def hold_values(before: Mapping[str, Value | None], report: Report) -> dict[str, Value | None]:
    """Return the report's values, and those of before whose interval has not ended."""
    return {
        row.name: report.values[row.name] if row.basis in report.ended else before.get(row.name)
        for row in MEASUREMENTS
    }


def measured_names(config: Config, key: StreamKey) -> frozenset[str]:
    """Return the names of what the configuration has measured for this stream."""
    return frozenset(row.name for row in MEASUREMENTS if config.measures(row.display, key.protocol))


def make_report(
    moment: Moment, deltas: Mapping[Basis, Delta], measured: AbstractSet[str]
) -> Report:
    """Apply every formula whose time has ended: whose basis is among deltas."""
    values = {
        row.name: row.formula(deltas[row.basis])
        if row.name in measured and row.basis in deltas
        else None
        for row in MEASUREMENTS
    }
    return Report(moment, frozenset(deltas), values, measured)
