"""VLAN x IP version x protocol x fragment: each frame's packets, bytes and payload are exact.

Frames are put together from bytes here, so that what a header says and how long it is are one
table; frames.py, which knows no such odd headers, makes the addresses' part.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.frames import Tag, ethernet, ipv4, ipv6
from tests.support.kernel import UDP, Kernel, make_config
from tests.support.netns import Namespace, veth_pair

if TYPE_CHECKING:
    from tests.kernel.conftest import Load

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
MOBILITY, HOST_IDENTITY, SHIM6 = 135, 139, 140
NO_NEXT_HEADER, ESP = 59, 50
MAX_EXTENSIONS = 6
MAX_TAGS = 4
EVERYTHING = make_config(offset=4)

TAGS = {
    "no tag": (),
    "802.1Q": (Tag(7),),
    "priority tag": (Tag(0, 7),),
    "QinQ": (Tag(100, ethertype=0x88A8), Tag(7)),
    "QinQ 0x9100": (Tag(100, ethertype=0x9100), Tag(7)),
    "3 tags": (Tag(4095, ethertype=0x88A8), Tag(2), Tag(3)),
    "4 tags": (Tag(1, ethertype=0x88A8), Tag(2, ethertype=0x9100), Tag(3), Tag(4)),
    "5 tags": (Tag(1), Tag(2), Tag(3), Tag(4), Tag(5)),
}
FRAGMENTS = {
    "whole": (0, False),
    "first": (0, True),
    "middle": (1480, True),
    "last": (65528 - 512, False),
}


class Transport(NamedTuple):
    """A transport header; payload follows."""

    protocol: str
    header: bytes

    def number(self, family: int) -> int:
        """Return the IP protocol number."""
        return {"TCP": 6, "UDP": 17, "ICMP": 1 if family == 4 else 58}[self.protocol]


def tcp_header(words: int) -> bytes:
    header = struct.pack("!HHIIBBHHH", 1001, 2002, 7, 0, words << 4, 0x10, 100, 0, 0)
    return header + bytes(words * 4 - 20)


TRANSPORTS = [
    Transport("TCP", tcp_header(5)),
    Transport("TCP", tcp_header(8)),
    Transport("TCP", tcp_header(15)),
    Transport("UDP", struct.pack("!HHHH", 1001, 2002, 0, 0)),
    Transport("ICMP", struct.pack("!BBHHH", 8, 0, 0, 1, 1)),
]


def extension(kind: int, following: int, offset: int = 0, *, more: bool = False) -> bytes:
    """Make an IPv6 extension header of a length that its kind is known for."""
    if kind == FRAGMENT:
        return struct.pack("!BBHI", following, 0xEE, offset | more, 0x1234)
    if kind == AUTHENTICATION:  # in words, less 2 (RFC 4302 section 2.2): 24 bytes with SHA-1
        return struct.pack("!BB22x", following, 4)
    length = {HOP_BY_HOP: 8, ROUTING: 24, DESTINATION: 264, HOST_IDENTITY: 40}.get(kind, 16)
    return struct.pack(f"!BB{length - 2}x", following, length // 8 - 1)


def chain(kinds: tuple[int, ...], last: int, offset: int = 0, *, more: bool = False) -> bytes:
    """Make the headers one after another; the last one is followed by `last`."""
    following = [*kinds[1:], last]
    return b"".join(
        extension(kind, after, offset, more=more) for kind, after in zip(kinds, following)
    )


class Network(NamedTuple):
    """An IP header with what stands between it and the transport."""

    family: int
    option_words: int = 0
    extensions: tuple[int, ...] = ()

    def headers(self, *, fragmented: bool) -> tuple[int, ...]:
        """Name the extension headers."""
        if fragmented and FRAGMENT not in self.extensions:
            return (*self.extensions, FRAGMENT)
        return self.extensions

    def build(
        self, content: bytes, l4_proto: int, offset: int, *, more: bool
    ) -> tuple[object, int]:
        """Return the packet and the bytes before the content."""
        if self.family == 4:
            options = b"\x01" * (4 * self.option_words)
            packet = ipv4(
                content,
                l4_proto=l4_proto,
                fragment_offset=offset,
                more_fragments=more,
                options=options,
            )
            return packet, 20 + len(options)
        kinds = self.headers(fragmented=bool(offset or more))
        headers = chain(kinds, l4_proto, offset, more=more)
        return ipv6(headers + content, l4_proto=[*kinds, l4_proto][0]), 40 + len(headers)


NETWORKS = [
    *(Network(4, words) for words in range(11)),
    Network(6),
    *(
        Network(6, 0, (kind,))
        for kind in (
            HOP_BY_HOP,
            ROUTING,
            FRAGMENT,
            AUTHENTICATION,
            DESTINATION,
            MOBILITY,
            HOST_IDENTITY,
            SHIM6,
        )
    ),
    *(
        Network(
            6,
            0,
            (HOP_BY_HOP, DESTINATION, ROUTING, AUTHENTICATION, MOBILITY, SHIM6, HOST_IDENTITY)[:n],
        )
        for n in range(2, 8)
    ),
    Network(6, 0, (AUTHENTICATION,) * 6),
]


def name_network(network: Network) -> str:
    if network.family == 4:
        return f"IPv4 with {network.option_words} words of options"
    return "IPv6 " + "-".join(str(kind) for kind in network.extensions)


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("network", NETWORKS, ids=name_network)
def test_product(load: Load, tags: tuple[Tag, ...], network: Network) -> None:
    """Each transport, whole and in fragments, with and without padding."""
    kernel = load(EVERYTHING)
    for transport in TRANSPORTS:
        for fragment, (offset, more) in FRAGMENTS.items():
            for payload, padding in ((0, 9), (1, 0), (46, 3), (513, 0)):
                content = bytes(payload) if offset else transport.header + bytes(payload)
                if offset and not payload:
                    continue  # a later fragment has content
                packet, before = network.build(
                    content, transport.number(network.family), offset, more=more
                )
                frame = ethernet(packet, tags=tags) + bytes(padding)
                assert len(frame) == 14 + 4 * len(tags) + before + len(content) + padding
                extensions = network.headers(fragmented=bool(offset or more))
                if len(tags) > MAX_TAGS:
                    expected: dict[str, object] = {"too_many_tags": 1}
                elif network.family == 6 and len(extensions) > MAX_EXTENSIONS:
                    expected = {"too_many_extensions": 1}
                else:
                    expected = {transport.protocol: (1, len(frame), payload)}
                kernel.reset()
                kernel.send(frame)

                assert kernel.outcomes() == expected, (transport, fragment, payload)


def outcome(kernel: Kernel, frame: bytes) -> dict[str, object]:
    kernel.reset()
    kernel.send(frame)
    return kernel.outcomes()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        *(
            pytest.param(ethernet(bytes(46), ethertype=ethertype), "not_ip", id=f"{ethertype:#06x}")
            for ethertype in (
                0x0000,
                0x002E,
                0x0806,
                0x0801,
                0x8101,
                0x86DC,
                0x8847,
                0x8864,
                0x88CC,
            )
        ),
        pytest.param(
            ethernet(bytes(46), tags=[Tag(1)], ethertype=0x0806), "not_ip", id="tagged ARP"
        ),
        pytest.param(
            ethernet(bytes(46), tags=TAGS["4 tags"], ethertype=0x0806), "not_ip", id="4 tags, ARP"
        ),
        *(
            pytest.param(
                ethernet(ipv4(bytes(40), l4_proto=number)), "other_protocol", id=f"IPv4 {number}"
            )
            for number in (0, 2, 5, 7, 16, 18, 47, ESP, AUTHENTICATION, 58, 89, 132, 255)
        ),
        *(
            pytest.param(
                ethernet(ipv6(bytes(40), l4_proto=number)), "other_protocol", id=f"IPv6 {number}"
            )
            for number in (1, 2, 5, 7, 16, 18, 47, ESP, NO_NEXT_HEADER, 57, 89, 132, 255)
        ),
        pytest.param(
            ethernet(ipv6(chain((HOP_BY_HOP, ROUTING), NO_NEXT_HEADER), l4_proto=HOP_BY_HOP)),
            "other_protocol",
            id="nothing behind extensions",
        ),
        pytest.param(
            ethernet(ipv6(chain((FRAGMENT,), DESTINATION, 64) + bytes(64), l4_proto=FRAGMENT)),
            "other_protocol",
            id="later fragment of an extension header",
        ),
    ],
)
def test_other_packets(load: Load, frame: bytes, reason: str) -> None:
    """What is neither TCP, UDP nor ICMP over IP is counted by its reason and in no stream."""
    assert outcome(load(EVERYTHING), frame) == {reason: 1}


def test_protocol_numbers_of_the_other_version(load: Load) -> None:
    """All 256 numbers: of each IP version exactly three have a stream, or lead on to one."""
    kernel = load(EVERYTHING)
    content = tcp_header(5) + bytes(40)  # as an extension header: 1002 bytes, too long for this
    named: dict[int, dict[int, str]] = {4: {}, 6: {}}
    for number in range(256):
        for family, build in ((4, ipv4), (6, ipv6)):
            found = outcome(kernel, ethernet(build(content, l4_proto=number)))
            assert len(found) == 1
            if "other_protocol" not in found:
                named[family][number] = next(iter(found))

    extensions = (HOP_BY_HOP, ROUTING, DESTINATION, MOBILITY, HOST_IDENTITY, SHIM6, AUTHENTICATION)
    assert named[4] == {1: "ICMP", 6: "TCP", 17: "UDP"}
    assert named[6] == {
        6: "TCP",
        17: "UDP",
        58: "ICMP",
        **dict.fromkeys(extensions, "malformed"),
    }


def test_interfaces_are_counted_apart(load: Load, namespace: Namespace) -> None:
    """Three programmed interfaces have streams, orders and reasons of their own; another none."""
    kernel = load(EVERYTHING, interfaces=3)
    udp = TRANSPORTS[3].header
    arp = ethernet(bytes(46), ethertype=0x0806)
    with veth_pair("packets", namespace) as one, veth_pair("packets", namespace) as two:
        indexes = [one.left.ifindex, two.right.ifindex, two.left.ifindex]
        for slot, ifindex in enumerate(indexes):
            kernel.set_interface(slot, ifindex)

        def numbered(number: int) -> bytes:
            return ethernet(ipv4(udp + struct.pack("!4xI", number), l4_proto=17))

        def send() -> None:
            for number in range(1, 7):
                for slot, ifindex in enumerate(indexes):
                    kernel.send(numbered(number * (slot + 1)), ifindex=ifindex)
                kernel.send(numbered(99), ifindex=one.right.ifindex)
            kernel.send(numbered(99))  # the loopback interface
            kernel.send(arp, arp, ifindex=indexes[1])

        namespace.call(send)

    streams = [kernel.stream(UDP, name) for name in "abc"]
    assert [stream.counters["packets"] for stream in streams] == [6, 6, 6]
    assert [stream.counters["gaps"] for stream in streams] == [5, 5, 5]
    assert [stream.counters["sequence_small"] for stream in streams] == [0, 5, 0]
    assert [stream.counters["sequence_big"] for stream in streams] == [0, 0, 5]
    assert [stream.sequence_number for stream in streams] == [6, 12, 18]
    assert [kernel.interface(name).unparsed["not_ip"] for name in "abc"] == [0, 2, 0]
