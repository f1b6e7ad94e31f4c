"""The rule language: five fields, each anything, a value, a list, or their negation.

Takes text, returns frozen Rules; knows neither JSON nor C.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass
from typing import Callable, Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

ALL_RULES = "all"
"""The row over all rules; no rule may have this name."""

MAX_PORT = 65535

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,5}")
_TOKEN = re.compile(r"(?<!\S)(! ?)?(\[[^\[\]]*\]|[^\s\[\]!][^\s\[\]]*)(?!\S)")


class Protocol(enum.Enum):
    """Protocols that have streams; the order is that of enum protocol in bpf/packet.h."""

    TCP = 0
    UDP = 1
    ICMP = 2


@dataclass(frozen=True)
class PortRange:
    """Ports from first to last, both included."""

    first: int
    last: int


Value = Union[Network, PortRange, Protocol]


@dataclass(frozen=True)
class Condition:
    """What one field of a rule asks for.

    Attributes:
        member: the member of struct packet it reads.
        values: any of them is enough.
        negated: none of them may be there instead.
    """

    member: str
    values: tuple[Value, ...]
    negated: bool


@dataclass(frozen=True)
class Rule:
    """One line of the configuration; all its conditions hold for a packet that it matches.

    Attributes:
        name: as given, or None.
        text: the five fields as written, blanks normalised.
        conditions: only of the fields that are not `-`, in field order.
    """

    name: str | None
    text: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Field:
    """One column of a rule: how its values are read and what they are compared with."""

    name: str
    member: str
    parse: Callable[[str], Value]


def parse_network(text: str) -> Network:
    """Read an address or a CIDR prefix; ValueError says what is wrong with it."""
    if "%" in text:
        message = f"'{text}' has a zone behind its %, which no packet carries"
        raise ValueError(message)
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        inner = ipaddress.ip_network(text, strict=False)
    except ValueError:
        message = f"'{text}' is not an IPv4 or IPv6 address or prefix"
        raise ValueError(message) from None
    message = f"'{text}' has bits set behind its prefix, did you mean {inner}?"
    raise ValueError(message)


def parse_port(text: str) -> int:
    """Read one port; ValueError says what is wrong with it."""
    if not text.isascii() or not text.isdigit():
        message = f"'{text}' is not a port, a number from 0 to {MAX_PORT}"
        raise ValueError(message)
    if not _NUMBER.fullmatch(text) or int(text) > MAX_PORT:
        message = f"{text} is not in 0-{MAX_PORT}"
        raise ValueError(message)
    return int(text)


def parse_ports(text: str) -> PortRange:
    """Read a port or a range `1000-2000`; ValueError says what is wrong with it."""
    first, dash, last = text.partition("-")
    if dash and not (first and last):
        message = f"'{text}' is not a range, two ports as in 1000-2000"
        raise ValueError(message)
    ports = PortRange(parse_port(first), parse_port(last if dash else first))
    if ports.first > ports.last:
        message = f"range {text} ends before it starts, did you mean {last}-{first}?"
        raise ValueError(message)
    return ports


def parse_protocol(text: str) -> Protocol:
    """Read a protocol's name in any case; ValueError says what is wrong with it."""
    try:
        return Protocol[text.upper()]
    except KeyError:
        known = ", ".join(protocol.name for protocol in Protocol)
        message = f"'{text}' is not one of {known}"
        raise ValueError(message) from None


FIELDS = (
    Field("source address", "saddr", parse_network),
    Field("destination address", "daddr", parse_network),
    Field("source port", "sport", parse_ports),
    Field("destination port", "dport", parse_ports),
    Field("protocol", "protocol", parse_protocol),
)
"""A new field is one row here, and a member of struct packet if it is not parsed yet."""

PORT_MEMBERS = frozenset({"sport", "dport"})


def parse_condition(field: Field, text: str) -> Condition | None:
    """Read one field of a rule; None for `-`.

    Raises ValueError with one argument a problem.
    """
    if text == "-":
        return None
    if text == "!-":
        message = f"{field.name} !- excludes everything, write - for anything"
        raise ValueError(message)
    negated = text.startswith("!")
    body = text[1:] if negated else text
    values: list[Value] = []
    problems: list[str] = []
    for item in _split_list(body):
        try:
            value = field.parse(item)
        except ValueError as error:
            wrong_item = _find_wrong_item(body, item)
            problems.append(f"{field.name} {wrong_item or error}")
            continue
        if value not in values:
            values.append(value)
    if problems:
        raise ValueError(*problems)
    return Condition(field.member, tuple(values), negated)


def _split_list(text: str) -> list[str]:
    """Return the items of `[a,b]`, or the one value."""
    return [item.strip() for item in text[1:-1].split(",")] if text.startswith("[") else [text]


def _find_wrong_item(text: str, item: str) -> str | None:
    """Say why an item cannot stand in a list; None if it could, or text is no list."""
    if not text.startswith("["):
        return None
    if not text[1:-1].strip():
        return "list is empty, write - for anything"
    if not item:
        return "list has an empty item, leave it out"
    if item == "-":
        return "list has the item -, which is anything: write - instead of the list"
    if item.startswith("!"):
        return f"list has the item '{item}', write the ! before the list"
    return None


def _split_fields(text: str) -> list[str]:
    """Split a rule at blanks, but not within brackets."""
    if _TOKEN.sub("", text).strip():
        message = f"brackets or ! out of place in '{text}'"
        raise ValueError(message)
    return [("!" if mark else "") + body for mark, body in _TOKEN.findall(text)]


def _find_contradictions(conditions: tuple[Condition, ...]) -> list[str]:
    """Say why no packet can ever meet all conditions; empty if one can."""
    problems = []
    plain = {
        condition.member: condition.values for condition in conditions if not condition.negated
    }
    families = [
        {value.version for value in plain[member] if not isinstance(value, (PortRange, Protocol))}
        for member in ("saddr", "daddr")
        if member in plain
    ]
    if len(families) == 2 and not families[0] & families[1]:  # noqa: PLR2004
        problems.append("matches nothing: source and destination are of different IP versions")
    protocols = {
        protocol
        for protocol in Protocol
        if all(
            (protocol in condition.values) is not condition.negated
            for condition in conditions
            if condition.member == "protocol"
        )
    }
    reads_ports = any(condition.member in PORT_MEMBERS for condition in conditions)
    if not protocols:
        problems.append("matches nothing: every protocol is excluded")
    elif reads_ports and protocols == {Protocol.ICMP}:
        problems.append("matches nothing: ICMP has no ports")
    return problems


def parse_rule(text: str) -> Rule:
    """Read the five fields of a rule.

    Raises ValueError with one argument a problem, each naming the field.
    """
    text = " ".join(text.split())
    tokens = _split_fields(text)
    if len(tokens) != len(FIELDS):
        expected = ", ".join(field.name for field in FIELDS)
        message = f"'{text}' has {len(tokens)} fields instead of {len(FIELDS)}: {expected}"
        raise ValueError(message)
    conditions = []
    problems: list[str] = []
    for field, token in zip(FIELDS, tokens):
        try:
            condition = parse_condition(field, token)
        except ValueError as error:
            problems.extend(error.args)
            continue
        if condition is not None:
            conditions.append(condition)
    if not problems:
        problems = _find_contradictions(tuple(conditions))
    if problems:
        raise ValueError(*problems)
    return Rule(None, " ".join(tokens), tuple(conditions))


def parse_rule_name(text: str) -> str:
    """Check a rule's name; ValueError says what is wrong with it."""
    if not _NAME.fullmatch(text):
        message = f"name '{text}' is not 1 to 64 of the characters A-Z a-z 0-9 _ . -"
        raise ValueError(message)
    if text == ALL_RULES:
        message = f"name '{ALL_RULES}' is taken: it stands for the row over all rules"
        raise ValueError(message)
    return text
