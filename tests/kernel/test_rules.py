"""Each field of a rule matches what it says and not its neighbour."""

from __future__ import annotations

import ipaddress
import itertools
import random
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp
from tests.support.kernel import ICMP, TCP, UDP, Kernel, make_config
from vtap.shapes import MIN_ENTRIES

if TYPE_CHECKING:
    from scapy.packet import Packet

    from tests.kernel.conftest import Load

HOST6 = "2001:db8:1:2:3:4:5:6"


def v4(saddr: str = "10.0.0.1", daddr: str = "10.0.0.2", transport: Packet | None = None) -> bytes:
    return ethernet(ipv4(udp() if transport is None else transport, saddr=saddr, daddr=daddr))


def v6(saddr: str = HOST6, daddr: str = "2001:db8::9", transport: Packet | None = None) -> bytes:
    return ethernet(ipv6(udp() if transport is None else transport, saddr=saddr, daddr=daddr))


def ports(sport: int = 1001, dport: int = 2002, build: object = udp) -> bytes:
    return ethernet(ipv4(build(sport=sport, dport=dport)))  # type: ignore[operator]


def matches(kernel: Kernel, frame: bytes) -> bool:
    """Send a packet alone: it is in a stream or unmatched, and never both."""
    kernel.reset()
    kernel.send(frame)
    matched = sum(kernel.counters(protocol)["packets"] for protocol in (TCP, UDP, ICMP))
    assert matched + kernel.interface().unmatched == 1
    return matched == 1


ICMP4, ICMP6 = v4(transport=icmp(b"x" * 20)), v6(transport=icmpv6(b"x" * 20))
TCP4, UDP4 = v4(transport=tcp()), v4(transport=udp())
TCP6, UDP6 = v6(transport=tcp()), v6(transport=udp())

# rule, frames that it matches, frames that it does not
RULES = [
    ("- - - - -", [TCP4, UDP4, ICMP4, TCP6, UDP6, ICMP6], []),
    ("10.0.0.1 - - - -", [v4()], [v4("10.0.0.0"), v4("10.0.0.2"), v4("10.0.0.2", "10.0.0.1")]),
    ("10.0.0.1 - - - -", [ICMP4, TCP4], [v4("11.0.0.1"), v4("10.1.0.1"), v4("1.0.0.10"), UDP6]),
    ("- 10.0.0.2 - - -", [v4()], [v4(daddr="10.0.0.1"), v4(daddr="10.0.0.3"), UDP6]),
    ("- 10.0.0.2 - - -", [v4("10.9.9.9")], [v4("10.0.0.2", "10.0.0.1")]),
    ("255.255.255.255 1.0.0.0 - - -", [v4("255.255.255.255", "1.0.0.0")], [v4(), UDP6]),
    (
        "10.20.0.0/16 - - - -",
        [v4("10.20.0.0"), v4("10.20.255.255")],
        [v4("10.19.255.255"), v4("10.21.0.0"), v4("11.20.0.1")],
    ),
    (
        "10.0.0.128/25 - - - -",
        [v4("10.0.0.128"), v4("10.0.0.255")],
        [v4("10.0.0.127"), v4("10.0.1.128")],
    ),
    (
        "10.0.0.4/31 - - - -",
        [v4("10.0.0.4"), v4("10.0.0.5")],
        [v4("10.0.0.3"), v4("10.0.0.6")],
    ),
    ("128.0.0.0/1 - - - -", [v4("128.0.0.0"), v4("255.0.0.1")], [v4("127.255.255.255")]),
    ("- 0.0.0.0/0 - - -", [v4(), ICMP4], [UDP6, ICMP6]),
    ("::/0 - - - -", [UDP6, ICMP6], [UDP4, ICMP4]),
    (
        f"{HOST6} - - - -",
        [v6()],
        [v6("2001:db8:1:2:3:4:5:7"), v6("2001:db8:1:2:3:5:5:6"), v6("2001:db8:1:3:3:4:5:6")],
    ),
    (f"{HOST6} - - - -", [TCP6], [v6("2001:db9:1:2:3:4:5:6"), v6("2001:db8::9", HOST6), UDP4]),
    ("- ::1 - - -", [v6(daddr="::1")], [v6(daddr="::"), v6(daddr="::2"), v6("::1"), UDP4]),
    # the bytes of 10.0.0.1 and of this IPv6 address start alike
    ("10.0.0.1 - - - -", [v4()], [v6("a00:1::")]),
    ("a00:1:: - - - -", [v6("a00:1::")], [v4()]),
    (
        "2001:db8:1:2::/64 - - - -",
        [v6("2001:db8:1:2::"), v6("2001:db8:1:2:ffff:ffff:ffff:ffff")],
        [v6("2001:db8:1:1:ffff::"), v6("2001:db8:1:3::")],
    ),
    (
        "- 2001:db8:8000::/33 - - -",
        [v6(daddr="2001:db8:8000::"), v6(daddr="2001:db8:ffff::1")],
        [v6(daddr="2001:db8:7fff::1"), v6(daddr="2001:db9:8000::")],
    ),
    (
        "2001:db8::fff0/124 - - - -",
        [v6("2001:db8::fff0"), v6("2001:db8::ffff")],
        [v6("2001:db8::ffef"), v6("2001:db8::1:fff0")],
    ),
    ("fe80::/10 - - - -", [v6("fe80::1"), v6("febf::1")], [v6("fe7f::1"), v6("fec0::1")]),
    ("- - 1001 - -", [ports()], [ports(1000), ports(1002), ports(2002, 1001), ICMP4]),
    ("- - 1001 - -", [ports(build=tcp)], [ports(1000, build=tcp), ports(59651)]),
    ("- - - 2002 -", [ports(), TCP6], [ports(dport=2001), ports(dport=2003), ports(2002, 1001)]),
    ("- - 0 65535 -", [ports(0, 65535)], [ports(1, 65535), ports(0, 65534), ICMP4, ICMP6]),
    (
        "- - 1000-2000 - -",
        [ports(1000), ports(1500), ports(2000)],
        [ports(999), ports(2001), ports(0), ports(65535), ICMP4],
    ),
    ("- - - 0-65535 -", [ports(), ports(0, 0), TCP6], [ICMP4, ICMP6]),
    ("- - 65535-65535 - -", [ports(65535)], [ports(65534)]),
    ("- - - - TCP", [TCP4, TCP6], [UDP4, UDP6, ICMP4, ICMP6]),
    ("- - - - UDP", [UDP4, UDP6], [TCP4, TCP6, ICMP4, ICMP6]),
    ("- - - - ICMP", [ICMP4, ICMP6], [TCP4, TCP6, UDP4, UDP6]),
    ("- - - - [TCP,ICMP]", [TCP4, ICMP4, TCP6, ICMP6], [UDP4, UDP6]),
    ("- - - - !TCP", [UDP4, ICMP4, UDP6, ICMP6], [TCP4, TCP6]),
    ("- - - - ![TCP,UDP]", [ICMP4, ICMP6], [TCP4, UDP4, TCP6, UDP6]),
    (
        "[10.0.0.1,10.0.0.3] - - - -",
        [v4("10.0.0.1"), v4("10.0.0.3")],
        [v4("10.0.0.2"), v4("10.0.0.4")],
    ),
    (
        f"[10.0.0.0/30,{HOST6},fe80::/10] - - - -",
        [v4("10.0.0.3"), v6(), v6("fe80::5")],
        [v4("10.0.0.4"), v6("2001:db8::1")],
    ),
    ("!10.0.0.1 - - - -", [v4("10.0.0.2"), UDP6], [v4()]),
    ("!10.0.0.0/8 - - - -", [v4("11.0.0.0"), v4("9.255.255.255")], [v4(), v4("10.255.255.255")]),
    (f"!{HOST6} - - - -", [v6("2001:db8:1:2:3:4:5:7"), UDP4], [v6()]),
    (
        "![10.0.0.1,10.0.0.2] - - - -",
        [v4("10.0.0.3"), v4("10.0.0.0"), UDP6],
        [v4("10.0.0.1"), v4("10.0.0.2")],
    ),
    ("- - !1001 - -", [ports(1000), ports(1002)], [ports(), ICMP4, ICMP6]),
    ("- - - !2000-3000 -", [ports(dport=1999), ports(dport=3001)], [ports(), ports(dport=3000)]),
    (
        "- - [5,1000-1002,7] - -",
        [ports(5), ports(7), ports(1000), ports(1001), ports(1002)],
        [ports(4), ports(6), ports(8), ports(999), ports(1003), ICMP4],
    ),
    ("- - ![5,7] - -", [ports(6), ports(4)], [ports(5), ports(7), ICMP4]),
    (
        "10.0.0.1 10.0.0.2 1001 2002 UDP",
        [UDP4],
        [TCP4, ports(1002), ports(dport=2003), v4("10.0.0.3"), v4(daddr="10.0.0.1"), UDP6],
    ),
    (
        f"{HOST6} 2001:db8::/64 1001 2000-2100 [TCP,UDP]",
        [UDP6, TCP6],
        [ICMP6, UDP4, v6(daddr="2001:db8:0:1::9"), v6(transport=udp(dport=2101))],
    ),
]


@pytest.mark.parametrize(("rule", "matching", "missing"), RULES, ids=[row[0] for row in RULES])
def test_rule(load: Load, rule: str, matching: list[bytes], missing: list[bytes]) -> None:
    """A rule matches its packets and not their neighbours."""
    kernel = load(make_config(rule))

    assert [matches(kernel, frame) for frame in matching] == [True] * len(matching)
    assert [matches(kernel, frame) for frame in missing] == [False] * len(missing)


def test_icmp_has_no_ports(load: Load) -> None:
    """The first words of an ICMP header, read as ports, are those of the rule: it has none."""
    kernel = load(make_config("- - 2048 - -", "- - - 0-65535 -"))

    assert ICMP4[34:36] == (2048).to_bytes(2, "big")
    assert not matches(kernel, ICMP4)
    assert matches(kernel, ports(2048))


def test_several_rules(load: Load) -> None:
    """A packet that several rules match is counted once; one that none matches is unmatched."""
    kernel = load(make_config("10.0.0.1 - - - -", "- - - 2002 -", "10.0.0.1 - - - UDP"))
    kernel.send(UDP4, TCP4, ICMP4, v4("10.0.0.9"), v4("10.0.0.9", transport=udp(dport=2003)))

    counted = [kernel.counters(protocol)["packets"] for protocol in (TCP, UDP, ICMP)]
    assert counted == [1, 2, 1]
    assert kernel.interface().unmatched == 1


def test_unmatched_packet_is_in_no_stream(load: Load) -> None:
    """It adds to no bytes and no payload, is no gap, and its number is no step."""
    kernel = load(make_config("- - - - TCP", offset=0))
    kernel.send(
        v4(transport=tcp(b"abc", seq=1)),
        v4(transport=udp(b"abcdef")),
        v4(transport=tcp(b"abc", seq=2)),
    )

    assert kernel.outcomes() == {"TCP": (2, 114, 6), "unmatched": 1}
    assert kernel.counters(TCP)["gaps"] == 1
    assert not any(kernel.counters(UDP).values())
    assert kernel.stream(UDP).sequence_number is None


def tables() -> dict[str, list[str]]:
    """Make so many rules of a shape that they are looked up, not compared."""
    many = range(2, MIN_ENTRIES + 2)
    return {
        "hosts": [f"10.0.0.{n} - - - -" for n in many],
        "pairs": [f"10.0.0.{n} 10.0.1.{n} {n} {n + 100} UDP" for n in many],
        "ports": [f"- - - {n} -" for n in many],
        "source ports of TCP": [f"- - {n} - TCP" for n in many],
        "prefixes": [f"10.{n}.0.0/17 - - - -" for n in many],
        "IPv6": [f"- 2001:db8:0:{n}::{n} - - -" for n in many],
        "IPv6 prefixes": [f"2001:db8:{n:x}000::/36 - - - -" for n in many],
        "IPv6 all fields": [f"2001:db8::{n} 2001:db8::1:{n} {n} {n} TCP" for n in many],
        "some compared": [f"10.0.0.{n} - - - -" for n in many]
        + ["- - 1-5 - -", "!10.0.0.0/8 - - - -"],
    }


def addresses(chooser: random.Random, family: int) -> tuple[str, str]:
    """Choose addresses of which many are in the rules of tables(), and many are near them."""
    n = chooser.randrange(1, MIN_ENTRIES + 4)
    other = n if chooser.random() < 0.7 else n + 1
    if family == 4:
        saddr = chooser.choice((f"10.0.0.{n}", f"10.{n}.0.9", f"10.{n}.127.255", f"10.{n}.128.0"))
        return saddr, f"10.0.1.{other}"
    saddr = chooser.choice((f"2001:db8::{n}", f"2001:db8:{n:x}fff::", f"2001:db8:{n:x}000::7"))
    return saddr, chooser.choice((f"2001:db8:0:{n}::{other}", f"2001:db8::1:{other}"))


def is_matched(rules: list[str], frame: dict[str, object]) -> bool:
    """Match as the contract says, without vTap's code: these rules have hosts, prefixes, ports."""
    for rule in rules:
        saddr, daddr, sport, dport, protocol = rule.split()
        ok = True
        for field, text in (("saddr", saddr), ("daddr", daddr)):
            if text != "-":
                network = ipaddress.ip_network(text.lstrip("!"))
                inside = ipaddress.ip_address(frame[field]) in network
                ok &= inside != text.startswith("!")
        for field, text in (("sport", sport), ("dport", dport)):
            if text != "-":
                first, _, last = text.partition("-")
                port = frame[field]
                ok &= port is not None and int(first) <= port <= int(last or first)
        ok &= protocol in ("-", frame["protocol"])
        if ok:
            return True
    return False


@pytest.mark.parametrize("name", tables())
def test_many_rules(load: Load, name: str) -> None:
    """Rules that are looked up match what rules that are compared would."""
    rules = tables()[name]
    kernel = load(make_config(*rules))
    chooser = random.Random(name)
    outcomes = []
    for _, family, protocol in itertools.product(range(80), (4, 6), ("TCP", "UDP", "ICMP")):
        saddr, daddr = addresses(chooser, family)
        sport = dport = None
        n = int(saddr.rstrip(":").split("." if family == 4 else ":")[-1], 16) % 16
        if protocol == "ICMP":
            transport = icmp() if family == 4 else icmpv6()
        else:
            sport, dport = chooser.choice(((n, n), (n, n + 100), (1, 1), (n + 1, n), (300, 300)))
            transport = (tcp if protocol == "TCP" else udp)(sport=sport, dport=dport)
        facts = {"saddr": saddr, "daddr": daddr, "sport": sport, "dport": dport}
        facts["protocol"] = protocol
        frame = (v4 if family == 4 else v6)(saddr, daddr, transport)
        outcomes.append(is_matched(rules, facts))
        assert matches(kernel, frame) == outcomes[-1], facts

    assert {True, False} == set(outcomes)


@pytest.mark.parametrize(
    ("rule", "matching", "missing"),
    [
        ("10.0.0.{} - - - -", [v4("10.0.0.3")], [v4("10.0.0.9"), v6("a00:3::")]),
        ("a00:{}::/32 - - - -", [v6("a00:3::9")], [v6("a00:9::9"), v4("10.0.0.3")]),
        ("- - - {} -", [ports(dport=0)], [ports(dport=8), ports(0), ICMP4, ICMP6]),
        ("- - {} - -", [ports(0)], [ports(8), ports(dport=0), ICMP4, ICMP6]),
        ("- - {0} {0} -", [ports(0, 0), ports(7, 7)], [ports(0, 1), ports(8, 8), ICMP4, ICMP6]),
        ("- - - {} TCP", [ports(0, 0, tcp)], [ports(0, 0), ports(0, 8, tcp), ICMP4]),
        ("10.0.0.{} - - - ICMP", [ICMP4], [UDP4, TCP4, ICMP6]),
    ],
)
def test_rules_in_a_table(
    load: Load, rule: str, matching: list[bytes], missing: list[bytes]
) -> None:
    """A key says neither IP version nor protocol nor that there are ports: those are asked too."""
    kernel = load(make_config(*(rule.format(number) for number in range(MIN_ENTRIES))))

    assert [matches(kernel, frame) for frame in matching] == [True] * len(matching)
    assert [matches(kernel, frame) for frame in missing] == [False] * len(missing)
