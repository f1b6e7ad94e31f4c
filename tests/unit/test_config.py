"""config.json: everything of it that is accepted, and every problem of a file at once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from vtap.codegen import generate_source
from vtap.config import Config, Display, load_config, parse_config
from vtap.errors import ConfigError
from vtap.rules import Protocol, parse_rule

ROOT = Path(__file__).resolve().parents[2]
NOT_BOOL = 'is not "True" or "False"'
NOT_INTEGER = "is not a whole number, decimal or 0x..."

SEED = """
{
    "RULES": [
        // source_ip destination_ip source_port destination_port protocol
        "1.1.1.1 2.2.2.2 11 22 TCP",
        "3.3.3.3 - - - [TCP,UDP]"
    ],
    "DISPLAY": { "Throughput": "True", "Goodput": "True", "Jitter": "True", "SEQ_ERRORS": "True" },
    "PATTERN": "0xE7A5C318",
    "OFFSET": 4,
    "SEQUENCE_THRESHOLD": 2,
    "MONITOR_SERVER": "True",
    "LOG_DATA": "False"
}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "c.json")
    assert str(caught.value).split("\n") == list(caught.value.problems)  # one line each
    return list(caught.value.problems)


def problems_of_value(value: Any) -> list[str]:
    return problems_of(json.dumps(value))


def test_the_seeds_example_is_read() -> None:
    """Comments, "True" and hex strings, as in the original design."""
    assert parse_config(SEED, "c.json") == Config(
        rules=(parse_rule("1.1.1.1 2.2.2.2 11 22 TCP"), parse_rule("3.3.3.3 - - - [TCP,UDP]")),
        display=frozenset(Display),
        pattern=0xE7A5C318,
        offset=4,
        sequence_threshold=2,
        monitor_server=True,
        log_data=False,
    )


def test_the_shipped_configuration_is_the_default() -> None:
    """config.json says what an empty object means, so that it documents the defaults."""
    assert load_config(str(ROOT / "config.json")) == Config() == parse_config("{}", "c.json")


def test_the_demos_configuration_is_read() -> None:
    """The number stands at offset 4."""
    assert load_config(str(ROOT / "script/demo.json")) == Config(offset=4)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ('{"OFFSET": 4, /* "OFFSET": 5, */}', Config(offset=4)),
        ('// a comment "with a quote\n{}', Config()),
        ('{"LOG_DATA": "true" /* a\nb */ , } // end', Config(log_data=True)),
        ('{"RULES": ["- - 1 - -", // x\n ],}', Config(rules=(parse_rule("- - 1 - -"),))),
        ('\r\n{"OFFSET":\t4}\r\n', Config(offset=4)),
        ('{"OFFSET": 4} // http://x "', Config(offset=4)),
        ("/**/{}/***/", Config()),
    ],
)
def test_comments_and_trailing_commas_are_accepted(text: str, config: Config) -> None:
    """Of both kinds, wherever blanks may stand."""
    assert parse_config(text, "c.json") == config


@pytest.mark.parametrize("inside", ["//x", "/*x*/", ",]", ", }", '\\"//', "\\\\", '\\",]'])
def test_what_looks_like_a_comment_or_comma_inside_a_string_is_kept(inside: str) -> None:
    """The message repeats the string as it stands in the file."""
    written = json.loads(f'"{inside}"')

    assert problems_of('{"LOG_DATA": "' + inside + '"}') == [
        f"c.json: LOG_DATA: {json.dumps(written)} {NOT_BOOL}".replace("\\", "\\\\")
    ]


@pytest.mark.parametrize("text", ["True", "true", "TRUE", " True "])
def test_true_may_be_text_in_any_case(text: str) -> None:
    """The same goes for false."""
    assert parse_config(json.dumps({"LOG_DATA": text}), "c.json").log_data is True
    no = json.dumps({"MONITOR_SERVER": text.lower().replace("true", "fALse")})
    assert parse_config(no, "c.json").monitor_server is False


@pytest.mark.parametrize("value", [1, 0, None, "yes", "", "Truee", [], {}, 1.0])
def test_other_values_are_neither_true_nor_false(value: Any) -> None:
    """No truthiness: 1 and "yes" are mistakes."""
    shown = {"[]": "a list", "{}": "an object"}.get(json.dumps(value), json.dumps(value))

    assert problems_of_value({"LOG_DATA": value}) == [f"c.json: LOG_DATA: {shown} {NOT_BOOL}"]


@pytest.mark.parametrize("written", ["true", "false", '"True"', '"False"'])
def test_json_booleans_and_texts_mean_the_same(written: str) -> None:
    """A switch under DISPLAY takes both."""
    display = parse_config('{"DISPLAY": {"Jitter": ' + written + "}}", "c.json").display

    assert (Display.JITTER in display) is ("rue" in written)


def test_what_display_does_not_name_is_on() -> None:
    """Only what is switched off is missing."""
    assert parse_config('{"DISPLAY": {"Goodput": "False"}}', "c.json").display == {
        Display.THROUGHPUT,
        Display.JITTER,
        Display.SEQUENCE,
    }


@pytest.mark.parametrize(
    ("written", "number"),
    [("5", 5), ('"5"', 5), ('"0x10"', 16), ('"0X1f"', 31), ('" 7 "', 7), ('"007"', 7), ("0", 0)],
)
def test_numbers_are_json_numbers_or_decimal_or_hex_strings(written: str, number: int) -> None:
    """All keys that take a number read it alike."""
    assert parse_config('{"OFFSET": ' + written + "}", "c.json").offset == number
    config = parse_config('{"SEQUENCE_THRESHOLD": ' + written + "}", "c.json")
    assert config.sequence_threshold == number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"), (None, "null"), (1.5, "1.5"), ("", '""'), ("five", '"five"'),
        ("0x", '"0x"'), ("1e3", '"1e3"'), ("1_0", '"1_0"'), ([4], "a list"), ({}, "an object"),
        ("0b1", '"0b1"'), (float("inf"), "Infinity"), ("9" * 17, f'"{"9" * 17}"'),
    ],
)  # fmt: skip
def test_other_values_are_no_numbers(value: Any, shown: str) -> None:
    """A float, a boolean or an empty text is a mistake."""
    assert problems_of_value({"OFFSET": value}) == [f"c.json: OFFSET: {shown} {NOT_INTEGER}"]


@pytest.mark.parametrize(
    ("key", "good", "bad", "bounds"),
    [
        ("PATTERN", 0xFFFFFFFF, 0x100000000, "0..4294967295"),
        ("PATTERN", 0, -1, "0..4294967295"),
        ("OFFSET", -1, -2, "-1..65535"),
        ("OFFSET", 65535, 65536, "-1..65535"),
        ("SEQUENCE_THRESHOLD", 0, -1, "0..2147483647"),
        ("SEQUENCE_THRESHOLD", 2147483647, 2147483648, "0..2147483647"),
    ],
)
def test_numbers_have_bounds(key: str, good: int, bad: int, bounds: str) -> None:
    """The last good one and the first bad one."""
    offset = {} if key == "OFFSET" else {"OFFSET": 0}

    parse_config(json.dumps({**offset, key: good}), "c.json")
    assert problems_of_value({**offset, key: bad}) == [f"c.json: {key}: {bad} is not in {bounds}"]


@pytest.mark.parametrize(
    ("pattern", "offset", "expected"),
    [
        ("0xE7A5C318", 4, (0xE7A5C318, 4)),
        ("0xe7a5c318", "0", (0xE7A5C318, 0)),
        (3886400280, 4, (0xE7A5C318, 4)),
        ("0xFFFFFFFF", 4, (None, 4)),
        ("4294967295", 0, (None, 0)),
        ("0xFFFFFFFF", -1, (None, None)),
        (0, 0, (0, 0)),
    ],
)
def test_pattern_and_offset_say_where_the_number_stands(
    pattern: Any, offset: Any, expected: tuple[int | None, int | None]
) -> None:
    """0xFFFFFFFF is no pattern, -1 no offset; a pattern of zeros is one."""
    config = parse_config(json.dumps({"PATTERN": pattern, "OFFSET": offset}), "c.json")

    assert (config.pattern, config.offset) == expected


@pytest.mark.parametrize("text", ['{"PATTERN": 7}', '{"PATTERN": "0x7", "OFFSET": -1}'])
def test_a_pattern_needs_an_offset(text: str) -> None:
    """What the number's distance from the pattern is cannot be guessed."""
    assert problems_of(text) == [
        "c.json: OFFSET: PATTERN needs an OFFSET of at least 0, the bytes from the pattern's "
        "first byte to the sequence number"
    ]


def test_without_an_offset_only_tcp_has_sequence_statistics() -> None:
    """UDP and ICMP carry no number of their own."""
    measured = [Config().measures(Display.SEQUENCE, protocol) for protocol in Protocol]
    with_offset = [Config(offset=0).measures(Display.SEQUENCE, protocol) for protocol in Protocol]

    assert (measured, with_offset) == ([True, False, False], [True, True, True])


def test_what_is_off_is_measured_for_no_protocol() -> None:
    """The packet count, which has no switch, is measured always."""
    off = Config(display=frozenset(), offset=0)

    assert not any(off.measures(display, Protocol.TCP) for display in Display)
    assert off.measures(None, Protocol.TCP)


@pytest.mark.parametrize(
    ("rules", "reads"),
    [([], False), (["1.1.1.1 - - - TCP"], False), (["- - - - -", "- - - 80 -"], True)],
)
def test_rules_read_ports_if_one_of_them_asks_for_a_port(rules: list[str], reads: bool) -> None:  # noqa: FBT001
    """An address or a protocol is no port."""
    assert Config(rules=tuple(map(parse_rule, rules))).reads_ports() is reads


def test_a_rule_may_be_an_object_with_a_name() -> None:
    """The name is kept beside the rule's text; it may be left out."""
    rules = [{"name": "voice", "match": "10.0.0.1 - - 5060 UDP"}, {"match": "- - - - TCP"}]
    config = parse_config(json.dumps({"RULES": rules}), "c.json")

    assert [(rule.name, rule.text) for rule in config.rules] == [
        ("voice", "10.0.0.1 - - 5060 UDP"),
        (None, "- - - - TCP"),
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "RULES[0]: 5 is neither a rule's text nor an object with name and match"),
        ([], "RULES[0]: a list is neither a rule's text nor an object with name and match"),
        (None, "RULES[0]: null is neither a rule's text nor an object with name and match"),
        ({}, "RULES[0]: no match, the rule's five fields"),
        ({"name": "a"}, "RULES[0]: no match, the rule's five fields"),
        ({"match": 5}, "RULES[0].match: 5 is not a rule's text"),
        ({"name": 5, "match": "- - - - -"}, "RULES[0].name: 5 is not a name"),
        ({"name": "a b", "match": "- - - - -"}, "RULES[0].name: name 'a b' is not 1 to 64 of "
         "the characters A-Z a-z 0-9 _ . -"),
        ({"name": "a\nb", "match": "- - - - -"}, "RULES[0].name: name 'a\\nb' is not 1 to 64 of "
         "the characters A-Z a-z 0-9 _ . -"),
        ({"nam": "a", "match": "- - - - -"}, "RULES[0]: unknown key 'nam', did you mean name?"),
        ({"match": "- - - 70000 -"}, "RULES[0].match: destination port 70000 is not in 0-65535"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_named_by_its_place(value: Any, problem: str) -> None:
    """The place goes down to the member."""
    assert problems_of_value({"RULES": [value]}) == [f"c.json: {problem}"]


def test_names_of_rules_are_unique() -> None:
    """The second use of a name says where the first is; rules without a name are no clash."""
    named = {"name": "a", "match": "- - - - -"}

    assert problems_of_value({"RULES": [named, "- - - - -", "- - - - -", named]}) == [
        "c.json: RULES[3]: name 'a' is that of RULES[0] already"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"RULE": []}', "unknown key 'RULE', did you mean RULES?"),
        ('{"rules": []}', "unknown key 'rules', did you mean RULES?"),
        ('{"log_dat": []}', "unknown key 'log_dat', did you mean LOG_DATA?"),
        ('{"SEQUENCE_TRESHOLD": 2}', "unknown key 'SEQUENCE_TRESHOLD', did you mean "
         "SEQUENCE_THRESHOLD?"),
        ('{"DISPLAY": {"jitter": 1}}', "DISPLAY: unknown key 'jitter', did you mean Jitter?"),
        ('{"DISPLAY": {"RTT": 1}}', "DISPLAY: unknown key 'RTT', known are Throughput, Goodput, "
         "Jitter, SEQ_ERRORS"),
        ('{"Q": 1}', "unknown key 'Q', known are RULES, DISPLAY, PATTERN, OFFSET, "
         "SEQUENCE_THRESHOLD, MONITOR_SERVER, LOG_DATA"),
        ('{"a\\nb\\u001b[2J": 1}', "unknown key 'a\\nb\\x1b[2J', known are RULES, DISPLAY, "
         "PATTERN, OFFSET, SEQUENCE_THRESHOLD, MONITOR_SERVER, LOG_DATA"),
        ('{"OFFSET": 1, "OFFSET": 1}', "OFFSET: given twice, keep one"),
        ('{"DISPLAY": {"Jitter": true, "Jitter": true}}', "DISPLAY.Jitter: given twice, keep one"),
        ('{"RULES": {}}', "RULES: an object instead of a list of rules"),
        ('{"RULES": "- - - - -"}', 'RULES: "- - - - -" instead of a list of rules'),
        ('{"RULES": null}', "RULES: null instead of a list of rules"),
        ('{"DISPLAY": []}', "DISPLAY: a list instead of an object {...}"),
        ('{"DISPLAY": "True"}', 'DISPLAY: "True" instead of an object {...}'),
        ("[]", "a list instead of an object {...}"),
        ("null", "null instead of an object {...}"),
        ('"x"', '"x" instead of an object {...}'),
        ("", "line 1 column 1: not JSON: expecting value"),
        ("{", "line 1 column 2: not JSON: expecting property name enclosed in double quotes"),
        ('{"OFFSET": 1}\n\n  x', "line 3 column 3: not JSON: extra data"),
        ('// one\n/* two\n   three */ {"OFFSET": 4 5}', "line 3 column 26: not JSON: "
         "expecting ',' delimiter"),
        ('{"OFFSET": 1 /* no end }', "line 1 column 14: not JSON: expecting ',' delimiter"),
        ('{"RULES": [,]}', "line 1 column 12: not JSON: expecting value"),
        ('{"RULES": [\n/* */, ]}', "line 2 column 6: not JSON: expecting value"),
        ("{,}", "line 1 column 2: not JSON: expecting property name enclosed in double quotes"),
        ("[" * 100_000, "not JSON: nested too deeply or a number too long"),
    ],
)  # fmt: skip
def test_a_problem_has_its_place(text: str, problem: str) -> None:
    """Of JSON itself, of keys and of types."""
    assert problems_of(text) == [f"c.json: {problem}"]


def test_all_problems_of_a_file_are_reported_at_once() -> None:
    """In the file's order, each with its place."""
    text = """{
        "RULES": ["- - - - -", 7, {"name": "a b", "match": "1.1.1 - - 70000 -"}, "x"],
        "DISPLAY": {"Jitter": 2, "Goodputt": "True"},
        "PATTERN": "E7", "OFFSET": -5, "OFFSETS": 1,
        "LOG_DATA": "maybe", "LOG_DATA": "True"
    }"""

    assert problems_of(text) == [
        "c.json: RULES[1]: 7 is neither a rule's text nor an object with name and match",
        "c.json: RULES[2].name: name 'a b' is not 1 to 64 of the characters A-Z a-z 0-9 _ . -",
        "c.json: RULES[2].match: source address '1.1.1' is not an IPv4 or IPv6 address or prefix",
        "c.json: RULES[2].match: destination port 70000 is not in 0-65535",
        "c.json: RULES[3]: 'x' has 1 fields instead of 5: source address, destination address, "
        "source port, destination port, protocol",
        f"c.json: DISPLAY.Jitter: 2 {NOT_BOOL}",
        "c.json: DISPLAY: unknown key 'Goodputt', did you mean Goodput?",
        f'c.json: PATTERN: "E7" {NOT_INTEGER}',
        "c.json: OFFSET: -5 is not in -1..65535",
        "c.json: unknown key 'OFFSETS', did you mean OFFSET?",
        f'c.json: LOG_DATA: "maybe" {NOT_BOOL}',
        "c.json: LOG_DATA: given twice, keep one",
    ]


def test_a_long_value_is_cut_in_the_middle_so_that_the_reason_stays() -> None:
    """What is wrong stands at the end of a message."""
    (problem,) = problems_of_value({"LOG_DATA": "x" * 1000})

    assert len(problem) < 300
    assert problem.startswith('c.json: LOG_DATA: "xxx')
    assert problem.endswith(f'xxx" {NOT_BOOL}')


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """Windows editors put one before the text."""
    path = tmp_path / "c.json"
    path.write_bytes(b'\xef\xbb\xbf{"OFFSET": 4}')

    assert load_config(str(path)).offset == 4


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """UTF-16 and binaries are named by the first wrong byte."""
    path = tmp_path / "c.json"
    path.write_bytes(b'{"OFFSET": \xff\xfe}')

    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert str(caught.value) == f"{path}: byte 11 is not UTF-8 text"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nonexistent/c.json", "no such file or directory"), (".", "is a directory")],
)
def test_a_file_that_cannot_be_read_is_said_with_the_cure(path: str, reason: str) -> None:
    """The path is shown as typed."""
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == (
        f"cannot read configuration {path}: {reason}; name a readable file with -conf"
    )


EVIL = [
    '"); system("id',
    "1; } int evil(void) { return 1",
    "1\n#define EVIL 1\n",
    "*/ evil(); /*",
    "\\\n#include </etc/shadow>",
    "{{evil}} %s {evil}",
    "\u2028evil\u0000evil\u0085",
    "evil\r\x1b[2Jevil",
    "?" * 5000 + "evil",
]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize(
    "document",
    [
        {"RULES": ["EVIL - - - -"]},
        {"RULES": ["- - EVIL - -"]},
        {"RULES": ["- - - - [TCP,EVIL]"]},
        {"RULES": ["fe80::1%EVIL - - - -"]},
        {"RULES": ["::/EVIL - - - -"]},
        {"RULES": [{"name": "EVIL", "match": "- - - - -"}]},
        {"RULES": [{"EVIL": "x", "match": "- - - - -"}]},
        {"PATTERN": "0xEVIL"},
        {"OFFSET": "EVIL"},
        {"SEQUENCE_THRESHOLD": "2 EVIL"},
        {"LOG_DATA": "EVIL"},
        {"EVIL": 1},
    ],
    ids=str,
)
def test_text_of_the_configuration_never_reaches_c(document: dict[str, Any], evil: str) -> None:
    """It is refused, in messages of one line each without a control character."""
    text = json.dumps(document).replace("EVIL", json.dumps(evil)[1:-1])

    for problem in problems_of(text):
        assert problem.isprintable()
        assert problem.isascii()


def test_a_rules_name_is_not_in_the_program() -> None:
    """A good name is for people; the program knows rules by number."""
    named = {"name": "vOiCe", "match": "- - - 5060 UDP"}
    config = parse_config(json.dumps({"RULES": [named]}), "c.json")

    assert "vOiCe" not in generate_source(config, 1)


def test_random_documents_raise_nothing_but_config_errors() -> None:
    """3000 documents of known keys with odd values, and as many damaged texts."""
    seeded = random.Random(20261122)
    keys = ["RULES", "DISPLAY", "PATTERN", "OFFSET", "SEQUENCE_THRESHOLD", "MONITOR_SERVER",
            "LOG_DATA", "name", "match", "Jitter", "", "\ud800", "\x00"]  # fmt: skip
    scalars = [None, True, -1, 2**70, 1e308, float("nan"), "", "0x1", "- - - - -", "! [", "\ud800",
               "True", "a" * 300, "\n"]  # fmt: skip

    def value(depth: int) -> Any:
        kind = seeded.randrange(4 if depth else 2)
        if kind < 2:
            return seeded.choice(scalars)
        members = [value(depth - 1) for _ in range(seeded.randint(0, 4))]
        return members if kind == 2 else {seeded.choice(keys): member for member in members}

    good = 0
    problems: set[str] = set()
    for _ in range(3000):
        text = json.dumps({key: value(3) for key in seeded.sample(keys, seeded.randint(0, 3))})
        damaged = list(text)
        for _ in range(3):
            damaged.insert(seeded.randint(0, len(damaged)), seeded.choice(list('"{}[],/*\\:\n9é')))
        for candidate in (text, "".join(damaged)):
            try:
                generate_source(parse_config(candidate, "c.json"), 1)
                good += 1
            except ConfigError as error:  # noqa: PERF203
                problems.update(error.problems)

    assert all(problem.isprintable() for problem in problems)
    assert len(problems) > 1000
    assert good > 10
