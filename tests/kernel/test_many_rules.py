"""Thousands of rules of several shapes: each is found by what it asks for."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, ipv4, ipv6, tcp, udp
from tests.support.kernel import TCP, UDP, make_config
from vtap.codegen import FILTERS, make_rule_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.conftest import Load

RULES_OF_A_SHAPE = 1250

# A rule of each shape and a packet that it alone matches, from a number; every packet is UDP, from
# 10.200.x.x, IPv6 or not, unless the shape asks for something else.
SHAPES: list[tuple[Callable[[int], str], Callable[[int], bytes]]] = [
    (lambda n: f"{v4(1, n)} - - - -", lambda n: packet(saddr=v4(1, n))),
    (lambda n: f"- {v4(2, n)} - - -", lambda n: packet(daddr=v4(2, n))),
    (lambda n: f"- - {10000 + n} - -", lambda n: packet(sport=10000 + n)),
    (lambda n: f"- - - {20000 + n} UDP", lambda n: packet(dport=20000 + n)),
    (lambda n: f"- - {n} {n + 1} -", lambda n: packet(sport=n, dport=n + 1)),
    (lambda n: f"{v4(3, n)} - - 7 -", lambda n: packet(saddr=v4(3, n), dport=7)),
    (lambda n: f"{v4(4, n)}/31 - - - -", lambda n: packet(saddr=v4(4, n + n % 2))),
    (lambda n: f"2001:db8:{n:x}::/48 - - - -", lambda n: packet6(saddr=f"2001:db8:{n:x}::5")),
]


def v4(second: int, number: int) -> str:
    """Even addresses, so that a prefix of 31 bits is one."""
    return f"10.{second}.{number // 125}.{number % 125 * 2}"


def packet(
    saddr: str = "10.200.0.1", daddr: str = "10.200.0.2", sport: int = 60001, dport: int = 60002
) -> bytes:
    return ethernet(ipv4(udp(sport=sport, dport=dport), saddr=saddr, daddr=daddr))


def packet6(saddr: str) -> bytes:
    return ethernet(ipv6(udp(sport=60001, dport=60002), saddr=saddr))


def test_each_of_ten_thousand_rules_of_eight_shapes_is_found(load: Load) -> None:
    """First, last and 20 others of every shape match; the numbers just outside do not."""
    numbers = range(1, RULES_OF_A_SHAPE + 1)
    rules = [rule(number) for rule, _ in SHAPES for number in numbers]
    kernel = load(make_config(*rules))
    chosen = random.Random(6).sample(numbers[1:-1], 20)

    for _, make_packet in SHAPES:
        for number in (numbers[0], *chosen, numbers[-1]):
            kernel.send(make_packet(number))
        for number in (numbers[0] - 1, numbers[-1] + 1):
            kernel.send(make_packet(number))

    assert kernel.counters(UDP)["packets"] == len(SHAPES) * 22
    assert kernel.interface().unmatched == len(SHAPES) * 2


def test_a_key_whose_bit_is_another_ones_is_looked_up_and_not_found(load: Load) -> None:
    """A filter says "perhaps": some of many keys have the bit of one in the table."""
    rules = [f"{v4(1, n)} - - - -" for n in range(64)] + [f"- - - {n} -" for n in range(64)]
    kernel = load(make_config(*rules))
    words = make_rule_tables(make_config(*rules))[FILTERS].values()
    assert sum(f"{word:b}".count("1") for word in words) > 64

    for number in range(64, 1064):
        kernel.send(packet(saddr=v4(9, number), dport=number))

    assert kernel.interface().unmatched == 1000
    assert kernel.counters(UDP)["packets"] == 0


@pytest.mark.parametrize("first", ["table", "comparison"])
def test_a_packet_that_several_tables_and_a_comparison_match_is_counted_once(
    load: Load, first: str
) -> None:
    """Whichever rule comes first; what only one of them matches is counted, too."""
    hosts = [f"10.1.0.{n} - - - UDP" for n in range(8)]
    ports = [f"- - - {n} UDP" for n in range(8)]
    odd = ["- - - 1-5 UDP"]
    kernel = load(make_config(*(hosts + ports + odd if first == "table" else odd + hosts + ports)))

    kernel.send(packet(saddr="10.1.0.3", dport=3))
    kernel.send(packet(saddr="10.1.0.8", dport=3))
    kernel.send(packet(saddr="10.1.0.3", dport=9))
    kernel.send(packet(saddr="10.1.0.8", dport=9))
    kernel.send(ethernet(ipv4(tcp(dport=3), saddr="10.1.0.3")))

    assert kernel.counters(UDP)["packets"] == 3
    assert kernel.counters(TCP)["packets"] == 0
    assert kernel.interface().unmatched == 2
