"""Fragments: only a first one has ports; a later one has its, never anyone else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.frames import (
    DADDR,
    SADDR,
    ethernet,
    fragment_header,
    icmp,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from tests.support.kernel import ICMP, TCP, UDP, Kernel, make_config
from tests.support.netns import Namespace, veth_pair

if TYPE_CHECKING:
    from scapy.packet import Packet

    from tests.kernel.conftest import Load

L4_PROTO = {"TCP": 6, "UDP": 17, "ICMP": 1}
PORT_RULE = "- - 1001 - -"


def first(transport: Packet | None = None, identification: int = 1, **named: str) -> bytes:
    transport = udp(bytes(56)) if transport is None else transport
    return ethernet(ipv4(transport, more_fragments=True, identification=identification, **named))


def later(
    l4_proto: int = 17,
    identification: int = 1,
    offset: int = 64,
    *,
    more: bool = False,
    content: bytes = bytes(30),
    **named: str,
) -> bytes:
    return ethernet(
        ipv4(
            content,
            l4_proto=l4_proto,
            fragment_offset=offset,
            more_fragments=more,
            identification=identification,
            **named,
        )
    )


def first6(identification: int = 1, transport: Packet | None = None, **named: str) -> bytes:
    transport = udp(bytes(56)) if transport is None else transport
    header = fragment_header(more=True, identification=identification)
    return ethernet(ipv6(transport, extensions=[header], **named))


def later6(
    identification: int = 1,
    l4_proto: int = 17,
    offset: int = 64,
    *,
    more: bool = False,
    **named: str,
) -> bytes:
    header = fragment_header(offset, more=more, identification=identification)
    return ethernet(ipv6(bytes(30), extensions=[header], l4_proto=l4_proto, **named))


def counted(kernel: Kernel, *frames: bytes) -> tuple[int, int]:
    """Send to a program that has seen nothing; returns matched and unmatched packets."""
    kernel.reset()
    kernel.send(*frames)
    matched = sum(kernel.counters(protocol)["packets"] for protocol in (TCP, UDP, ICMP))
    return matched, kernel.interface().unmatched


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([first(), later(), later(offset=96, more=True)], id="IPv4"),
        pytest.param([first(tcp(bytes(44))), later(6), later(6, offset=128)], id="TCP"),
        pytest.param([first6(), later6(), later6(offset=1024, more=True)], id="IPv6"),
        pytest.param(
            [first6(transport=tcp(bytes(44))), later6(l4_proto=6), later6(l4_proto=6)],
            id="TCP over IPv6",
        ),
        pytest.param([first(), first(), later(), later()], id="a first one twice"),
        pytest.param(
            [first(identification=2), first(), later(), later(identification=2)], id="interleaved"
        ),
    ],
)
def test_later_fragments_have_the_ports_of_the_first(load: Load, frames: list[bytes]) -> None:
    """All fragments match a rule on the datagram's ports, or none does."""
    assert counted(load(make_config(PORT_RULE)), *frames) == (len(frames), 0)
    assert counted(load(make_config("- - 1002 - -")), *frames) == (0, len(frames))
    assert counted(load(make_config("- - !1001 - -")), *frames) == (0, len(frames))


@pytest.mark.parametrize(
    ("before", "fragment"),
    [
        pytest.param([], later(), id="no first"),
        pytest.param([], later6(), id="no first of IPv6"),
        pytest.param([first()], later(identification=2), id="other identification"),
        pytest.param([first()], later(identification=257), id="identification, other byte"),
        pytest.param([first6()], later6(identification=1 << 24), id="IPv6 identification swapped"),
        pytest.param(
            [first6()], later6(identification=1 << 16 | 1), id="IPv6 identification, high"
        ),
        pytest.param([first6()], later6(identification=2), id="other IPv6 identification"),
        pytest.param([first()], later(6), id="other protocol"),
        pytest.param([first()], later(saddr="10.0.0.3"), id="other source"),
        pytest.param([first()], later(daddr="10.0.0.3"), id="other destination"),
        pytest.param([first()], later(saddr=DADDR, daddr=SADDR), id="other way"),
        pytest.param([first6()], later6(daddr="2001:db8::2:2"), id="other IPv6 destination"),
        pytest.param([first6()], later6(saddr="2001:db9::1"), id="other IPv6 source"),
        pytest.param(
            [first6(identification=1 << 24, saddr="a00:1::", daddr="a00:2::")],
            later(identification=1),
            id="IPv6 datagram whose bytes are those of an IPv4 one",
        ),
        pytest.param([ethernet(ipv4(udp()))], later(), id="whole datagram before"),
        pytest.param([first(tcp(bytes(44)))], later(), id="first is TCP, later UDP"),
        pytest.param(
            [ethernet(ipv4(b"\x03\xe9\x07\xd2", l4_proto=17, more_fragments=True))],
            later(),
            id="first too short for its header",
        ),
    ],
)
def test_ports_are_never_invented(load: Load, before: list[bytes], fragment: bytes) -> None:
    """A later fragment whose first was not seen matches no rule on ports, negated or not."""
    for rule in (PORT_RULE, "- - !5 - -", "- - 0-65535 - -", "- - - 0 -"):
        kernel = load(make_config(rule))
        unmatched_before = counted(kernel, *before)[1]
        kernel.send(fragment)

        assert kernel.interface().unmatched == unmatched_before + 1, rule


@pytest.mark.parametrize("offset", [8 << bit for bit in range(13)])
def test_every_bit_of_the_offset(load: Load, offset: int) -> None:
    """Each of the 13 bits makes a later fragment, whether more follow or not."""
    kernel = load(make_config("- - 0-65535 - -"))
    for more in (False, True):
        assert counted(kernel, later(offset=offset, more=more)) == (0, 1)
        assert counted(kernel, later6(offset=offset, more=more)) == (0, 1)


def test_flags_are_no_offset(load: Load) -> None:
    """A whole packet with the "do not fragment" or the reserved flag has its ports."""
    kernel = load(make_config(PORT_RULE))
    whole = ethernet(ipv4(udp(bytes(20))))
    for flags in (0x40, 0x80, 0xC0):
        assert counted(kernel, whole[:20] + bytes([flags]) + whole[21:]) == (1, 0)


def test_payload_is_not_ports(load: Load) -> None:
    """The bytes where ports would stand are payload in a later fragment."""
    content = (1001).to_bytes(2, "big") + (2002).to_bytes(2, "big") + bytes(28)

    assert counted(load(make_config(PORT_RULE)), later(content=content)) == (0, 1)


def test_icmp_fragments_have_no_ports(load: Load) -> None:
    """Neither the first nor a later one, not even those of a UDP datagram of the same number."""
    kernel = load(make_config("- - 0-65535 - -"))
    frames = [first(), first(icmp(bytes(56))), later(L4_PROTO["ICMP"])]

    assert counted(kernel, *frames) == (1, 2)


def test_new_datagram_of_an_old_number(load: Load) -> None:
    """Identifications come again: the last first fragment seen is the one."""
    kernel = load(make_config(PORT_RULE))
    assert counted(kernel, first(), later()) == (2, 0)
    kernel.send(first(udp(bytes(56), sport=1002)), later())
    assert kernel.interface().unmatched == 2


def test_address_rules_count_every_fragment(load: Load) -> None:
    """A rule without ports needs none: payload of later fragments is all behind the IP header."""
    kernel = load(make_config(f"{SADDR} - - - UDP"))
    kernel.send(first(), later(more=True), later(offset=96), later(6), later(saddr="10.0.0.9"))

    lengths = len(first()) + 2 * len(later())
    assert kernel.outcomes() == {"UDP": (3, lengths, 56 + 30 + 30), "unmatched": 2}


def test_address_rule_beside_port_rule(load: Load) -> None:
    """A fragment without ports passes a rule on ports by and meets the next one."""
    kernel = load(make_config(PORT_RULE, f"{SADDR} - - - -"))

    assert counted(kernel, later(), later(saddr="10.0.0.9")) == (1, 1)


def test_interfaces_do_not_share_datagrams(load: Load, namespace: Namespace) -> None:
    """A first fragment on one interface says nothing of a later one on another."""
    kernel = load(make_config(PORT_RULE), interfaces=2)
    with veth_pair("fragments", namespace) as pair:
        for slot, end in enumerate(pair):
            kernel.set_interface(slot, end.ifindex)
        left, right = pair.left.ifindex, pair.right.ifindex

        def send() -> None:
            kernel.send(first(), ifindex=left)
            kernel.send(later(), ifindex=right)
            kernel.send(later(), ifindex=left)

        namespace.call(send)

    assert kernel.counters(UDP, "a")["packets"] == 2
    assert kernel.counters(UDP, "b")["packets"] == 0
    assert (kernel.interface("a").unmatched, kernel.interface("b").unmatched) == (0, 1)
