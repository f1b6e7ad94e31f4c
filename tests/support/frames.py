"""Build frames with scapy, and send them from an interface.

A frame is composed as on the wire and ends as bytes: ethernet(ipv4(udp(b"payload")),
tags=[Tag(7)]). Whatever a test does not name has a default, so that a test shows what it is about.
Addresses of the Ethernet header are those of a veth pair's ends (netns.py).
"""

from __future__ import annotations

import struct
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.support.netns import LEFT_MAC, RIGHT_MAC

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.netns import Interface

SADDR, DADDR = "10.0.0.1", "10.0.0.2"
SADDR6, DADDR6 = "2001:db8::1", "2001:db8::2"  # RFC 3849
SPORT, DPORT = 1001, 2002

ETH_P_8021Q = 0x8100
ETH_P_8021AD = 0x88A8


class Tag(NamedTuple):
    """A VLAN tag, outermost first in a list of tags; `ethertype` is the one that announces the tag
    itself.
    """

    vlan_id: int
    priority: int = 0
    ethertype: int = ETH_P_8021Q


def ethernet(
    network: Packet | bytes,
    *,
    tags: Sequence[Tag] = (),
    source: str = LEFT_MAC,
    destination: str = RIGHT_MAC,
    ethertype: int | None = None,
    pad_to: int = 0,
) -> bytes:
    """Build a frame without FCS; `ethertype` is needed where `network` is bytes, `pad_to` is a
    length in bytes.
    """
    frame: Packet = Ether(src=source, dst=destination)
    for tag in tags:
        frame.lastlayer().type = tag.ethertype
        header = Dot1AD if tag.ethertype == ETH_P_8021AD else Dot1Q
        frame /= header(vlan=tag.vlan_id, prio=tag.priority)
    if ethertype is not None:
        frame.lastlayer().type = ethertype
    return bytes(frame / _layer(network)).ljust(pad_to, b"\0")


def ipv4(
    transport: Packet | bytes,
    *,
    saddr: str = SADDR,
    daddr: str = DADDR,
    ttl: int = 64,
    dscp: int = 0,
    l4_proto: int | None = None,
    options: bytes = b"",
    identification: int = 1,
    fragment_offset: int = 0,
    more_fragments: bool = False,
) -> Packet:
    """Build an IPv4 packet; `options` are padded to 4 bytes, `fragment_offset` is in bytes, a
    multiple of 8 (RFC 791).

    A later fragment has bytes instead of a transport header and names its `l4_proto`.
    """
    header = IP(
        src=saddr,
        dst=daddr,
        ttl=ttl,
        tos=dscp << 2,
        id=identification,
        frag=_eighths(fragment_offset),
        flags="MF" if more_fragments else 0,
        options=[IPOption(options)] if options else [],
    )
    if l4_proto is not None:
        header.proto = l4_proto
    return header / _layer(transport)


def ipv6(
    transport: Packet | bytes,
    *,
    saddr: str = SADDR6,
    daddr: str = DADDR6,
    hop_limit: int = 64,
    dscp: int = 0,
    l4_proto: int | None = None,
    extensions: Sequence[Packet] = (),
) -> Packet:
    """Build an IPv6 packet; `l4_proto` is the last next-header field, needed where bytes follow."""
    packet: Packet = IPv6(src=saddr, dst=daddr, hlim=hop_limit, tc=dscp << 2)
    for extension in extensions:
        packet /= extension
    if l4_proto is not None:
        packet.lastlayer().nh = l4_proto
    return packet / _layer(transport)


def hop_by_hop(length: int = 8) -> Packet:
    """Build a hop-by-hop options header of `length` bytes, a multiple of 8 (RFC 8200, 4.3)."""
    return IPv6ExtHdrHopByHop(options=_padding(length))


def destination_options(length: int = 8) -> Packet:
    """Build a destination options header of `length` bytes, a multiple of 8 (RFC 8200, 4.6)."""
    return IPv6ExtHdrDestOpt(options=_padding(length))


def routing(*addresses: str) -> Packet:
    """Build a routing header of type 0 with the addresses still to be visited (RFC 8200 section
    4.4).
    """
    return IPv6ExtHdrRouting(addresses=list(addresses))


def fragment_header(offset: int = 0, *, more: bool = False, identification: int = 1) -> Packet:
    """Build an IPv6 fragment header; `offset` is in bytes, a multiple of 8 (RFC 8200, 4.5)."""
    return IPv6ExtHdrFragment(offset=_eighths(offset), m=int(more), id=identification)


def tcp(
    payload: bytes = b"",
    *,
    sport: int = SPORT,
    dport: int = DPORT,
    seq: int = 0,
    flags: str = "A",
    options: Sequence[tuple[str, object]] = (),
) -> Packet:
    """Build a TCP segment; flags as letters (FSRPAUEC), options as scapy names them: [("MSS",
    1460)].
    """
    return TCP(sport=sport, dport=dport, seq=seq, flags=flags, options=list(options)) / _layer(
        payload
    )


def udp(payload: bytes = b"", *, sport: int = SPORT, dport: int = DPORT) -> Packet:
    """Build a UDP datagram."""
    return UDP(sport=sport, dport=dport) / _layer(payload)


def icmp(payload: bytes = b"", *, icmp_type: int = 8, icmp_code: int = 0) -> Packet:
    """Build an ICMP message, by default an echo request with identifier and number 1 (RFC 792)."""
    return ICMP(type=icmp_type, code=icmp_code, id=1, seq=1) / _layer(payload)


def icmpv6(payload: bytes = b"", *, icmp_type: int = 128, icmp_code: int = 0) -> Packet:
    """Build an ICMPv6 message, by default an echo request with identifier and number 1 (RFC 4443
    section 4.1).
    """
    return ICMPv6Unknown(type=icmp_type, code=icmp_code, msgbody=struct.pack("!HH", 1, 1) + payload)


def send_frames(
    interface: Interface, frames: Iterable[bytes], *, delays_s: Iterable[float] = ()
) -> None:
    """Send frames in order from an interface, each after its pause in seconds (missing ones are 0).

    Pauses are kept from the first frame on, so that they do not add up late. Raises OSError
    (EMSGSIZE: longer than the MTU allows).
    """
    due_s = time.monotonic()
    with interface.packet_socket() as opened:
        for frame, delay_s in zip(frames, chain(delays_s, repeat(0.0))):
            due_s += delay_s
            if delay_s:  # even sleep(0) costs the timer's slack, 50 us
                time.sleep(max(0.0, due_s - time.monotonic()))
            opened.send(frame)


def _layer(content: Packet | bytes) -> Packet:
    """Let bytes be a layer."""
    return Raw(content) if isinstance(content, bytes) else content


def _eighths(offset: int) -> int:
    """Convert a fragment offset from bytes to the header's unit of 8 bytes; raises ValueError for
    another offset.
    """
    eighths, rest = divmod(offset, 8)
    if rest:
        message = f"fragment offset {offset} is not a multiple of 8"
        raise ValueError(message)
    return eighths


def _padding(length: int) -> list[Packet]:
    """Fill an options header of `length` bytes: 2 of its own, 2 of the PadN option (RFC 8200
    section 4.2).
    """
    return [PadN(optdata=bytes(length - 4))]
