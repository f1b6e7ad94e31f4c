"""Frames that the kernel merged from several packets count as the packets they were."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import Tag, ethernet, ipv4, ipv6, tcp, udp
from tests.support.kernel import TCP, UDP, make_config

if TYPE_CHECKING:
    from tests.kernel.conftest import Load

HOP_BY_HOP_JUMBO = 0xC2  # RFC 2675, option 194: the real length, which 16 bits cannot hold


def one_frame(kernel_load: Load, frame: bytes, segs: int, size: int) -> tuple[object, int]:
    """Send one merged frame; returns outcomes and merged packets."""
    kernel = kernel_load(make_config())
    kernel.send(frame, gso_segs=segs, gso_size=size)
    return kernel.outcomes(), kernel.interface().merged


@pytest.mark.parametrize(
    ("network", "headers"),
    [
        pytest.param(lambda l4: ethernet(ipv4(l4)), 14 + 20, id="IPv4"),
        pytest.param(lambda l4: ethernet(ipv6(l4)), 14 + 40, id="IPv6"),
        pytest.param(lambda l4: ethernet(ipv4(l4), tags=[Tag(7)]), 18 + 20, id="VLAN"),
        pytest.param(lambda l4: ethernet(ipv6(l4), tags=[Tag(7)] * 2), 22 + 40, id="QinQ"),
        pytest.param(lambda l4: ethernet(ipv4(l4, options=bytes(12))), 14 + 32, id="options"),
    ],
)
@pytest.mark.parametrize(
    ("segs", "payload"), [(1, 100), (2, 101), (2, 200), (17, 1700), (30, 2999)]
)
def test_packets_as_on_the_wire(
    load: Load, network: object, headers: int, segs: int, payload: int
) -> None:
    """N packets, each with the headers of the first, and no payload byte more than there was."""
    for protocol, l4, l4_header in (
        ("TCP", tcp(bytes(payload)), 20),
        (
            "TCP",
            tcp(bytes(payload), options=[("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)]),
            32,
        ),
        ("UDP", udp(bytes(payload)), 8),
    ):
        frame = network(l4)  # type: ignore[operator]
        wire_bytes = segs * (headers + l4_header) + payload

        assert len(frame) == headers + l4_header + payload
        assert one_frame(load, frame, segs, 100) == (
            {protocol: (segs, wire_bytes, payload)},
            segs if segs > 1 else 0,
        )


@pytest.mark.parametrize(
    ("payload", "size", "segs"),
    [(0, 100, 1), (1, 100, 1), (100, 100, 1), (101, 100, 2), (2900, 1448, 3), (2896, 1448, 2)],
)
def test_frame_of_a_virtual_machine(load: Load, payload: int, size: int, segs: int) -> None:
    """Where only the size of a segment is told (gso_segs 0) their number follows from it."""
    outcome, merged = one_frame(load, ethernet(ipv4(tcp(bytes(payload)))), 0, size)

    assert outcome == {"TCP": (segs, segs * 54 + payload, payload)}
    assert merged == (segs if segs > 1 else 0)


def test_segments_without_size(load: Load) -> None:
    """A frame that is not merged (gso_size 0) is one packet, whatever gso_segs says."""
    outcome, merged = one_frame(load, ethernet(ipv4(tcp(bytes(500)))), 5, 0)

    assert (outcome, merged) == ({"TCP": (1, 554, 500)}, 0)


def test_one_gap_and_one_number(load: Load) -> None:
    """The times and numbers between merged packets are lost, not invented."""
    kernel = load(make_config())
    kernel.send(ethernet(ipv4(tcp(bytes(300), seq=1))), gso_segs=3, gso_size=100)
    kernel.send(ethernet(ipv4(tcp(bytes(300), seq=2))), gso_segs=3, gso_size=100)

    counters = kernel.counters(TCP)
    assert (counters["packets"], counters["gaps"], counters["sequence_packets"]) == (6, 1, 2)
    assert counters["sequence_small"] == counters["sequence_big"] == 0
    assert kernel.interface().merged == 6


def test_unmatched_packets(load: Load) -> None:
    """Merged packets that no rule matches are unmatched one by one, and not merged ones of ours."""
    kernel = load(make_config("- - - - UDP"))
    kernel.send(ethernet(ipv4(tcp(bytes(300)))), gso_segs=3, gso_size=100)

    assert kernel.outcomes() == {"unmatched": 3}
    assert kernel.interface().merged == 0


def big_tcp(network: bytes, zero_at: int) -> bytes:
    """Set the 16-bit IP length to 0, as in merged packets of more than 65535 bytes."""
    return network[:zero_at] + b"\0\0" + network[zero_at + 2 :]


@pytest.mark.parametrize(
    ("frame", "headers"),
    [
        pytest.param(big_tcp(ethernet(ipv4(tcp(bytes(3000)))), 14 + 2), 54, id="IPv4"),
        pytest.param(big_tcp(ethernet(ipv6(tcp(bytes(3000)))), 14 + 4), 74, id="IPv6"),
    ],
)
def test_big_tcp(load: Load, frame: bytes, headers: int) -> None:
    """An IP length of 0 in a merged frame means: to its end; in another it is malformed."""
    outcome, merged = one_frame(load, frame, 3, 1000)

    assert (outcome, merged) == ({"TCP": (3, 3 * headers + 3000, 3000)}, 3)
    assert one_frame(load, frame, 0, 0) == ({"malformed": 1}, 0)


def test_big_tcp_with_jumbo_option(load: Load) -> None:
    """The hop-by-hop header that Linux puts into merged IPv6 frames was never on the wire."""
    segment = bytes(tcp(bytes(3000)))
    jumbo = struct.pack("!BBBBI", 6, 0, HOP_BY_HOP_JUMBO, 4, 8 + len(segment))
    frame = big_tcp(ethernet(ipv6(jumbo + segment, l4_proto=0)), 14 + 4)
    outcome, merged = one_frame(load, frame, 3, 1000)

    assert (outcome, merged) == ({"TCP": (3, 3 * 74 + 3000, 3000)}, 3)


def test_number_is_that_of_the_first_packet(load: Load) -> None:
    """Nothing is read behind the first packet's end: there stand the others' payloads."""
    kernel = load(make_config(offset=96))
    for number, size in ((1, 100), (2, 99), (3, 200)):
        payload = bytes(96) + struct.pack("!I", number) + bytes(200)
        kernel.send(ethernet(ipv4(udp(payload))), gso_segs=3, gso_size=size)

    assert kernel.stream(UDP).sequence_number == 3
    assert kernel.counters(UDP)["sequence_packets"] == 2


def test_pattern_is_that_of_the_first_packet(load: Load) -> None:
    """The second packet's pattern is not the first one's, nor is its number."""
    kernel = load(make_config(pattern=0xE7A5C318, offset=4))
    for number, size in ((1, 108), (2, 107), (3, 100), (4, 101)):
        payload = bytes(100) + struct.pack("!II", 0xE7A5C318, number) + bytes(200)
        kernel.send(ethernet(ipv4(udp(payload))), gso_segs=4, gso_size=size)

    assert kernel.stream(UDP).sequence_number == 1
    assert kernel.counters(UDP)["sequence_packets"] == 1
