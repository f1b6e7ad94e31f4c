"""Maps <-> values: what the program has counted, added up over the CPUs.

Needs no BCC, which the process that measures has not; finds counters by the names that bpf/stream.h
gives them.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vtap.bpf_syscall import call_bpf
from vtap.errors import CompileError
from vtap.samples import UNPARSED_REASONS, InterfaceSample, StreamKey, StreamSample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SEQUENCE_SEEN = 1 << 32
"""As in bpf/stream.h."""

_LOOKUP, _UPDATE, _DELETE = 1, 2, 3
"""BPF_MAP_..._ELEM of linux/bpf.h."""


class _Element(ctypes.Structure):
    """The part of union bpf_attr for one element of a map; addresses as numbers."""

    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class Map(NamedTuple):
    """A map with 32-bit keys and values of 64-bit members, a copy a CPU where cpus > 1.

    members is empty where the value is a 32-bit number.
    """

    fd: int
    members: Sequence[str]
    cpus: int

    def read(self, key: int) -> dict[str, int]:
        """Return the members by name, added up over the CPUs; raises OSError."""
        count = len(self.members)
        value = ctypes.create_string_buffer(8 * count * self.cpus)
        self._call(_LOOKUP, key, value)
        words = struct.unpack(f"={count * self.cpus}Q", value)
        return {name: sum(words[index::count]) for index, name in enumerate(self.members)}

    def write(self, key: int, number: int) -> None:
        """Put a 32-bit number under a key; raises OSError."""
        self._call(_UPDATE, key, ctypes.create_string_buffer(struct.pack("=I", number), 4))

    def delete(self, key: int) -> None:
        """Remove a key; raises OSError, of ENOENT where it is not there."""
        self._call(_DELETE, key, None)

    def _call(self, command: int, key: int, value: ctypes.Array[ctypes.c_char] | None) -> None:
        key_word = ctypes.c_uint32(key)
        value_at = ctypes.addressof(value) if value else 0
        call_bpf(command, _Element(self.fd, ctypes.addressof(key_word), value_at))


class Maps(NamedTuple):
    """The maps of a program by their names in bpf/monitor.c."""

    streams: Map
    orders: Map
    interfaces: Map
    near_slots: Map | None = None
    far_slots: Map | None = None


def count_possible_cpus() -> int:
    """Return how many copies a per-CPU value has: CPUs that may ever be there ("0-3,5")."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    spans = [span.split("-") for span in text.strip().split(",")]
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


def write_slot(maps: Maps, ifindex: int, slot: int | None) -> None:
    """Have the program count what comes from an interface into a slot, or not at all: None.

    Raises OSError, of ENOENT where an interface that is to be forgotten had no slot.
    """
    if not maps.near_slots or not maps.far_slots:
        return
    try:
        maps.near_slots.write(ifindex, 0 if slot is None else slot + 1)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        if slot is None:
            maps.far_slots.delete(ifindex)
        else:
            maps.far_slots.write(ifindex, slot + 1)


def require_reasons(maps: Maps) -> None:
    """Refuse a program whose enum outcome is not that of samples.py."""
    reasons = sum(name.startswith("unparsed[") for name in maps.interfaces.members)
    if reasons != len(UNPARSED_REASONS):
        message = f"cannot use bpf/packet.h: it has {reasons} reasons, vtap/samples.py other ones"
        raise CompileError(message)


def read_streams(maps: Maps, layout: tuple[StreamKey, ...]) -> Mapping[StreamKey, StreamSample]:
    """Read every stream; layout names the stream of each slot."""
    return {
        key: StreamSample(
            maps.streams.read(slot), _sequence_number(maps.orders.read(slot)["last_sequence"])
        )
        for slot, key in enumerate(layout)
    }


def read_interface(maps: Maps, slot: int, *, up: bool) -> InterfaceSample:
    """Read the counters of the interface of this slot; up is passed through."""
    counters = maps.interfaces.read(slot)
    unparsed = {
        reason: counters[f"unparsed[{index}]"] for index, reason in enumerate(UNPARSED_REASONS)
    }
    return InterfaceSample(up, counters["unmatched"], counters["merged"], unparsed)


def _sequence_number(last_sequence: int) -> int | None:
    return last_sequence & (_SEQUENCE_SEEN - 1) if last_sequence & _SEQUENCE_SEEN else None
