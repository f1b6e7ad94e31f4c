"""JSON text -> frozen Config: the only module that knows the configuration's keys and defaults.

Takes what rules.py makes of a rule's text; knows nothing of C or of options.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, NamedTuple

from vtap.document import (
    ObjectParser,
    Pairs,
    name_value,
    parse_bool,
    parse_integer,
    read_json,
)
from vtap.errors import ConfigError, show
from vtap.rules import PORT_MEMBERS, Protocol, Rule, parse_rule, parse_rule_name

NO_PATTERN = 0xFFFFFFFF
"""PATTERN's value for: there is no pattern, OFFSET counts from the payload's start."""

NO_OFFSET = -1
"""OFFSET's value for: UDP and ICMP carry no sequence number."""

MAX_OFFSET = 65535
MAX_THRESHOLD = 2**31 - 1


class Display(enum.Enum):
    """What can be measured and shown; the value is its key under DISPLAY."""

    THROUGHPUT = "Throughput"
    GOODPUT = "Goodput"
    JITTER = "Jitter"
    SEQUENCE = "SEQ_ERRORS"


@dataclass(frozen=True)
class Config:
    """A configuration that can be carried out.

    Attributes:
        rules: the first that matches a packet wins; none: every packet is matched.
        display: what is measured; the rest is not compiled into the program.
        pattern: 32 bits that stand before the sequence number in UDP and ICMP payloads, or None.
        offset: bytes from the pattern, else from the payload's start, to the number; None: UDP
            and ICMP carry no number.
        sequence_threshold: the largest step that is a small error.
        monitor_server: serve Prometheus.
        log_data: write a log file.
    """

    rules: tuple[Rule, ...] = ()
    display: frozenset[Display] = frozenset(Display)
    pattern: int | None = None
    offset: int | None = None
    sequence_threshold: int = 2
    monitor_server: bool = True
    log_data: bool = False

    def measures(self, display: Display | None, protocol: Protocol) -> bool:
        """Tell whether this measurement (None: the packet count) is made for this protocol."""
        if display is Display.SEQUENCE and self.offset is None and protocol is not Protocol.TCP:
            return False
        return display is None or display in self.display

    def reads_ports(self) -> bool:
        """Tell whether any rule has a condition on a port."""
        return any(
            condition.member in PORT_MEMBERS for rule in self.rules for condition in rule.conditions
        )


def load_config(path: str) -> Config:
    """Read the file; ConfigError lists every problem with its place."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 - keeps the path as typed
            text = file.read()
    except UnicodeDecodeError as error:
        raise ConfigError([f"{show(path)}: byte {error.start} is not UTF-8 text"]) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        cure = "name a readable file with -conf"
        raise ConfigError([f"cannot read configuration {show(path)}: {reason}; {cure}"]) from None
    return parse_config(text, show(path))


def parse_config(text: str, path: str) -> Config:
    """Parse a configuration's text; path is what problems name as their place."""
    document = read_json(text, path)
    parser = _Parser()
    config = parser.parse_document(document)
    if parser.problems:
        raise ConfigError(f"{path}: {problem}" for problem in parser.problems)
    return config


class _Parser(ObjectParser):
    """Parses a configuration; each parse_... takes a JSON value and its place."""

    def parse_document(self, document: Any) -> Config:
        """Return what could be read, with the defaults for the rest."""
        values = self.parse_object(
            document, "", {key.name: partial(key.parse, self) for key in KEYS}
        )
        pattern = values.get("PATTERN", NO_PATTERN)
        offset = values.get("OFFSET", NO_OFFSET)
        if pattern != NO_PATTERN and offset == NO_OFFSET and not self.problems:
            self.problems.append(
                "OFFSET: PATTERN needs an OFFSET of at least 0, the bytes from the pattern's "
                "first byte to the sequence number"
            )
        default = Config()
        return Config(
            rules=values.get("RULES", default.rules),
            display=values.get("DISPLAY", default.display),
            pattern=None if pattern == NO_PATTERN else pattern,
            offset=None if offset == NO_OFFSET else offset,
            sequence_threshold=values.get("SEQUENCE_THRESHOLD", default.sequence_threshold),
            monitor_server=values.get("MONITOR_SERVER", default.monitor_server),
            log_data=values.get("LOG_DATA", default.log_data),
        )

    def parse_display(self, value: Any, place: str) -> frozenset[Display]:
        parsers = {display.value: parse_bool for display in Display}
        switches = self.parse_object(value, place, parsers)
        return frozenset(display for display in Display if switches.get(display.value, True))

    def parse_rules(self, value: Any, place: str) -> tuple[Rule, ...]:
        if not isinstance(value, list) or isinstance(value, Pairs):
            message = f"{name_value(value)} instead of a list of rules"
            raise ValueError(message)
        rules: dict[str, Rule] = {}
        named_at: dict[str, str] = {}
        for index, item in enumerate(value):
            here = f"{place}[{index}]"
            self.parse_member(rules, here, item, here, self._parse_rule)
            name = rules[here].name if here in rules else None
            if name is not None and named_at.setdefault(name, here) != here:
                self.problems.append(f"{here}: name '{name}' is that of {named_at[name]} already")
        return tuple(rules.values())

    def _parse_rule(self, value: Any, place: str) -> Rule:
        """Read a rule: its text, or an object with name and match."""
        if isinstance(value, str):
            return parse_rule(value)
        if not isinstance(value, Pairs):
            message = (
                f"{name_value(value)} is neither a rule's text nor an object with name and match"
            )
            raise ValueError(message)
        before = len(self.problems)
        members = self.parse_object(value, place, {"name": _parse_name, "match": _parse_match})
        if len(self.problems) == before and "match" not in members:
            message = "no match, the rule's five fields"
            raise ValueError(message)
        rule: Rule = members.get("match", Rule(None, "", ()))
        return replace(rule, name=members.get("name"))


def _parse_name(value: Any, _place: str) -> str:
    if not isinstance(value, str):
        message = f"{name_value(value)} is not a name"
        raise ValueError(message)
    return parse_rule_name(value)


def _parse_match(value: Any, _place: str) -> Rule:
    if not isinstance(value, str):
        message = f"{name_value(value)} is not a rule's text"
        raise ValueError(message)
    return parse_rule(value)


class Key(NamedTuple):
    """One key of the configuration, as the documentation shows it and as it is read.

    values and default are JSON; parse takes the parser, the JSON value and its place.
    """

    name: str
    values: str
    default: str
    help: str
    parse: Callable[[_Parser, Any, str], Any]


KEYS = (
    Key(
        "RULES",
        "list of rules",
        "[]",
        "which packets are counted: the first rule that matches decides; no rules: every packet",
        _Parser.parse_rules,
    ),
    Key(
        "DISPLAY",
        f"object of {', '.join(display.value for display in Display)}, each True or False",
        "{}",
        "what is measured and shown, all that is not False; the rest is not compiled",
        _Parser.parse_display,
    ),
    Key(
        "PATTERN",
        f"0..0x{NO_PATTERN:X}",
        f'"0x{NO_PATTERN:X}"',
        "4 bytes in UDP and ICMP payloads that OFFSET counts from, where they stand first; "
        "the default: no pattern, OFFSET counts from the payload's start",
        lambda _parser, value, _place: parse_integer(value, 0, NO_PATTERN),
    ),
    Key(
        "OFFSET",
        f"{NO_OFFSET}..{MAX_OFFSET}, bytes",
        f"{NO_OFFSET}",
        "where the 32-bit big-endian sequence number of UDP and ICMP stands; "
        f"{NO_OFFSET}: they carry none",
        lambda _parser, value, _place: parse_integer(value, NO_OFFSET, MAX_OFFSET),
    ),
    Key(
        "SEQUENCE_THRESHOLD",
        f"0..{MAX_THRESHOLD}",
        f"{Config.sequence_threshold}",
        "the largest step of the sequence number that is a small error; longer ones are big",
        lambda _parser, value, _place: parse_integer(value, 0, MAX_THRESHOLD),
    ),
    Key(
        "MONITOR_SERVER",
        "True or False",
        f'"{Config.monitor_server}"',
        "serve Prometheus",
        lambda _parser, value, place: parse_bool(value, place),
    ),
    Key(
        "LOG_DATA",
        "True or False",
        f'"{Config.log_data}"',
        "write a log file",
        lambda _parser, value, place: parse_bool(value, place),
    ),
)
"""Every key of the configuration."""
