"""Many rules -> few hash tables: rules of one shape set the same fields and differ in values.

Takes Rules, returns Tables for codegen.py; writes no C. One lookup a shape replaces one comparison
a rule: a chain of a thousand comparisons takes seconds to compile, and the kernel refuses it.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vtap.rules import PORT_MEMBERS, PortRange, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vtap.rules import Condition, Network, Rule, Value

MIN_ENTRIES = 8
"""Below this, comparing costs less than a lookup."""

MAX_PRODUCT = 256
"""A rule whose lists multiply to more entries than this is compared."""

FILTER_BITS_PER_ENTRY = 16
"""Of 16 keys that are not in a table at most one is looked up for nothing."""

_FILTER_MULTIPLIER = 0x9E3779B97F4A7C15
"""As in bpf/filter.h."""

PORTS = "ports"
"""Member of a part that holds both ports in one word, the source port in the upper half."""


class Part(NamedTuple):
    """One field that rules of a shape set, and what of it stands in the key.

    family is 4 or 6 for an address, else 0. masks has one for each 32-bit word in the key, those
    of an address in network byte order; none where the shape itself says the value: a protocol.
    """

    member: str
    family: int
    masks: tuple[int, ...]
    protocol: Protocol | None = None


Shape = tuple[Part, ...]


@dataclass(frozen=True)
class Table:
    """The entries of one shape.

    Attributes:
        entries: the key, 32-bit words in the order of the shape's parts, addresses in network
            byte order and ports in that of the host -> the number of the first rule it is of.
    """

    shape: Shape
    entries: dict[bytes, int]

    @property
    def words(self) -> int:
        """32-bit words in a key."""
        return sum(len(part.masks) for part in self.shape)

    @property
    def lowest(self) -> int:
        """The number of the first rule in it."""
        return min(self.entries.values())

    @property
    def filter_bits(self) -> int:
        """Binary logarithm of the bits in the table's filter: whole words of 64."""
        return max(6, (FILTER_BITS_PER_ENTRY * len(self.entries) - 1).bit_length())

    def filter_positions(self) -> set[int]:
        """Return the bits of the filter that are set."""
        return {self._hash(key) for key in self.entries}

    def _hash(self, key: bytes) -> int:
        """Do what hash_key() in bpf/filter.h does."""
        value = 0
        for (word,) in struct.iter_unpack("=I", key):
            value = (value ^ word) * _FILTER_MULTIPLIER & 0xFFFFFFFFFFFFFFFF
        return value >> (64 - self.filter_bits)


class Division(NamedTuple):
    """All rules: those in tables, and with their numbers those that are compared one by one."""

    tables: tuple[Table, ...]
    compared: tuple[tuple[int, Rule], ...]


class _Entry(NamedTuple):
    shape: Shape
    key: bytes


def divide_rules(rules: Sequence[Rule]) -> Division:
    """Put what can be looked up into tables, and leave the rest to be compared."""
    entries = {number: list(_expand(rule)) for number, rule in enumerate(rules)}
    sizes = Counter(entry.shape for expanded in entries.values() for entry in expanded)
    tables: dict[Shape, dict[bytes, int]] = {}
    compared = []
    for number, rule in enumerate(rules):
        expanded = entries[number]
        if not expanded or any(sizes[entry.shape] < MIN_ENTRIES for entry in expanded):
            compared.append((number, rule))
            continue
        for entry in expanded:
            tables.setdefault(entry.shape, {}).setdefault(entry.key, number)
    return Division(tuple(Table(shape, keys) for shape, keys in tables.items()), tuple(compared))


def fill_filters(tables: Sequence[Table]) -> dict[int, int]:
    """Return the 64-bit words of all tables' filters by their place, but no zeros."""
    words: dict[int, int] = {}
    for table, start in zip(tables, start_filters(tables)):
        for position in table.filter_positions():
            place = start + position // 64
            words[place] = words.get(place, 0) | 1 << position % 64
    return words


def start_filters(tables: Sequence[Table]) -> list[int]:
    """Return the place of the word where each table's filter starts, and that behind the last."""
    return list(itertools.accumulate((1 << (table.filter_bits - 6) for table in tables), initial=0))


def _expand(rule: Rule) -> Iterator[_Entry]:
    """Yield one entry for each combination of the values in the rule's lists; none: compare it."""
    product = 1
    for condition in rule.conditions:
        product *= len(condition.values)
    if product > MAX_PRODUCT or not all(map(_is_exact, rule.conditions)):
        return
    if not any(map(_has_key, rule.conditions)):
        return
    for values in itertools.product(*(condition.values for condition in rule.conditions)):
        pairs = _join_ports(
            [
                _divide_value(condition.member, value)
                for condition, value in zip(rule.conditions, values)
            ]
        )
        yield _Entry(tuple(part for part, _ in pairs), b"".join(key for _, key in pairs))


def _is_exact(condition: Condition) -> bool:
    return not condition.negated and all(
        not isinstance(value, PortRange) or value.first == value.last for value in condition.values
    )


def _has_key(condition: Condition) -> bool:
    """Tell whether every value puts something into the key: not a protocol, nor a prefix of /0."""
    return all(_divide_value(condition.member, value)[1] for value in condition.values)


def _join_ports(pairs: list[tuple[Part, bytes]]) -> list[tuple[Part, bytes]]:
    """Put both ports into one word: what hashing costs grows with the key."""
    ports = {part.member: key for part, key in pairs if part.member in PORT_MEMBERS}
    if len(ports) < len(PORT_MEMBERS):
        return pairs
    (source,), (destination,) = (struct.unpack("=I", ports[name]) for name in ("sport", "dport"))
    joined = Part(PORTS, 0, (0xFFFFFFFF,)), struct.pack("=I", source << 16 | destination)
    return [pair for pair in pairs if pair[0].member not in PORT_MEMBERS] + [joined]


def _divide_value(member: str, value: Value) -> tuple[Part, bytes]:
    if isinstance(value, PortRange):
        return Part(member, 0, (0xFFFFFFFF,)), struct.pack("=I", value.first)
    if isinstance(value, Protocol):
        return Part(member, 0, (), value), b""
    return _divide_network(member, value)


def _divide_network(member: str, network: Network) -> tuple[Part, bytes]:
    masks = network.netmask.packed
    words = tuple(int.from_bytes(masks[at : at + 4], "big") for at in range(0, len(masks), 4))
    used = tuple(word for word in words if word)
    return Part(member, network.version, used), network.network_address.packed[: 4 * len(used)]
