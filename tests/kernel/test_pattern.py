"""The pattern: found at any place of the payload, nowhere else, and only its first occurrence."""

from __future__ import annotations

import os
import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp
from tests.support.kernel import ICMP, LONGEST_FRAME, TCP, UDP, Kernel, make_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Load

PATTERN = 0xE7A5C318
OFFSET = 6
NUMBER = 0x01020304
LONGEST_PAYLOAD = LONGEST_FRAME - 14 - 20 - 8

# The search goes through the payload in chunks of 1024 bytes, each 1021 after the one before.
ALIGNMENTS = range(16)
BORDERS = [*range(1013, 1033), *range(2034, 2051), *range(3055, 3072)]


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Keep the test on one CPU: what a search leaves in memory is the next one's on that CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


def marked(pattern: int = PATTERN, number: int = NUMBER, offset: int = OFFSET) -> bytes:
    """Make a pattern with its number `offset` bytes after the pattern's first one."""
    return struct.pack("!I", pattern) + bytes(offset - 4) + struct.pack("!I", number)


def find_number(payload: bytes, pattern: int, offset: int) -> int | None:
    """Read the number as the contract says."""
    found = payload.find(struct.pack("!I", pattern))
    number = payload[found + offset : found + offset + 4]
    return int.from_bytes(number, "big") if found >= 0 and len(number) == 4 else None


def noise(length: int) -> bytes:
    """Make bytes of which each but the pattern's last occurs, in an order with partial matches."""
    return (b"\xe7\xa5\xc3\xe7\xa5\xe7\xe7\xc3\x00\xff" * (length // 10 + 1))[:length]


def number_in(kernel: Kernel, payload: bytes) -> int | None:
    """Send a datagram of this payload alone and return the number that was found."""
    kernel.reset()
    kernel.send(ethernet(ipv4(udp(payload))))
    found = kernel.stream(UDP).sequence_number
    counters = kernel.counters(UDP)
    assert (counters["packets"], counters["payload_bytes"]) == (1, len(payload))
    assert counters["sequence_packets"] == (found is not None)
    return found


@pytest.mark.parametrize("position", [*ALIGNMENTS, *BORDERS])
def test_position(load: Load, position: int) -> None:
    """At each place the number is found, also as the payload's last bytes, not one byte short."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    payload = noise(position) + marked()

    assert number_in(kernel, payload + noise(200)) == NUMBER
    assert number_in(kernel, payload) == NUMBER
    for missing in range(1, len(marked()) + 1):
        assert number_in(kernel, payload[:-missing]) is None


def test_every_position_of_a_full_frame(load: Load) -> None:
    """Nothing is overlooked in the longest payload of a test run, nor found one byte too late."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    template = bytearray(ethernet(ipv4(udp(bytes(LONGEST_PAYLOAD)))))
    start = len(template) - LONGEST_PAYLOAD
    last = LONGEST_PAYLOAD - len(marked())
    for position in range(last + 5):
        frame = template[:]
        frame[start + position :] = (marked(number=position) + bytes(LONGEST_PAYLOAD))[
            : LONGEST_PAYLOAD - position
        ]
        kernel.send(bytes(frame))
        assert kernel.stream(UDP).sequence_number == min(position, last)

    assert kernel.counters(UDP)["sequence_packets"] == last + 1


@pytest.mark.parametrize("length", [0, 1, 3, 4, 9, 10, 11, 1021, 1024, 1025, 2042, 3670])
def test_absent(load: Load, length: int) -> None:
    """A payload without the pattern has no number, whatever parts of the pattern it has."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))

    assert number_in(kernel, bytes(length)) is None
    assert number_in(kernel, noise(length)) is None
    assert number_in(kernel, struct.pack("!I", PATTERN)[::-1] * (length // 4)) is None


@pytest.mark.parametrize(
    "near",
    [PATTERN ^ 1 << bit for bit in range(32)],
    ids=lambda near: f"{near:#010x}",
)
def test_one_bit_off(load: Load, near: int) -> None:
    """What differs from the pattern in one bit is not the pattern."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))

    assert number_in(kernel, bytes(5) + marked(near, 1) + bytes(30)) is None
    assert number_in(kernel, bytes(5) + marked(near, 1) + marked(PATTERN, 2)) == 2


def test_first_of_two(load: Load) -> None:
    """The first occurrence counts, near or far from the second, in one word or in two chunks."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    for before in (0, 3, 1000, 1015, 1021):
        for between in (0, 1, 2, 5, 8, 1024, 2000):
            payload = bytes(before) + marked(number=1) + bytes(between) + marked(number=2)

            assert number_in(kernel, payload) == 1


def test_cut_off_first_of_two(load: Load) -> None:
    """Where the first occurrence's number is cut off there is none: no second one is tried."""
    kernel = load(make_config(pattern=PATTERN, offset=40))
    payload = struct.pack("!I", PATTERN) + bytes(20) + struct.pack("!I", PATTERN) + bytes(15)

    assert number_in(kernel, payload) is None
    assert number_in(kernel, payload + b"\x09") == 9


@pytest.mark.parametrize("pattern", [0, 0x11111111, 0xAAAAAAAA, 0x80808080, 0x01010101, 0xFFFFFFFE])
def test_pattern_of_equal_bytes(load: Load, pattern: int) -> None:
    """A pattern that overlaps with itself starts at the first byte of its first run of four."""
    kernel = load(make_config(pattern=pattern, offset=8))
    four = struct.pack("!I", pattern)
    other = bytes([four[0] ^ 0x81])
    for before in (0, 1, 2, 3, 6, 7, 8, 1019, 1020, 1021, 1022):
        for run in (3, 4, 5, 6, 7, 8, 11):
            shorter = (four[:3] + other) * 2
            start = shorter + other * before
            payload = start + (four * 3)[:run] + bytes(range(0x20, 0x30)) + four * 3

            assert number_in(kernel, payload) == find_number(payload, pattern, 8)


@pytest.mark.parametrize("offset", [0, 1, 3, 4, 5, 100, 1500])
def test_offset(load: Load, offset: int) -> None:
    """OFFSET counts from the pattern's first byte, so 0 reads the pattern itself."""
    kernel = load(make_config(pattern=PATTERN, offset=offset))
    for before in (0, 5, 1021, 1500):
        payload = noise(before) + struct.pack("!I", PATTERN) + random.Random(offset).randbytes(1600)

        assert number_in(kernel, payload) == find_number(payload, PATTERN, offset)
        for end in (before + offset + 3, before + offset + 4):
            length = max(end, before + 4)
            assert number_in(kernel, payload[:length]) == find_number(
                payload[:length], PATTERN, offset
            )


@pytest.mark.parametrize("pattern", [0xABCDEF00, 0xABCDFF00, 0xABFFFF00, 0xABCDEFFF])
@pytest.mark.parametrize("begun", [1, 2, 3])
@pytest.mark.parametrize("end", [1024, 1024 + 1021])
def test_begun_at_the_end_of_a_chunk(load: Load, pattern: int, begun: int, end: int) -> None:
    """What goes on otherwise in the next chunk is no pattern, whatever the memory behind holds."""
    kernel = load(make_config(pattern=pattern, offset=OFFSET))
    payload = bytes([1]) * (end - begun) + struct.pack("!I", pattern)[:begun] + bytes([2]) * 40

    assert number_in(kernel, payload) is None
    assert number_in(kernel, payload + marked(pattern)) == NUMBER


@pytest.mark.usefixtures("one_cpu")
@pytest.mark.parametrize("length", [4, 10, 11, 12, 13, 14, 15, 16, 500, 1018, 1019, 1020, 1021])
def test_stale_bytes(load: Load, length: int) -> None:
    """The bytes of an earlier, longer packet are no part of a later one, not even as its
    pattern's end.
    """
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    pattern = struct.pack("!I", PATTERN)
    for behind in range(-4, 12):
        position = max(0, length + behind)
        longer = bytes(position) + marked() + bytes(20)
        for shorter in (longer[:length], bytes(length), bytes(length - 3) + pattern[:3]):
            assert number_in(kernel, longer) == NUMBER
            kernel.send(ethernet(ipv4(udp(shorter))))

        assert kernel.counters(UDP)["sequence_packets"] == 1


@pytest.mark.parametrize("kept", range(11))
def test_padding(load: Load, kept: int) -> None:
    """Behind the IP length there is no payload: neither pattern nor number is taken from there."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    trailer = marked()
    kernel.send(ethernet(ipv4(udp(bytes(5) + trailer[:kept]))) + trailer[kept:] + bytes(9))

    expected = NUMBER if kept == len(trailer) else None
    assert kernel.stream(UDP).sequence_number == expected


def test_padding_completes_nothing(load: Load) -> None:
    """A pattern that starts in the payload and ends in the padding is none."""
    kernel = load(make_config(pattern=PATTERN, offset=0))
    pattern = struct.pack("!I", PATTERN)
    for inside in range(4):
        kernel.send(ethernet(ipv4(udp(pattern[:inside]))) + pattern[inside:] + bytes(20))

    assert kernel.counters(UDP)["sequence_packets"] == 0


def test_headers_are_not_searched(load: Load) -> None:
    """The pattern in addresses, ports or options is not found."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    address = ".".join(str(byte) for byte in struct.pack("!I", PATTERN))
    kernel.send(
        ethernet(ipv4(udp(bytes(40)), saddr=address, daddr=address)),
        ethernet(ipv4(udp(bytes(40), sport=PATTERN >> 16, dport=PATTERN & 0xFFFF))),
        ethernet(ipv4(udp(bytes(40)), options=struct.pack("!BBI", 0x88, 6, PATTERN))),
    )

    counters = kernel.counters(UDP)
    assert (counters["packets"], counters["sequence_packets"]) == (3, 0)


def test_protocols(load: Load) -> None:
    """UDP, ICMP and ICMPv6 payloads are searched; TCP has its number in the header."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    payload = noise(33)
    kernel.send(
        ethernet(ipv4(tcp(payload + marked(number=1), seq=100))),
        ethernet(ipv4(udp(payload + marked(number=2)))),
        ethernet(ipv4(icmp(payload + marked(number=3)))),
    )
    assert [kernel.stream(p).sequence_number for p in (TCP, UDP, ICMP)] == [100, 2, 3]
    kernel.send(
        ethernet(ipv6(tcp(payload + marked(number=4), seq=200))),
        ethernet(ipv6(udp(payload + marked(number=5)))),
        ethernet(ipv6(icmpv6(payload + marked(number=6)))),
    )
    assert [kernel.stream(p).sequence_number for p in (TCP, UDP, ICMP)] == [200, 5, 6]


def test_later_fragment_is_not_searched(load: Load) -> None:
    """A later fragment's bytes are not the start of a payload."""
    kernel = load(make_config(pattern=PATTERN, offset=OFFSET))
    kernel.send(ethernet(ipv4(marked() * 4, l4_proto=17, fragment_offset=8)))

    counters = kernel.counters(UDP)
    assert (counters["packets"], counters["sequence_packets"]) == (1, 0)


@pytest.mark.parametrize("pattern", [PATTERN, 0x00000000, 0xA0A0A0A0, 0xA0A1A0A1, 0x80000080])
def test_random_payloads(load: Load, pattern: int) -> None:
    """Thousands of payloads made of the pattern's own bytes: found where Python finds it."""
    kernel = load(make_config(pattern=pattern, offset=5))
    chooser = random.Random(pattern)
    own = struct.pack("!I", pattern)
    alphabet = sorted({*own, own[3] ^ 1, own[0] ^ 0x80})
    found = 0
    last = None
    for _ in range(1500):
        length = chooser.choice((chooser.randrange(20), chooser.randrange(2500)))
        payload = bytes(chooser.choices(alphabet, k=length))
        if chooser.random() < 0.5:  # so that long ones without the pattern are common, too
            payload = payload.replace(own, bytes([alphabet[-1] ^ 1] * 4))
        number = find_number(payload, pattern, 5)
        found += number is not None
        last = last if number is None else number
        kernel.send(ethernet(ipv4(udp(payload))))
        assert kernel.stream(UDP).sequence_number == last

    assert kernel.counters(UDP)["sequence_packets"] == found
    assert 100 < found < 1400  # both outcomes were tried
