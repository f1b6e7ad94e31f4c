"""Frames of every shape on a real interface: tags, directions, jumbo frames, frames for others."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ETH_P_8021AD, Tag, ethernet, ipv4, ipv6, send_frames, tcp, udp
from tests.support.monitor import run_monitor
from tests.support.netns import Interface, ip, veth_pair
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from scapy.packet import Packet

    from tests.support.netns import Veth

STRANGER = "02:00:00:00:00:99"
PATTERN = bytes.fromhex("e7a5c318")

VLAN = ethernet(ipv4(udp(bytes(100))), tags=[Tag(7)])
QINQ = ethernet(ipv4(udp(bytes(100))), tags=[Tag(8, ethertype=ETH_P_8021AD), Tag(7)])
VLAN_IPV6 = ethernet(ipv6(udp(bytes(100))), tags=[Tag(4095, priority=7)])
VLAN_ZERO = ethernet(ipv4(udp(bytes(100))), tags=[Tag(0)])  # priority only; the tag is there

RECEIVED = [ethernet(ipv4(udp(bytes(50)))), VLAN]
SENT = [ethernet(ipv4(tcp(bytes(60)))), ethernet(ipv4(udp(bytes(70))), tags=[Tag(7)]), QINQ]
DIRECTIONS = {
    "in": (len(RECEIVED), 0, sum(map(len, RECEIVED))),
    "out": (len(SENT) - 1, 1, sum(map(len, SENT))),
    "both": (len(RECEIVED) + len(SENT) - 1, 1, sum(map(len, RECEIVED + SENT))),
}


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(VLAN, id="802.1Q"),
        pytest.param(QINQ, id="QinQ"),
        pytest.param(VLAN_IPV6, id="802.1Q, IPv6"),
        pytest.param(VLAN_ZERO, id="priority tag"),
    ],
)
def test_a_stripped_tag_is_counted(veth: Veth, tmp_path: Path, frame: bytes) -> None:
    """The kernel takes the outer tag out of a received frame; its 4 bytes are still counted."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "--format", "json"
    ) as monitor:
        send_frames(veth.left, [frame] * 23)
        outcome = monitor.end()

    assert outcome.counts("UDP") == (23, 23 * len(frame), 23 * 100)


def test_a_forwarded_tag_is_counted(veth: Veth, tmp_path: Path) -> None:
    """A frame that a bridge sends on, its tag still beside it, has its 4 bytes counted too."""
    namespace = veth.right.namespace
    ip(f"-n {namespace.name} link add name bridge type bridge")
    with veth_pair("out", namespace, veth.left.namespace) as out:
        for port in (veth.right, out.left):
            ip(f"-n {namespace.name} link set dev {port.ifname} master bridge")
        ip(f"-n {namespace.name} link set dev bridge addrgenmode none up")
        with run_monitor(
            namespace, tmp_path, "-i", out.left.ifname, "--direction", "out", "--format", "json"
        ) as monitor:
            for port in (veth.right, out.left):
                wait_until(lambda port=port: is_forwarding(port), 10, f"{port.ifname} forwarding")
            frame = ethernet(ipv4(udp(bytes(100))), tags=[Tag(7)], destination=STRANGER)
            send_frames(veth.left, [frame] * 23)
            outcome = monitor.end()

    assert outcome.counts("UDP") == (23, 23 * len(frame), 23 * 100)


def is_forwarding(port: Interface) -> bool:
    """Tell whether a bridge's port forwards."""
    links = json.loads(ip(f"-n {port.namespace.name} -d -j link show dev {port.ifname}"))
    state: str = links[0]["linkinfo"]["info_slave_data"]["state"]
    return state == "forwarding"


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_the_direction_is_kept_to(veth: Veth, tmp_path: Path, direction: str) -> None:
    """In is what arrives, out what the host sends, both is both, tags included."""
    with run_monitor(
        veth.right.namespace, tmp_path,
        "-i", veth.right.ifname, "--direction", direction, "--format", "json",
    ) as monitor:  # fmt: skip
        send_frames(veth.left, RECEIVED)
        send_frames(veth.right, SENT)
        outcome = monitor.end()

    udp_packets, tcp_packets, all_bytes = DIRECTIONS[direction]
    assert outcome.counts("UDP")[0] == udp_packets
    assert outcome.counts("TCP")[0] == tcp_packets
    assert outcome.counts("UDP")[1] + outcome.counts("TCP")[1] == all_bytes


@pytest.mark.parametrize("network", [ipv4, ipv6])
def test_a_pattern_is_found_in_all_of_a_jumbo_frame(
    veth_9000: Veth, tmp_path: Path, network: type[Packet]
) -> None:
    """In 8900 bytes of payload it may stand anywhere; the last number starts at byte 8896."""
    places = [0, 1, 1018, 1020, 1021, 1024, 4083, 8888, 8889, 8892]  # 1021: where a chunk ends
    payloads = [
        (bytes(at) + PATTERN + struct.pack("!I", number)).ljust(8900, b"\xe7")
        for number, at in enumerate(places, 1)
    ]
    payloads.append(b"\xe7" * 8893 + PATTERN + bytes(3))  # a byte of the number is missing
    frames = [ethernet(network(udp(payload))) for payload in payloads]
    with run_monitor(
        veth_9000.right.namespace, tmp_path, "-i", veth_9000.right.ifname, "--format", "json",
        config={"PATTERN": "0xE7A5C318", "OFFSET": 4},
    ) as monitor:  # fmt: skip
        send_frames(veth_9000.left, frames)
        outcome = monitor.end()

    assert outcome.counts("UDP") == (11, 11 * len(frames[0]), 11 * 8900)
    expected = {"number": 10, "packets": 10, "reverse": 0, "small": 0, "big": 0, "errors": 0}
    assert outcome.total("UDP")["sequence"] == expected


def test_frames_for_others_are_counted(veth: Veth, tmp_path: Path) -> None:
    """On a mirror port no frame is for this host: each is counted."""
    frame = ethernet(ipv4(udp(bytes(50))), destination=STRANGER)
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "--format", "json"
    ) as monitor:
        send_frames(veth.left, [frame] * 23)
        outcome = monitor.end()

    assert outcome.counts("UDP") == (23, 23 * len(frame), 23 * 50)


def promiscuity(interface: Interface) -> int:
    """How many ask the interface for frames of others."""
    links = json.loads(ip(f"-n {interface.namespace.name} -d -j link show dev {interface.ifname}"))
    count: int = links[0]["promiscuity"]
    return count


@pytest.mark.parametrize(("options", "expected"), [((), 1), (("--no-promiscuous",), 0)])
def test_promiscuous_mode_lasts_as_long_as_the_run(
    veth: Veth, tmp_path: Path, options: tuple[str, ...], expected: int
) -> None:
    """It is on while running unless told not to be, and off afterwards, kill -9 included."""
    namespace = veth.right.namespace
    with run_monitor(namespace, tmp_path, "-i", veth.right.ifname, *options) as monitor:
        assert promiscuity(veth.right) == expected
        monitor.end()
    assert promiscuity(veth.right) == 0

    with run_monitor(namespace, tmp_path, "-i", veth.right.ifname, *options):
        assert promiscuity(veth.right) == expected
    assert promiscuity(veth.right) == 0
