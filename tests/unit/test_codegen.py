"""The two holes of the program, config.h and rules.h, and that what is off is not in it."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.conftest import GOLDEN
from vtap.codegen import BPF_FOLDER, FILTERS, generate_source, make_rule_tables, render_rules
from vtap.config import Config, Display, parse_config
from vtap.rules import parse_rule

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = {"MEASURE_THROUGHPUT", "MEASURE_GOODPUT", "MEASURE_JITTER", "MEASURE_SEQUENCE"}

# What is generated: the configuration, the number of interfaces, the direction.
CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "default": ({}, 1, "in"),
    "nothing": (
        {"DISPLAY": {"Throughput": False, "Goodput": False, "Jitter": False, "SEQ_ERRORS": False}},
        1,
        "out",
    ),
    "offset": ({"OFFSET": 4, "SEQUENCE_THRESHOLD": 0}, 2, "both"),
    "pattern": ({"PATTERN": "0xE7A5C318", "OFFSET": 0, "SEQUENCE_THRESHOLD": 2147483647}, 1, "in"),
    "pattern-of-zeros": ({"PATTERN": 0, "OFFSET": 65535}, 1, "in"),
    "pattern-not-shown": (
        {"PATTERN": "0xE7A5C318", "OFFSET": 4, "DISPLAY": {"SEQ_ERRORS": "False"}},
        1,
        "in",
    ),
    "seed-rules": ({"RULES": ["1.1.1.1 2.2.2.2 11 22 TCP", "3.3.3.3 - - - [TCP,UDP]"]}, 1, "in"),
    "any": ({"RULES": ["- - - - -"]}, 1, "in"),
    "prefixes": (
        {"RULES": ["10.0.0.0/8 0.0.0.0/0 - - -", "192.168.1.128/25 255.255.255.255 - - -"]},
        1,
        "in",
    ),
    "ipv6": (
        {"RULES": ["2001:db8::/33 ::1 - - ICMP", "::/0 fe80::/10 - - -", "ff02::/16 - - - -"]},
        1,
        "in",
    ),
    "ports": ({"RULES": ["- - 0 65535 -", "- - 1000-2000 [1,5-9] UDP"]}, 1, "in"),
    "negated": (
        {"RULES": ["!1.1.1.1 ![10.0.0.0/8,::1] !80 ![1-2,3] !TCP", "- - - - ![TCP,UDP]"]},
        1,
        "in",
    ),
}


CASES["tables"] = (
    {
        "RULES": [
            *(f"10.0.0.{host} - - 5060 UDP" for host in range(8)),
            *(f"2001:db8::{host:x} - {host} 80 -" for host in range(1, 9)),
        ]
    },
    1,
    "in",
)
CASES["tables-and-comparisons"] = (
    {
        "RULES": [
            "!10.0.0.1 - - - -",
            *(f"10.{net}.0.0/16 - - - TCP" for net in range(8)),
            "- - 1000-2000 - -",
        ]
    },
    1,
    "in",
)


def source_of(case: str) -> str:
    document, interfaces, direction = CASES[case]
    config = parse_config(json.dumps(document), "c.json")
    return generate_source(config, interfaces, direction)


def hole(source: str, name: str) -> str:
    """Return the generated part: from its #line to the next one."""
    parts = re.split(r'^#line \d+ "(.+)"\n', source, flags=re.MULTILINE)
    return parts[parts.index(f"generated {name}") + 1]


def defines(source: str) -> dict[str, str]:
    return dict(re.findall(r"^#define (\w+) ?(.*)$", hole(source, "config.h"), re.MULTILINE))


@pytest.mark.parametrize("case", CASES)
def test_the_generated_parts_are_the_golden_ones(
    case: str, assert_golden: Callable[[str, str], None]
) -> None:
    """Numbers, switches and the rule predicate of each kind of configuration."""
    source = source_of(case)

    assert_golden(f"{case}.h", f"{hole(source, 'config.h')}\n{hole(source, 'rules.h')}")


def test_no_golden_file_is_left_over() -> None:
    """A file that no case writes would never fail."""
    assert {path.stem for path in GOLDEN.glob("*.h")} == set(CASES)


@pytest.mark.parametrize("display", Display)
def test_what_is_off_is_not_asked_for(display: Display) -> None:
    """Each DISPLAY switch leads to one #define, and to nothing else."""
    config = Config(display=frozenset(Display) - {display}, offset=4)
    switches = {name for name in defines(generate_source(config, 1)) if name in ALL}

    assert switches == ALL - {f"MEASURE_{display.name}"}


@pytest.mark.parametrize("display", Display)
def test_every_switch_of_config_h_is_read_by_the_program(display: Display) -> None:
    """An #ifdef of the name stands in bpf/: a misspelt one would measure nothing."""
    program = "".join(path.read_text() for path in BPF_FOLDER.glob("*.[ch]"))

    assert re.search(rf"^#ifdef MEASURE_{display.name}$", program, re.MULTILINE)


@pytest.mark.parametrize("name", [
    "INTERFACES", "ROWS", "SEQUENCE_THRESHOLD", "SEQUENCE_OFFSET", "SEQUENCE_PATTERN",
    "RULES_READ_PORTS", "DIRECTION_IN", "DIRECTION_OUT", "CLOCK_IS_PACKET_TSTAMP",
])  # fmt: skip
def test_every_other_name_is_read_too(name: str) -> None:
    """The names that codegen.py writes are those that the C asks for."""
    program = "".join(path.read_text() for path in BPF_FOLDER.glob("*.[ch]"))

    assert re.search(rf"\b{name}\b", program)


@pytest.mark.parametrize(
    ("direction", "switch"),
    [("in", "DIRECTION_IN"), ("out", "DIRECTION_OUT"), ("both", "DIRECTION_BOTH")],
)
def test_a_direction_is_one_switch(direction: str, switch: str) -> None:
    """None of the other two is there."""
    found = [n for n in defines(generate_source(Config(), 1, direction)) if "DIRECTION" in n]

    assert found == [switch]


def test_an_unknown_direction_is_no_program() -> None:
    """The caller's mistake does not count both ways silently."""
    with pytest.raises(KeyError):
        generate_source(Config(), 1, "sideways")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(), {}),
        (Config(offset=0), {"SEQUENCE_OFFSET": "0"}),
        (
            Config(offset=8, pattern=0x0000000A),
            {"SEQUENCE_OFFSET": "8", "SEQUENCE_PATTERN": "0x0000000aULL"},
        ),
        (Config(offset=8, pattern=1, display=frozenset({Display.JITTER})), {}),
    ],
)
def test_pattern_and_offset_are_there_only_if_they_are_used(
    config: Config, expected: dict[str, str]
) -> None:
    """With SEQ_ERRORS off, the search for a pattern is not compiled."""
    found = defines(generate_source(config, 1))

    assert {name: found[name] for name in found if name in (
        "SEQUENCE_OFFSET", "SEQUENCE_PATTERN",
    )} == expected  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "reads_ports"),
    [("- - 80 - -", True), ("- - - !80 -", True), ("1.1.1.1 - - - UDP", False)],
)
def test_fragments_are_followed_only_if_a_rule_reads_ports(
    rule: str, reads_ports: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """The table of datagrams costs nothing where no rule needs it."""
    source = generate_source(Config(rules=(parse_rule(rule),)), 1)

    assert ("RULES_READ_PORTS" in defines(source)) is reads_ports


def test_the_number_of_interfaces_is_in_the_program() -> None:
    """The maps are as large as needed."""
    assert defines(generate_source(Config(), 17))["INTERFACES"] == "17"


def test_the_tests_clock_is_never_in_a_users_program() -> None:
    """Only a test asks for times out of the packet."""
    assert "CLOCK_IS_PACKET_TSTAMP" not in defines(generate_source(Config(), 1))
    assert "CLOCK_IS_PACKET_TSTAMP" in defines(
        generate_source(Config(), 1, clock_is_tstamp=True)
    )  # fmt: skip


def test_every_include_is_resolved_once() -> None:
    """One text for BCC: no #include is left, no file is in it twice."""
    source = source_of("pattern")
    begun = re.findall(r'^#line 1 "(.+)"$', source, re.MULTILINE)

    assert "#include" not in source
    assert sorted(begun) == [
        "bpf/compiler.h", "bpf/filter.h", "bpf/ipv4.h", "bpf/ipv6.h", "bpf/monitor.c",
        "bpf/packet.h", "bpf/parse.h", "bpf/pattern.h", "bpf/sequence.h", "bpf/stream.h",
        "bpf/transport.h", "generated config.h", "generated rules.h",
    ]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_line_numbers_are_those_of_the_files(case: str) -> None:
    """What clang complains of is found where it says."""
    shown, number = "", 0
    seen = 0
    for line in source_of(case).splitlines():
        directive = re.fullmatch(r'#line (\d+) "(.+)"', line)
        if directive:
            number, shown = int(directive[1]), directive[2]
            continue
        if shown.startswith("bpf/"):
            written = (BPF_FOLDER / shown[4:]).read_text().splitlines()[number - 1]
            assert line == ("" if written.startswith("#include") else written)
            seen += 1
        number += 1
    assert seen > 500


def test_rules_are_asked_in_order() -> None:
    """The first that matches wins: its number is returned."""
    rules = render_rules(tuple(map(parse_rule, ["- - - - TCP"] * 3)))

    assert re.findall(r"return (\w+);", rules) == ["0", "1", "2", "rule"]


@pytest.mark.parametrize("case", ["tables", "tables-and-comparisons"])
def test_the_maps_that_rules_are_looked_up_in_are_those_that_are_filled(case: str) -> None:
    """The same names, as large as the entries for them."""
    document, interfaces, direction = CASES[case]
    config = parse_config(json.dumps(document), "c.json")
    source = generate_source(config, interfaces, direction)
    declared = re.findall(r"^BPF_HASH\((rules_\d+), struct \1_key, __u32, (\d+)\);", source,
                          re.MULTILINE)  # fmt: skip

    filled = make_rule_tables(config)
    filters = filled.pop(FILTERS, {})

    assert declared == [(name, f"{len(rows)}") for name, rows in filled.items()]
    assert declared
    for words in re.findall(rf"^BPF_ARRAY\({FILTERS}, __u64, (\d+)\);", source, re.MULTILINE):
        assert all(struct.unpack("=I", place)[0] < int(words) for place in filters)
    assert bool(filters) == (f"BPF_ARRAY({FILTERS}" in source) == (len(declared) > 1)


def test_no_rules_match_everything() -> None:
    """An empty list is not a list that nothing matches."""
    assert re.findall(r"return (-?\d+);", render_rules(())) == ["0"]
