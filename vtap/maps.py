"""Maps <-> values: what the program has counted, added up over the CPUs, and its rules.

Takes a loaded program's maps as BCC gives them, finds counters by the names that bpf/stream.h gives
them; imports no bcc, attaches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtap.errors import CompileError
from vtap.samples import UNPARSED_REASONS, InterfaceSample, StreamKey, StreamSample

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEQUENCE_SEEN = 1 << 32
"""As in bpf/stream.h."""


def require_reasons(maps: Any) -> None:
    """Refuse a program whose enum outcome is not that of samples.py."""
    reasons = dict(maps[b"interfaces"].Leaf._type_._fields_)["unparsed"]._length_
    if reasons != len(UNPARSED_REASONS):
        message = f"cannot use bpf/packet.h: it has {reasons} reasons, vtap/samples.py other ones"
        raise CompileError(message)


def read_streams(maps: Any, layout: tuple[StreamKey, ...]) -> Mapping[StreamKey, StreamSample]:
    """Read every stream; layout names the stream of each slot."""
    streams = maps[b"streams"]
    orders = maps[b"orders"]
    return {
        key: StreamSample(_add_up(streams[slot]), _sequence_number(orders[slot].last_sequence))
        for slot, key in enumerate(layout)
    }


def read_interface(maps: Any, slot: int, *, up: bool) -> InterfaceSample:
    """Read the counters of the interface of this slot; up is passed through."""
    cpus = maps[b"interfaces"][slot]
    return InterfaceSample(
        up,
        sum(cpu.unmatched for cpu in cpus),
        sum(cpu.merged for cpu in cpus),
        {
            reason: sum(cpu.unparsed[index] for cpu in cpus)
            for index, reason in enumerate(UNPARSED_REASONS)
        },
    )


def fill_rule_table(table: Any, entries: Mapping[bytes, int]) -> None:
    """Put a rule's number under each key of a table of codegen.make_rule_tables()."""
    for key, number in entries.items():
        table[table.Key.from_buffer_copy(key)] = table.Leaf(number)


def _add_up(cpus: Any) -> dict[str, int]:
    names = [name for name, _ in cpus[0]._fields_]
    return {name: sum(getattr(cpu, name) for cpu in cpus) for name in names}


def _sequence_number(last_sequence: int) -> int | None:
    return last_sequence & (_SEQUENCE_SEEN - 1) if last_sequence & _SEQUENCE_SEEN else None
