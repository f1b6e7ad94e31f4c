"""The rule language of config.json: what is accepted, and why the rest is not."""

from __future__ import annotations

import ipaddress
import random

import pytest

from vtap.rules import Condition, PortRange, Protocol, Rule, Value, parse_rule, parse_rule_name

FIELD_COUNT = (
    "has {} fields instead of 5: source address, destination address, source port, "
    "destination port, protocol"
)


def network(text: str) -> Value:
    return ipaddress.ip_network(text)


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_rule(text)
    return caught.value.args


def only_condition(text: str) -> Condition:
    (condition,) = parse_rule(text).conditions
    return condition


def test_five_single_values_are_five_conditions_in_field_order() -> None:
    """The seed's first example asks for every field."""
    rule = parse_rule("1.1.1.1 2.2.2.2 11 22 TCP")

    assert rule == Rule(
        None,
        "1.1.1.1 2.2.2.2 11 22 TCP",
        (
            Condition("saddr", (network("1.1.1.1/32"),), negated=False),
            Condition("daddr", (network("2.2.2.2/32"),), negated=False),
            Condition("sport", (PortRange(11, 11),), negated=False),
            Condition("dport", (PortRange(22, 22),), negated=False),
            Condition("protocol", (Protocol.TCP,), negated=False),
        ),
    )


def test_a_dash_is_no_condition() -> None:
    """`-` is anything: five of them match every packet."""
    assert parse_rule("- - - - -") == Rule(None, "- - - - -", ())


def test_a_list_is_met_by_any_of_its_values() -> None:
    """The seed's second example asks for one of two protocols."""
    rule = parse_rule("3.3.3.3 - - - [TCP,UDP]")

    assert [condition.member for condition in rule.conditions] == ["saddr", "protocol"]
    assert rule.conditions[1].values == (Protocol.TCP, Protocol.UDP)


@pytest.mark.parametrize(
    "text",
    [
        "  1.1.1.1   -\t-  -   [ TCP ,UDP ]  ",
        "1.1.1.1 - - - [TCP,UDP]",
        "1.1.1.1\n-\n-\n-\n[TCP,\nUDP]",
        "1.1.1.1 - - - [tcp,Udp,TCP]",
    ],
)
def test_blanks_case_and_repetition_do_not_matter(text: str) -> None:
    """Surplus blanks, within brackets too, lower case and a value given twice are accepted."""
    assert parse_rule(text).conditions == parse_rule("1.1.1.1 - - - [TCP,UDP]").conditions


def test_a_rule_is_shown_on_one_line_without_surplus_blanks() -> None:
    """The text kept for --check has no line break."""
    assert parse_rule("-  [1.1.1.1,\n 2.2.2.2] -\n- -").text == "- [1.1.1.1, 2.2.2.2] - - -"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        ("10.0.0.0/255.0.0.0", ["10.0.0.0/8"]),
        ("::1", ["::1/128"]),
        ("2001:DB8::/32", ["2001:db8::/32"]),
        ("[10.0.0.1,2001:db8::/33]", ["10.0.0.1/32", "2001:db8::/33"]),
    ],
)
def test_addresses_are_hosts_or_prefixes_of_both_versions(text: str, values: list[str]) -> None:
    """IPv4 and IPv6 may stand in one list."""
    assert only_condition(f"{text} - - - -").values == tuple(network(value) for value in values)


@pytest.mark.parametrize(
    ("text", "first", "last"), [("0", 0, 0), ("65535", 65535, 65535), ("1000-2000", 1000, 2000)]
)
def test_ports_are_numbers_or_ranges(text: str, first: int, last: int) -> None:
    """Both ends of a range are in it, 0 and 65535 are ports."""
    assert only_condition(f"- - {text} - -") == Condition(
        "sport", (PortRange(first, last),), negated=False
    )


@pytest.mark.parametrize("text", ["!1.1.1.1", "! 1.1.1.1", "![1.1.1.1]", "! [ 1.1.1.1 ]"])
def test_an_exclamation_mark_negates_a_field(text: str) -> None:
    """The mark may be followed by a blank and by a list."""
    assert only_condition(f"- {text} - - -") == Condition(
        "daddr", (network("1.1.1.1/32"),), negated=True
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' " + FIELD_COUNT.format(0)),
        ("- - - -", "'- - - -' " + FIELD_COUNT.format(4)),
        ("- - - - - -", "'- - - - - -' " + FIELD_COUNT.format(6)),
        ("-\n- - -", "'- - - -' " + FIELD_COUNT.format(4)),
        ("1.1.1 - - - -", "source address '1.1.1' is not an IPv4 or IPv6 address or prefix"),
        ("- 1.1.1.256 - - -", "destination address '1.1.1.256' is not an IPv4 or IPv6 "
         "address or prefix"),
        ("- 10.0.0.1/8 - - -", "destination address '10.0.0.1/8' has bits set behind its prefix, "
         "did you mean 10.0.0.0/8?"),
        ("- ::/129 - - -", "destination address '::/129' is not an IPv4 or IPv6 "
         "address or prefix"),
        ("fe80::1%eth0 - - - -", "source address 'fe80::1%eth0' has a zone behind its %, "
         "which no packet carries"),
        ("localhost - - - -", "source address 'localhost' is not an IPv4 or IPv6 "
         "address or prefix"),
        ("- - 65536 - -", "source port 65536 is not in 0-65535"),
        ("- - - 70000 -", "destination port 70000 is not in 0-65535"),
        ("- - -5 - -", "source port '-5' is not a range, two ports as in 1000-2000"),
        ("- - 5- - -", "source port '5-' is not a range, two ports as in 1000-2000"),
        ("- - 1-2-3 - -", "source port '2-3' is not a port, a number from 0 to 65535"),
        ("- - 2000-1000 - -", "source port range 2000-1000 ends before it starts, "
         "did you mean 1000-2000?"),
        ("- - 1000-70000 - -", "source port 70000 is not in 0-65535"),
        ("- - http - -", "source port 'http' is not a port, a number from 0 to 65535"),
        ("- - \u0661\u0662 - -", "source port '\u0661\u0662' is not a port, a number "
         "from 0 to 65535"),
        ("- - +1 - -", "source port '+1' is not a port, a number from 0 to 65535"),
        ("- - - - SCTP", "protocol 'SCTP' is not one of TCP, UDP, ICMP"),
        ("- - - - ICMPv6", "protocol 'ICMPv6' is not one of TCP, UDP, ICMP"),
        ("- - - - 6", "protocol '6' is not one of TCP, UDP, ICMP"),
        ("[] - - - -", "source address list is empty, write - for anything"),
        ("- - [ ] - -", "source port list is empty, write - for anything"),
        ("- - [1,,2] - -", "source port list has an empty item, leave it out"),
        ("- - [1,-] - -", "source port list has the item -, which is anything: "
         "write - instead of the list"),
        ("- - [1,!2] - -", "source port list has the item '!2', write the ! before the list"),
        ("!- - - - -", "source address !- excludes everything, write - for anything"),
        ("- - - - !", "brackets or ! out of place in '- - - - !'"),
        ("!!1.1.1.1 - - - -", "brackets or ! out of place in '!!1.1.1.1 - - - -'"),
        ("- - - -[TCP,UDP]", "brackets or ! out of place in '- - - -[TCP,UDP]'"),
        ("- - - - [TCP", "brackets or ! out of place in '- - - - [TCP'"),
        ("- - - - [[TCP]]", "brackets or ! out of place in '- - - - [[TCP]]'"),
        ("1.1.1.1 ::1 - - -", "matches nothing: source and destination are of "
         "different IP versions"),
        ("- - 80 - ICMP", "matches nothing: ICMP has no ports"),
        ("- - - !80 ![TCP,UDP]", "matches nothing: ICMP has no ports"),
        ("- - - - ![TCP,UDP,ICMP]", "matches nothing: every protocol is excluded"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(text: str, problem: str) -> None:
    """Each mistake has one message, which names the field and repeats what stands there."""
    assert problems_of(text) == (problem,)


@pytest.mark.parametrize(
    "text",
    [
        "[1.1.1.1,::1] ::1 - - -",
        "!1.1.1.1 ::1 - - -",
        "- - 80 - [ICMP,TCP]",
        "- - 80 - !TCP",
        "- - - - ![TCP,UDP]",
        "10.0.0.0/8 10.0.0.0/8 0-65535 0-65535 TCP",
    ],
)
def test_the_near_misses_of_a_contradiction_are_rules(text: str) -> None:
    """Only what no packet can ever meet is refused."""
    assert parse_rule(text).text == text


def test_all_problems_of_a_rule_are_found_at_once() -> None:
    """Each field, and each item of a list, is read even where another one is wrong."""
    assert problems_of("1.1.1 - [70000,x,5] 99999 IP") == (
        "source address '1.1.1' is not an IPv4 or IPv6 address or prefix",
        "source port 70000 is not in 0-65535",
        "source port 'x' is not a port, a number from 0 to 65535",
        "destination port 99999 is not in 0-65535",
        "protocol 'IP' is not one of TCP, UDP, ICMP",
    )


@pytest.mark.parametrize("name", ["voice", "A.b_c-9", "x" * 64, "-", "ALL"])
def test_names_are_made_of_few_characters(name: str) -> None:
    """Letters, digits, `_`, `.` and `-`, up to 64."""
    assert parse_rule_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "a b", "a\n", "gr\u00fcn", 'a"b', "a'b", "a;b", "a{b", "a\\b", "\ud800"]
)
def test_other_characters_make_no_name(name: str) -> None:
    """Nothing that could end a string, a line or a label gets through."""
    with pytest.raises(ValueError, match="is not 1 to 64 of the characters"):
        parse_rule_name(name)


def test_the_name_of_the_row_over_all_rules_is_taken() -> None:
    """`all` is the label of the sum."""
    with pytest.raises(ValueError, match="name 'all' is taken"):
        parse_rule_name("all")


def test_random_text_is_a_rule_or_a_value_error() -> None:
    """Nothing else comes out of 20 000 texts put together from what rules are made of."""
    seeded = random.Random(20261122)
    pieces = [*"![],-/: \n\t%0159a.", "1.1.1.1", "::1", "TCP", "65535", "- ", "- - - -", "[", "é"]
    rules = 0
    refused: set[object] = set()
    for _ in range(20_000):
        text = "".join(seeded.choices(pieces, k=seeded.randint(0, 9)))
        try:
            parse_rule(text)
        except ValueError as error:
            refused.update(error.args)
        else:
            rules += 1

    assert all(isinstance(problem, str) for problem in refused)
    assert len(refused) > 1000
    assert rules > 10  # the junk is near enough to the language to hit it
