"""The frames that trafgen sends in turn, and rule sets with the kinds of frames each matches.

Data only; what a rule set matches is written down here by hand, not found by a parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.support.frames import ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAMES = {
    "A": ("TCP", ethernet(ipv4(tcp(bytes(946), sport=1001, dport=2002)))),
    "B": ("UDP", ethernet(ipv4(udp(bytes(658), sport=1001, dport=2002)))),
    "C": ("ICMP", ethernet(ipv4(icmp(bytes(258))))),
    "D": ("TCP", ethernet(ipv4(tcp(bytes(446), sport=1003, dport=2002), saddr="10.0.1.5"))),
    "E": ("UDP", ethernet(ipv4(udp(bytes(158), sport=4000, dport=5060), saddr="172.16.0.9"))),
    "F": ("TCP", ethernet(ipv6(tcp(bytes(326), sport=1001, dport=2002)))),
    "G": ("UDP", ethernet(ipv6(udp(bytes(188), sport=1001, dport=443)))),
    "H": ("ICMP", ethernet(ipv6(icmpv6(bytes(88))))),
}
"""The kinds of frames; the protocol is said here, for the truth not to come from a parser."""

PROTOCOLS = ("TCP", "UDP", "ICMP")


class RuleSet(NamedTuple):
    """Rules, the kinds of frames that they match, and tshark's words for the same."""

    name: str
    rules: Sequence[str]
    kinds: str
    display_filter: str


RULE_SETS = (
    RuleSet("everything", [], "ABCDEFGH", "frame"),
    RuleSet("TCP and UDP", ["- - - - [TCP,UDP]"], "ABDEFG", "tcp || udp"),
    RuleSet(
        "one source and port",
        ["10.0.0.1 - 1001 - -"],
        "AB",
        "ip.src == 10.0.0.1 && (tcp.srcport == 1001 || udp.srcport == 1001)",
    ),
    RuleSet(
        "a list",
        ["[10.0.0.1,172.16.0.9] - - [2002,5060] -"],
        "ABE",
        "(ip.src == 10.0.0.1 || ip.src == 172.16.0.9) && "
        "(tcp.dstport == 2002 || udp.dstport == 2002 || udp.dstport == 5060)",
    ),
    RuleSet("a prefix", ["10.0.0.0/16 - - - -"], "ABCD", "ip.src == 10.0.0.0/16"),
    RuleSet("a negation", ["!10.0.0.0/16 - - - -"], "EFGH", "!(ip.src == 10.0.0.0/16)"),
    RuleSet("IPv6", ["2001:db8::/32 - - - -"], "FGH", "ipv6.src == 2001:db8::/32"),
    RuleSet(
        "two rules, a range, a negated port",
        ["- - 1000-1002 - TCP", "- - - !400-2002 UDP"],
        "AEF",
        "(tcp.srcport >= 1000 && tcp.srcport <= 1002) || (udp && udp.dstport > 2002)",
    ),
)
