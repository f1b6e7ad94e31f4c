"""Sequence errors: the table and the worked example of the contract, and where numbers stand."""

from __future__ import annotations

import itertools
import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import (
    Tag,
    ethernet,
    fragment_header,
    hop_by_hop,
    icmp,
    icmpv6,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from tests.support.kernel import ICMP, TCP, UDP, Kernel, make_config
from vtap.config import Display

if TYPE_CHECKING:
    from tests.kernel.conftest import Load
    from vtap.rules import Protocol

OFFSET = 4
BIGGEST = 2**31 - 1
BUILD = {
    TCP: lambda number: ethernet(ipv4(tcp(seq=number))),
    UDP: lambda number: ethernet(ipv4(udp(bytes(OFFSET) + pack(number)))),
    ICMP: lambda number: ethernet(ipv4(icmp(bytes(OFFSET) + pack(number)))),
}
NUMBER = 0x01020384
NETWORKS = [
    lambda payload: {
        UDP: ethernet(ipv4(udp(payload))),
        ICMP: ethernet(ipv4(icmp(payload))),
    },
    lambda payload: {
        UDP: ethernet(ipv6(udp(payload))),
        ICMP: ethernet(ipv6(icmpv6(payload)), tags=[Tag(7)]),
    },
    lambda payload: {
        UDP: ethernet(ipv4(udp(payload)), tags=[Tag(7)]),
        ICMP: ethernet(ipv4(icmp(payload), options=bytes(4))),
    },
    lambda payload: {
        UDP: ethernet(ipv6(udp(payload), extensions=[hop_by_hop()])),
        ICMP: ethernet(ipv6(icmpv6(payload), extensions=[fragment_header(more=True)])),
    },
]
KINDS = ("reverse", "small", "big")


def pack(number: int) -> bytes:
    return struct.pack("!I", number % 2**32)


def send_numbers(kernel: Kernel, protocol: Protocol, *numbers: int) -> None:
    kernel.send(*(BUILD[protocol](number % 2**32) for number in numbers))


def errors(kernel: Kernel, protocol: Protocol) -> tuple[int, ...]:
    """Read reverse, small, big."""
    counters = kernel.counters(protocol)
    return tuple(counters[f"sequence_{kind}"] for kind in KINDS)


def kind_of(step: int, threshold: int) -> str | None:
    """Tell the kind of an error as the contract's table does, or None: in order."""
    step = (step + 2**31) % 2**32 - 2**31
    if step == 1:
        return None
    if step < 0:
        return "reverse"
    return "small" if step == 0 or step <= threshold else "big"


@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_worked_example(load: Load, protocol: Protocol) -> None:
    """1 2 4 5 9 8 9 9 with threshold 2: count 8, reverse 1, small 2, big 1."""
    kernel = load(make_config(offset=OFFSET))
    send_numbers(kernel, protocol, 1, 2, 4, 5, 9, 8, 9, 9)

    assert errors(kernel, protocol) == (1, 2, 1)
    assert kernel.counters(protocol)["sequence_packets"] == 8
    assert kernel.stream(protocol).sequence_number == 9


@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
@pytest.mark.parametrize("threshold", [0, 1, 2, 3, 1000, BIGGEST])
def test_table(load: Load, protocol: Protocol, threshold: int) -> None:
    """Each step from each start, wrapping or not, is counted as one row of the table says."""
    kernel = load(make_config(offset=OFFSET, threshold=threshold))
    starts = [0, 1, 5, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
    near = {threshold - 1, threshold, threshold + 1}
    steps = sorted({0, 1, 2, 3, 4, 2**31 - 1, 2**31, -1, -2, -3, -1000} | near)
    for start, step in itertools.product(starts, steps):
        kernel.reset()
        send_numbers(kernel, protocol, start, start + step)
        expected = tuple(int(kind_of(step, threshold) == kind) for kind in KINDS)

        assert errors(kernel, protocol) == expected, (start, step)
        assert kernel.stream(protocol).sequence_number == (start + step) % 2**32


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        pytest.param([2**32 - 1, 0], (0, 0, 0), id="0 follows the last number"),
        pytest.param([2**32 - 2, 0], (0, 1, 0), id="one lost at the wrap"),
        pytest.param([2**32 - 3, 0], (0, 0, 1), id="two lost at the wrap"),
        pytest.param([0, 2**32 - 1], (1, 0, 0), id="back over the wrap"),
        pytest.param([2**32 - 1, 1, 0, 1, 2], (1, 1, 0), id="swapped at the wrap"),
        pytest.param([0, 2**31 - 1], (0, 0, 1), id="the largest step forward"),
        pytest.param([0, 2**31], (1, 0, 0), id="half of all numbers is backward"),
        pytest.param([2**31 - 1, 2**31], (0, 0, 0), id="over the sign bit"),
        pytest.param([2**31, 2**31 - 1], (1, 0, 0), id="back over the sign bit"),
        pytest.param([7, 7, 7], (0, 2, 0), id="repeated"),
        pytest.param([5, 4, 3], (2, 0, 0), id="descending"),
    ],
)
def test_wrap(load: Load, numbers: list[int], expected: tuple[int, ...]) -> None:
    """Steps are signed differences of 32 bits (RFC 1982)."""
    kernel = load(make_config(offset=OFFSET))
    send_numbers(kernel, UDP, *numbers)

    assert errors(kernel, UDP) == expected


@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
@pytest.mark.parametrize("first", [0, 1, 2**31, 2**32 - 1])
def test_first_packet_is_no_error(load: Load, protocol: Protocol, first: int) -> None:
    """Whatever its number, also 0: the packet after it is compared with it."""
    kernel = load(make_config(offset=OFFSET))

    assert kernel.stream(protocol).sequence_number is None
    send_numbers(kernel, protocol, first)
    assert errors(kernel, protocol) == (0, 0, 0)
    assert kernel.stream(protocol).sequence_number == first
    send_numbers(kernel, protocol, first)
    assert errors(kernel, protocol) == (0, 1, 0)


def test_random_numbers(load: Load) -> None:
    """Thousands of numbers of three protocols at once are counted as Python counts them."""
    kernel = load(make_config(offset=OFFSET, threshold=3))
    chooser = random.Random(20210617)
    last: dict[Protocol, int] = {}
    expected = {protocol: dict.fromkeys((None, *KINDS), 0) for protocol in (TCP, UDP, ICMP)}
    for _ in range(6000):
        protocol = chooser.choice((TCP, UDP, ICMP))
        step = chooser.choice((-2, -1, 0, 1, 2, 3, 4, 5, chooser.getrandbits(32)))
        number = (last.get(protocol, -5) + step) % 2**32
        kind = kind_of(number - last[protocol], 3) if protocol in last else None
        expected[protocol][kind] += 1
        last[protocol] = number
        send_numbers(kernel, protocol, number)

    for protocol, counts in expected.items():
        assert errors(kernel, protocol) == tuple(counts[kind] for kind in KINDS)
        assert kernel.counters(protocol)["sequence_packets"] == sum(counts.values())
        assert kernel.stream(protocol).sequence_number == last[protocol]


def test_protocols_are_independent(load: Load) -> None:
    """Numbers of one protocol are no step from those of another; IPv4 and IPv6 share a stream."""
    kernel = load(make_config(offset=OFFSET))
    for number in range(5):
        send_numbers(kernel, TCP, 1000 + number)
        send_numbers(kernel, UDP, 2000 + number)
        send_numbers(kernel, ICMP, 3000 + number)
    kernel.send(ethernet(ipv6(tcp(seq=1005))))
    kernel.send(ethernet(ipv6(udp(bytes(OFFSET) + pack(2006)))))
    kernel.send(ethernet(ipv6(icmpv6(bytes(OFFSET) + pack(3009)))))

    assert [errors(kernel, protocol) for protocol in (TCP, UDP, ICMP)] == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
    ]


# Where the number stands in the first bytes, which were read already, it is taken from there: up to
# OFFSET 28 in IPv4 and 8 in IPv6, without options.
@pytest.mark.parametrize(
    "offset", [*range(13), 26, 27, 28, 29, 30, 31, 32, 63, 64, 1021, 1400, 3500]
)
def test_offset(load: Load, offset: int) -> None:
    """The number stands OFFSET bytes into the payload; the payload may end with it, not within."""
    kernel = load(make_config(offset=offset))
    payload = bytes([0xA5]) * offset + pack(NUMBER)
    for build in NETWORKS:
        for protocol, whole in build(payload).items():
            kernel.reset()
            kernel.send(whole)
            assert kernel.stream(protocol).sequence_number == NUMBER
        for protocol, longer in build(payload + b"more").items():
            kernel.reset()
            kernel.send(longer)
            assert kernel.stream(protocol).sequence_number == NUMBER
        for protocol, short in build(payload[:-1]).items():
            kernel.reset()
            # The byte that is missing stands behind the IP length, as padding.
            kernel.send(short, short + payload[-1:] + bytes(60))
            assert kernel.stream(protocol).sequence_number is None
            counters = kernel.counters(protocol)
            assert (counters["packets"], counters["sequence_packets"]) == (2, 0)


def test_largest_offset(load: Load) -> None:
    """An OFFSET beyond every payload finds nothing, and nothing behind it."""
    kernel = load(make_config(offset=65535))
    kernel.send(ethernet(ipv4(udp(bytes(3000)))), ethernet(ipv4(udp())))

    assert kernel.counters(UDP)["packets"] == 2
    assert kernel.counters(UDP)["sequence_packets"] == 0


def test_packet_without_number_is_no_step(load: Load) -> None:
    """A payload too short for a number leaves the number of the packet before."""
    kernel = load(make_config(offset=OFFSET))
    send_numbers(kernel, UDP, 10)
    kernel.send(ethernet(ipv4(udp(b"short"))))
    send_numbers(kernel, UDP, 11)

    assert errors(kernel, UDP) == (0, 0, 0)
    counters = kernel.counters(UDP)
    assert (counters["packets"], counters["sequence_packets"]) == (3, 2)


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_later_fragment_has_no_number(load: Load, protocol: Protocol) -> None:
    """Only a first fragment carries the datagram's number; a later one is payload alone."""
    kernel = load(make_config(offset=OFFSET))
    l4_proto = 6 if protocol is TCP else 17
    transport = tcp(bytes(44), seq=77) if protocol is TCP else udp(bytes(4) + pack(77) + bytes(48))
    later = pack(5) * 16
    kernel.send(
        ethernet(ipv4(transport, more_fragments=True)),
        ethernet(ipv4(later, l4_proto=l4_proto, fragment_offset=64, more_fragments=True)),
        ethernet(ipv4(later, l4_proto=l4_proto, fragment_offset=128)),
    )

    counters = kernel.counters(protocol)
    assert (counters["packets"], counters["sequence_packets"]) == (3, 1)
    assert kernel.stream(protocol).sequence_number == 77
    assert errors(kernel, protocol) == (0, 0, 0)


def test_no_offset(load: Load) -> None:
    """With OFFSET -1 only TCP has numbers."""
    kernel = load(make_config())
    send_numbers(kernel, UDP, 1, 2, 4)
    send_numbers(kernel, ICMP, 1, 2, 4)
    send_numbers(kernel, TCP, 1, 2, 4)

    assert [kernel.counters(p)["sequence_packets"] for p in (TCP, UDP, ICMP)] == [3, 0, 0]
    assert kernel.stream(UDP).sequence_number is None


def test_sequence_without_the_rest(load: Load) -> None:
    """The worked example with nothing else measured."""
    kernel = load(make_config(display=[Display.SEQUENCE], offset=OFFSET))
    send_numbers(kernel, UDP, 1, 2, 4, 5, 9, 8, 9, 9)

    assert errors(kernel, UDP) == (1, 2, 1)
