"""Truncated, padded and nonsense frames: an outcome and a counter, never a wrong number."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import (
    Tag,
    destination_options,
    ethernet,
    fragment_header,
    hop_by_hop,
    icmp,
    icmpv6,
    ipv4,
    ipv6,
    routing,
    tcp,
    udp,
)
from tests.support.kernel import ICMP, TCP, UDP, Kernel, make_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Load

ETHERNET, TAGGED = 14, 18
TAG = [Tag(7)]
PATTERN = 0xE7A5C318
CONFIGS = {
    "everything": make_config(offset=4),
    "pattern": make_config(offset=8, pattern=PATTERN),
    "rules on ports": make_config("10.0.0.1 - 1-2000 - -", "2001:db8::/32 - - - -", offset=0),
}
PAYLOAD = bytes(range(50))
TCP_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]

# With a tag in front a test run takes any length from 14 bytes on.
WHOLE = {
    "TCP": (ethernet(ipv4(tcp(PAYLOAD, options=TCP_OPTIONS)), tags=TAG), "TCP"),
    "UDP": (ethernet(ipv4(udp(PAYLOAD)), tags=TAG), "UDP"),
    "ICMP": (ethernet(ipv4(icmp(PAYLOAD)), tags=TAG), "ICMP"),
    "IPv4 options": (ethernet(ipv4(udp(PAYLOAD), options=bytes(24)), tags=TAG), "UDP"),
    "TCP over IPv6": (ethernet(ipv6(tcp(PAYLOAD)), tags=TAG * 4), "TCP"),
    "UDP over IPv6": (ethernet(ipv6(udp(PAYLOAD)), tags=TAG), "UDP"),
    "ICMPv6": (ethernet(ipv6(icmpv6(PAYLOAD)), tags=TAG), "ICMP"),
    "extensions": (
        ethernet(
            ipv6(
                udp(PAYLOAD),
                extensions=[
                    hop_by_hop(),
                    destination_options(16),
                    routing("::1"),
                    fragment_header(),
                ],
            ),
            tags=TAG,
        ),
        "UDP",
    ),
    "later fragment": (
        ethernet(ipv4(PAYLOAD, l4_proto=17, fragment_offset=8), tags=TAG),
        "UDP",
    ),
}


def patch(frame: bytes, at: int, changed: bytes) -> bytes:
    return frame[:at] + changed + frame[at + len(changed) :]


def outcome(kernel: Kernel, frame: bytes) -> dict[str, object]:
    kernel.reset()
    kernel.send(frame)
    return kernel.outcomes()


def count_all(kernel: Kernel) -> int:
    """Add up every place where a frame may be counted."""
    interface = kernel.interface()
    streams = sum(kernel.counters(protocol)["packets"] for protocol in (TCP, UDP, ICMP))
    return streams + interface.unmatched + sum(interface.unparsed.values())


@pytest.mark.parametrize(("frame", "protocol"), WHOLE.values(), ids=WHOLE)
def test_truncated_at_every_length(load: Load, frame: bytes, protocol: str) -> None:
    """A frame shorter than its headers or its IP length says so, and is in no stream."""
    kernel = load(CONFIGS["everything"])
    for length in range(ETHERNET, len(frame)):
        assert outcome(kernel, frame[:length]) == {"truncated": 1}, length

    (name, (packets, length, _)), *rest = outcome(kernel, frame).items()
    assert (name, packets, length, rest) == (protocol, 1, len(frame), [])


@pytest.mark.parametrize(("frame", "protocol"), WHOLE.values(), ids=WHOLE)
def test_ip_length_cut_at_every_length(load: Load, frame: bytes, protocol: str) -> None:
    """Where the IP length itself ends within a header the packet is malformed; within the
    payload it is a shorter one, and the rest of the frame is padding.
    """
    kernel = load(CONFIGS["everything"])
    ((_, (_, _, payload)),) = outcome(kernel, frame).items()
    tags = 4 if protocol == "TCP" and frame[TAGGED - 2 : TAGGED] == b"\x81\x00" else 1
    network = ETHERNET + 4 * tags
    is_ipv4 = frame[network] >> 4 == 4
    whole = len(frame) - network
    for cut in range(whole + 1):
        if is_ipv4:
            changed = patch(frame, network + 2, struct.pack("!H", whole - cut))
        elif cut <= whole - 40:
            changed = patch(frame, network + 4, struct.pack("!H", whole - 40 - cut))
        else:
            break
        left = payload - cut
        expected = {protocol: (1, len(frame), left)} if left >= 0 else {"malformed": 1}
        assert outcome(kernel, changed) == expected, cut


@pytest.mark.parametrize("padding", [*range(1, 20), 46, 512, 1500])
def test_padding_is_no_payload(load: Load, padding: int) -> None:
    """What stands behind the IP length is part of the frame alone."""
    kernel = load(CONFIGS["everything"])
    for frame, protocol in WHOLE.values():
        ((_, (_, _, payload)),) = outcome(kernel, frame).items()

        padded = frame + b"\xff" * padding
        assert outcome(kernel, padded) == {protocol: (1, len(padded), payload)}


UDP4, UDP6, TCP4 = (WHOLE[name][0] for name in ("UDP", "UDP over IPv6", "TCP"))
VERSION = TAGGED
IPV4_LENGTH = TAGGED + 2
IPV6_LENGTH = TAGGED + 4
DATA_OFFSET = TAGGED + 20 + 12
EMPTY = ethernet(ipv4(udp()), tags=TAG)


def extension(length: int, rest: int) -> bytes:
    """Make destination options of that length field, and so many bytes from there on."""
    return ethernet(ipv6(bytes([17, length]) + bytes(rest), l4_proto=60), tags=TAG)


MALFORMED = {
    **{f"version {v} as IPv4": patch(UDP4, VERSION, bytes([v << 4 | 5])) for v in range(16)},
    **{f"version {v} as IPv6": patch(UDP6, VERSION, bytes([v << 4])) for v in range(16)},
    **{f"IPv4 header of {n} words": patch(UDP4, VERSION, bytes([0x40 | n])) for n in range(5)},
    **{f"data offset {n}": patch(TCP4, DATA_OFFSET, bytes([n << 4])) for n in range(5)},
    "IPv4 header longer than the packet": patch(EMPTY, VERSION, b"\x48"),
    "total length 0": patch(UDP4, IPV4_LENGTH, b"\0\0"),
    "total length 19": patch(UDP4, IPV4_LENGTH, b"\0\x13"),
    "payload length 0": patch(UDP6, IPV6_LENGTH, b"\0\0"),
    "data offset behind the end": patch(
        ethernet(ipv4(tcp(bytes(39))), tags=TAG), DATA_OFFSET, b"\xf0"
    ),
    "first fragment of 8 bytes of TCP (RFC 1858)": ethernet(
        ipv4(bytes(8), l4_proto=6, more_fragments=True), tags=TAG
    ),
    "extension header behind the end": extension(255, 100),
    "extension header of 7 bytes": extension(0, 5),
    "nothing behind an extension header": extension(0, 6),
    "no transport header": ethernet(ipv4(b"", l4_proto=17), tags=TAG),
}
del MALFORMED["version 4 as IPv4"], MALFORMED["version 6 as IPv6"]
NONSENSE = {
    **{name: (frame, "malformed") for name, frame in MALFORMED.items()},
    "total length 65535": (patch(UDP4, IPV4_LENGTH, b"\xff\xff"), "truncated"),
    "payload length 65535": (patch(UDP6, IPV6_LENGTH, b"\xff\xff"), "truncated"),
    "no tag behind its ethertype": (ethernet(b"", ethertype=0x8100), "truncated"),
    "half a tag": (ethernet(b"\0\7\x08", ethertype=0x8100), "truncated"),
    "Ethernet header alone": (ethernet(b"", ethertype=0x0806), "not_ip"),
}


@pytest.mark.parametrize(("frame", "reason"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense(load: Load, frame: bytes, reason: str) -> None:
    """Headers that contradict themselves or the frame's length have their reason."""
    for config in CONFIGS.values():
        assert outcome(load(config), frame) == {reason: 1}


def test_data_offset_to_the_end(load: Load) -> None:
    """A TCP header that fills the packet leaves no payload; a word less leaves 4 bytes."""
    kernel = load(CONFIGS["everything"])
    frame = ethernet(ipv4(tcp(bytes(40))))
    at = ETHERNET + 20 + 12

    assert outcome(kernel, patch(frame, at, b"\xf0")) == {"TCP": (1, 94, 0)}
    assert outcome(kernel, patch(frame, at, b"\xe0")) == {"TCP": (1, 94, 4)}


def mutated(chooser: random.Random, frames: list[bytes]) -> bytes:
    """Change some bytes of a good frame, most of them in its headers, and perhaps cut it."""
    frame = bytearray(chooser.choice(frames))
    for _ in range(chooser.randrange(1, 6)):
        frame[chooser.randrange(12, min(len(frame), 80))] = chooser.choice(
            (chooser.randrange(256), 0, 0xFF, 0x81, 0x86, 0x08, 0x45, 0x60, 6, 17, 58, 44)
        )
    if chooser.random() < 0.3:
        del frame[chooser.randrange(58, len(frame) + 1) :]
    return bytes(frame)


def random_frames(chooser: random.Random, count: int) -> Iterator[bytes]:
    good = [frame for frame, _ in WHOLE.values()] + [ethernet(ipv4(udp(PAYLOAD * 20)))]
    ethertypes = (b"\x08\0", b"\x86\xdd", b"\x81\0", b"\x88\xa8", b"\x91\0")
    for _ in range(count):
        if chooser.random() < 0.5:
            yield mutated(chooser, good)
            continue
        frame = bytearray(chooser.randbytes(chooser.randrange(54, 400)))
        frame[12:14] = chooser.choice(ethertypes)
        if chooser.random() < 0.7:
            frame[14:16] = chooser.choice((b"\x45\0", b"\x46\0", b"\x60\0", frame[14:16]))
            frame[16:18] = chooser.choice((*ethertypes, struct.pack("!H", len(frame) - 14)))
        yield bytes(frame)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_frames(load: Load, seed: int, config: object) -> None:
    """Of thousands of random frames each has exactly one outcome."""
    kernel = load(config)
    chooser = random.Random(seed)
    for sent, frame in enumerate(random_frames(chooser, 2000), 1):
        kernel.send(frame)
        assert count_all(kernel) == sent, frame.hex()

    outcomes = kernel.outcomes()
    known = {"TCP", "UDP", "ICMP", "not_ip", "other_protocol", "truncated", "malformed"}
    assert known <= set(outcomes)  # the frames were not all alike
    for name in ("TCP", "UDP", "ICMP"):
        packets, length, payload = outcomes[name]  # type: ignore[misc]
        assert 0 <= payload < length <= packets * 1100
