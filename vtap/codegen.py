"""Config -> C text: the only module that writes C.

Takes typed values only, so that no text of the configuration can reach the compiler; knows
nothing of BCC. The C itself is in bpf/; written here are the contents of its two holes, config.h
(numbers and switches) and rules.h (the predicate).
"""

from __future__ import annotations

import ipaddress
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from vtap.config import Config, Display
from vtap.rules import PORT_MEMBERS, Condition, Network, PortRange, Protocol, Rule, Value
from vtap.shapes import PORTS, Part, Table, divide_rules, fill_filters, start_filters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BPF_FOLDER = Path(__file__).resolve().parent.parent / "bpf"
ROWS = 1
"""Rows of streams an interface has: the one over all rules."""

ALL_BITS = 0xFFFFFFFF

FILTERS = "rule_filters"
"""The map that says of most keys, before a lookup, that they are in no table."""

_INCLUDE = re.compile(r'^#include "([a-z0-9.]+)"\n', re.MULTILINE)

_DIRECTION_SWITCHES = {"in": "DIRECTION_IN", "out": "DIRECTION_OUT", "both": "DIRECTION_BOTH"}


def generate_source(
    config: Config, interfaces: int, direction: str = "in", *, clock_is_tstamp: bool = False
) -> str:
    """Return the whole program as one C text, ready for BCC.

    Takes how many interfaces it is for and which direction it counts ("in", "out", "both").
    clock_is_tstamp is for tests: the time of a packet is what stands in it as skb->tstamp.
    """
    switches = [_DIRECTION_SWITCHES[direction]]
    switches += [f"MEASURE_{display.name}" for display in Display if display in config.display]
    if config.reads_ports():
        switches.append("RULES_READ_PORTS")
    if clock_is_tstamp:
        switches.append("CLOCK_IS_PACKET_TSTAMP")
    numbers = {
        "INTERFACES": f"{interfaces}",
        "ROWS": f"{ROWS}",
        "SEQUENCE_THRESHOLD": f"{config.sequence_threshold}",
    }
    if config.offset is not None and Display.SEQUENCE in config.display:
        numbers["SEQUENCE_OFFSET"] = f"{config.offset}"
        if config.pattern is not None:
            numbers["SEQUENCE_PATTERN"] = f"{config.pattern:#010x}ULL"
    lines = [f"#define {name} {value}" for name, value in numbers.items()]
    lines += [f"#define {switch}" for switch in switches]
    holes = {"config.h": "\n".join(lines) + "\n", "rules.h": render_rules(config.rules)}
    return _resolve_includes("monitor.c", holes, set())


def _resolve_includes(name: str, holes: Mapping[str, str], done: set[str]) -> str:
    """Put each included file in its place, once; #line keeps clang's messages true.

    One text, since BCC rewrites map accesses in the main file only.
    """
    done.add(name)
    text = holes[name] if name in holes else (BPF_FOLDER / name).read_text(encoding="utf-8")
    shown = f"generated {name}" if name in holes else f"bpf/{name}"

    def resolve(match: re.Match[str]) -> str:
        if match.group(1) in done:
            return "\n"
        included = _resolve_includes(match.group(1), holes, done)
        line = text.count("\n", 0, match.end()) + 1
        return f'{included}#line {line} "{shown}"\n'

    return f'#line 1 "{shown}"\n' + _INCLUDE.sub(resolve, text)


def render_rules(rules: tuple[Rule, ...]) -> str:
    """Return the tables and match_rule(): the number of the first rule that matches, or -1."""
    tables, compared = divide_rules(rules)
    starts = start_filters(tables) if _has_filters(tables) else []
    lines = [
        "static __always_inline int match_rule(const struct packet *packet)",
        "{",
        "\t__u32 rule = NO_RULE;",
        "",
        *(
            _render_lookup(number, table, starts[number] if starts else None)
            for number, table in enumerate(tables)
        ),
        *(line for number, rule in compared for line in _render_rule(number, rule)),
        f"\treturn {'rule' if rules else 0};",
        "}",
    ]
    filters = f"BPF_ARRAY({FILTERS}, __u64, {starts[-1]});\n\n" if starts else ""
    declared = [_render_table(number, table) for number, table in enumerate(tables)]
    return "".join(declared) + filters + "\n".join(lines) + "\n"


def make_rule_tables(config: Config) -> dict[str, dict[bytes, int]]:
    """Return what the maps that the program's rules are looked up in must hold, by their names."""
    tables = divide_rules(config.rules).tables
    filled = {_name_table(number): table.entries for number, table in enumerate(tables)}
    if _has_filters(tables):
        words = fill_filters(tables)
        filled[FILTERS] = {struct.pack("=I", place): word for place, word in words.items()}
    return filled


def _has_filters(tables: Sequence[Table]) -> bool:
    """Tell whether keys are looked for in filters first: one lookup costs less than asking."""
    return len(tables) > 1


def _name_table(number: int) -> str:
    return f"rules_{number}"


def _render_table(number: int, table: Table) -> str:
    name = _name_table(number)
    return (
        f"struct {name}_key {{\n\t__u32 words[{table.words}];\n}};\n"
        f"BPF_HASH({name}, struct {name}_key, __u32, {len(table.entries)});\n\n"
    )


def _render_lookup(number: int, table: Table, filter_start: int | None) -> str:
    """Return a block that lowers rule to the number found, if it is lower."""
    guards = [f"rule > {table.lowest}"] if number else []
    guards += [f"packet->family == {part.family}" for part in table.shape if part.family]
    if any(part.member in {PORTS, *PORT_MEMBERS} for part in table.shape):
        guards.append("packet->has_ports")
    guards += [
        f"packet->{part.member} == PROTOCOL_{part.protocol.name}"
        for part in table.shape
        if part.protocol
    ]
    words = [_render_word(part, word) for part in table.shape for word in range(len(part.masks))]
    name = _name_table(number)
    lines = [
        f"\tif ({' && '.join(dict.fromkeys(guards)) or '1'}) {{",
        f"\t\tstruct {name}_key key = {{ {{ {', '.join(words)} }} }};",
    ]
    if filter_start is None:
        lines += [f"\t\t__u32 *found = {name}.lookup(&key);", ""]
    else:
        lines += [
            f"\t\t__u32 bit = hash_key(key.words, {table.words}, {table.filter_bits});",
            f"\t\t__u32 place = {filter_start} + bit / 64, *found = 0;",
            f"\t\t__u64 *filter = {FILTERS}.lookup(&place);",
            "",
            "\t\tif (filter && *filter >> bit % 64 & 1)",
            f"\t\t\tfound = {name}.lookup(&key);",
        ]
    return "\n".join([*lines, "\t\tif (found && *found < rule)", "\t\t\trule = *found;", "\t}"])


def _render_word(part: Part, word: int) -> str:
    if part.member == PORTS:
        return "packet->sport << 16 | packet->dport"
    if not part.family:
        return f"packet->{part.member}"
    mask = part.masks[word]
    read = f"packet->{part.member}[{word}]"
    return read if mask == ALL_BITS else f"{read} & bpf_htonl({mask:#010x})"


def _render_rule(number: int, rule: Rule) -> list[str]:
    conditions = [_render_condition(condition) for condition in rule.conditions]
    expression = " &&\n\t    ".join(conditions) if conditions else "1"
    return [f"\tif (rule > {number} &&", f"\t    {expression})", f"\t\treturn {number};"]


def _render_condition(condition: Condition) -> str:
    """Return a C expression; a condition on a port is met only by a packet that has ports."""
    values = " || ".join(_render_value(condition.member, value) for value in condition.values)
    expression = f"!({values})" if condition.negated else f"({values})"
    if any(isinstance(value, PortRange) for value in condition.values):
        return f"(packet->has_ports && {expression})"
    return expression


def _render_value(member: str, value: Value) -> str:
    if isinstance(value, Protocol):
        return f"packet->{member} == PROTOCOL_{value.name}"
    if isinstance(value, PortRange):
        if value.first == value.last:
            return f"packet->{member} == {value.first}"
        return f"(packet->{member} >= {value.first} && packet->{member} <= {value.last})"
    return _render_network(member, value)


def _render_network(member: str, network: Network) -> str:
    """Compare as many 32-bit words, in network byte order, as the prefix reaches into."""
    family = 4 if isinstance(network, ipaddress.IPv4Network) else 6
    address, mask = network.network_address.packed, network.netmask.packed
    parts = [f"packet->family == {family}"]
    for word, start in enumerate(range(0, len(address), 4)):
        word_mask = int.from_bytes(mask[start : start + 4], "big")
        word_value = int.from_bytes(address[start : start + 4], "big")
        read = f"packet->{member}[{word}]"
        if word_mask == ALL_BITS:
            parts.append(f"{read} == bpf_htonl({word_value:#010x})")
        elif word_mask:
            parts.append(
                f"({read} & bpf_htonl({word_mask:#010x})) == bpf_htonl({word_value:#010x})"
            )
    return f"({' && '.join(parts)})"
