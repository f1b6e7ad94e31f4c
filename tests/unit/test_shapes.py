"""Many rules become few tables, and the rest is compared."""

from __future__ import annotations

import ipaddress
import struct

from vtap.rules import Protocol, parse_rule
from vtap.shapes import MIN_ENTRIES, PORTS, Part, divide_rules, fill_filters, start_filters

ALL = 0xFFFFFFFF


def rules_of(pattern: str, count: int) -> list[str]:
    return [pattern.format(number) for number in range(count)]


def divide(texts: list[str]):  # noqa: ANN201
    return divide_rules([parse_rule(text) for text in texts])


def test_a_handful_is_compared() -> None:
    """Below the bound no table is made, from the bound on nothing is compared."""
    few = divide(rules_of("10.0.0.{} - - - -", MIN_ENTRIES - 1))
    many = divide(rules_of("10.0.0.{} - - - -", MIN_ENTRIES))

    assert (len(few.tables), len(few.compared)) == (0, MIN_ENTRIES - 1)
    assert (len(many.tables), len(many.compared)) == (1, 0)


def test_the_key_holds_what_the_rules_set() -> None:
    """Addresses stand in network byte order, both ports share a word, the protocol is no word."""
    (table,) = divide(rules_of("10.0.0.{} 192.168.0.0/16 7 9 UDP", MIN_ENTRIES)).tables

    assert table.shape == (
        Part("saddr", 4, (ALL,)),
        Part("daddr", 4, (0xFFFF0000,)),
        Part("protocol", 0, (), Protocol.UDP),
        Part(PORTS, 0, (ALL,)),
    )
    key = bytes([10, 0, 0, 3, 192, 168, 0, 0]) + struct.pack("=I", 7 << 16 | 9)
    assert table.entries[key] == 3


def test_an_ipv6_prefix_has_the_words_it_reaches_into() -> None:
    """A /48 has two words, the second in half."""
    (table,) = divide(rules_of("2001:db8:{}::/48 - - - -", MIN_ENTRIES)).tables

    assert table.shape == (Part("saddr", 6, (ALL, 0xFFFF0000)),)
    assert table.entries[ipaddress.ip_address("2001:db8:5::").packed[:8]] == 5


def test_the_first_of_equal_rules_keeps_the_key() -> None:
    """A rule that repeats an earlier one never replaces its number."""
    texts = rules_of("10.0.0.{} - - - -", MIN_ENTRIES)
    (table,) = divide(texts + texts).tables

    assert sorted(table.entries.values()) == list(range(MIN_ENTRIES))


def test_lists_are_multiplied_out() -> None:
    """A rule with two addresses and two ports is four entries of one rule."""
    (table,) = divide(rules_of("[10.0.{0}.1,10.0.{0}.2] - - [53,67] -", MIN_ENTRIES)).tables

    assert len(table.entries) == 4 * MIN_ENTRIES
    assert sorted(set(table.entries.values())) == list(range(MIN_ENTRIES))


def test_ranges_negations_and_empty_rules_are_compared() -> None:
    """What no single key stands for is compared, under its own number."""
    odd = ["- - 1-2 - -", "!10.0.0.1 - - - -", "- - - - -", "- - 5-5 - -"]
    division = divide(rules_of("- - {} - -", MIN_ENTRIES) + odd)

    assert [number for number, _ in division.compared] == [8, 9, 10]
    assert division.tables[0].entries[struct.pack("=I", 5)] == 5


def test_a_rule_of_two_shapes_is_looked_up_only_if_both_have_tables() -> None:
    """A list of a host and a prefix is of two shapes."""
    hosts = rules_of("10.0.0.{} - - - -", MIN_ENTRIES)
    mixed = "[10.1.0.1,10.2.0.0/16] - - - -"

    assert [number for number, _ in divide([*hosts, mixed]).compared] == [MIN_ENTRIES]
    prefixes = rules_of("10.{}.0.0/16 - - - -", MIN_ENTRIES)
    assert divide([*hosts, *prefixes, mixed]).compared == ()


def test_rules_without_a_value_for_a_key_are_compared() -> None:
    """Of a protocol or a prefix of length 0 nothing stands in a key, and no key is empty."""
    division = divide(["- - - - UDP"] * MIN_ENTRIES + ["0.0.0.0/0 - - - TCP"] * MIN_ENTRIES)
    assert (len(division.tables), len(division.compared)) == (0, 2 * MIN_ENTRIES)

    assert len(divide(rules_of("- - {} - UDP", MIN_ENTRIES)).tables) == 1
    assert len(divide(rules_of("10.0.0.{} 0.0.0.0/0 - - -", MIN_ENTRIES)).tables) == 1


def test_a_filter_has_the_bit_of_every_key_and_few_others() -> None:
    """16 bits an entry or more; each table's words follow those of the table before."""
    hosts = [f"10.1.{number // 250}.{number % 250} - - - -" for number in range(1000)]
    tables = divide(hosts + rules_of("- - {} - -", MIN_ENTRIES)).tables
    words = fill_filters(tables)

    assert [table.filter_bits for table in tables] == [14, 7]
    assert start_filters(tables) == [0, 256, 258]
    assert max(words) < 258
    for table, start, most in zip(tables, start_filters(tables), (1000, MIN_ENTRIES)):
        positions = table.filter_positions()
        assert 0 < len(positions) <= most
        assert all(words[start + position // 64] >> position % 64 & 1 for position in positions)
    assert sum(f"{word:b}".count("1") for word in words.values()) == sum(
        len(table.filter_positions()) for table in tables
    )


def test_the_smallest_filter_is_a_word() -> None:
    """Rules that repeat each other are one key."""
    tables = divide(["10.0.0.1 - - - -"] * MIN_ENTRIES + rules_of("- - {} - -", MIN_ENTRIES)).tables

    assert tables[0].filter_bits == 6
    assert start_filters(tables) == [0, 1, 3]
