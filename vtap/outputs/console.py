"""Reports -> the text console, in the original design's format.

Takes rows of measurements.py that have a line; scripts split these lines at blanks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, TextIO

from vtap.measurements import MEASUREMENTS, Basis, Block, Line, Value
from vtap.rules import ALL_RULES, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from vtap.reports import Report
    from vtap.samples import Sample

BITS_PER_BYTE = 8
PROTOCOL_ORDER = (Protocol.TCP, Protocol.UDP, Protocol.ICMP)
SEQUENCE_ORDER = (Protocol.ICMP, Protocol.TCP, Protocol.UDP)


class Console:
    """Writes one block an interval and interface, flushed at once."""

    def __init__(
        self,
        stream: TextIO,
        *,
        interval_s: float,
        bits: bool = False,
        only: AbstractSet[Block] | None = None,
    ) -> None:
        """Write to stream; only restricts the output to these blocks."""
        self._stream = stream
        self._period = "each second" if interval_s == 1 else f"each {interval_s:g} seconds"
        self._bits = bits
        self._only = only

    def emit(self, reports: Sequence[Report], _sample: Sample) -> None:
        """Write the blocks whose interval has ended."""
        interfaces = list(dict.fromkeys(report.key.interface for report in reports))
        text = ""
        for interface in interfaces:
            by_protocol = {
                report.key.protocol: report
                for report in reports
                if report.key.interface == interface and report.key.rule == ALL_RULES
            }
            block = self._render(interface, by_protocol, named=len(interfaces) > 1)
            text += block if not block or self._only else block.rstrip("\n") + "\n\n"
        self._stream.write(text)
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream to its owner."""

    def _render(self, interface: str, reports: dict[Protocol, Report], *, named: bool) -> str:
        renderers: dict[Block, Callable[[], str]] = {
            Block.JITTER: lambda: self._render_jitter(interface, reports, named=named),
            Block.THROUGHPUT: lambda: self._render_rate(Block.THROUGHPUT, interface, reports),
            Block.GOODPUT: lambda: self._render_rate(Block.GOODPUT, interface, reports),
            Block.SEQUENCE: lambda: self._render_sequence(interface, reports, named=named),
        }
        shown = [block for block in Block if self._is_shown(block, reports.values())]
        text = ""
        for block in shown:
            if block is Block.GOODPUT and Block.THROUGHPUT in shown:
                text += "\n"
            text += renderers[block]()
        return text

    def _is_shown(self, block: Block, reports: Iterable[Report]) -> bool:
        basis = Basis.JITTER_INTERVAL if block is Block.JITTER else Basis.INTERVAL
        return (self._only is None or block in self._only) and any(
            basis in report.ended and name in report.measured
            for report in reports
            for name, _ in _lines(block)
        )

    def _render_jitter(
        self, interface: str, reports: dict[Protocol, Report], *, named: bool
    ) -> str:
        text = f"JITTER measurement on {interface}:\n" if named else ""
        for protocol in PROTOCOL_ORDER:
            for name, line in _lines(Block.JITTER):
                text += self._render_line(name, line, reports[protocol])
            text += "\n"
        return text

    def _render_rate(self, block: Block, interface: str, reports: dict[Protocol, Report]) -> str:
        text = f"{block.value.upper()} measurement on {interface} {self._period}:\n"
        for protocol in PROTOCOL_ORDER:
            for name, line in _lines(block):
                text += self._render_line(name, line, reports[protocol])
        return text

    def _render_sequence(
        self, interface: str, reports: dict[Protocol, Report], *, named: bool
    ) -> str:
        text = f"SEQUENCE ERRORS on {interface}:\n" if named else ""
        for protocol in SEQUENCE_ORDER:
            text += f"{protocol.name}\n"
            for name, line in _lines(Block.SEQUENCE):
                text += self._render_line(name, line, reports[protocol])
        return text

    def _render_line(self, name: str, line: Line, report: Report) -> str:
        value: Value = (report.values[name] or 0) * line.scale
        if self._bits and line.block in (Block.THROUGHPUT, Block.GOODPUT):
            value *= BITS_PER_BYTE
        before = line.before.format(
            protocol=report.key.protocol.name, unit="Mbits/sec" if self._bits else "MBytes/sec"
        )
        return f"{before}{value:.{line.decimals}f}{line.after}\n"


def _lines(block: Block) -> list[tuple[str, Line]]:
    """Return the lines of a block, each after the name of its measurement."""
    return [(row.name, row.line) for row in MEASUREMENTS if row.line and row.line.block is block]
