"""Packets that the kernel or a virtual machine hands over merged count as the packets they were."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest

from tests.support.capture import SO_RCVBUFFORCE, SOL_PACKET
from tests.support.frames import ethernet, ipv4, ipv6, tcp
from tests.support.monitor import Outcome, run_monitor
from tests.support.netns import (
    Interface,
    Namespace,
    interface_statistics,
    ip,
    unique_name,
    veth_pair,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Veth

TRANSFER_BYTES = 3_000_000
MSS = 1448  # 1500 - 20 - 20 - 12 bytes of timestamps
HEADERS = 14 + 20 + 20 + 12
SYN_OPTIONS = 8  # bytes that a SYN has more than the timestamps: MSS, SACK permitted, window scale

TCP_EARLY_RETRANS = Path("/proc/sys/net/ipv4/tcp_early_retrans")

PACKET_VNET_HDR = 15  # linux/if_packet.h: struct virtio_net_hdr comes before each frame
VNET_HDR = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
VNET_HDR_F_NEEDS_CSUM = 1  # linux/virtio_net.h
VNET_HDR_GSO_NONE = 0
VNET_HDR_GSO_TCPV4 = 1
VNET_HDR_GSO_TCPV6 = 4

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000


@pytest.fixture
def hosts(request: pytest.FixtureRequest) -> Iterator[Veth]:
    """Provide two hosts that talk to each other through a pair; each may ask for addresses."""
    name = request.node.name
    with (
        Namespace(name) as left,
        Namespace(name) as right,
        veth_pair(
            name, left, right, arp=True,
            left_addresses=["10.0.0.1/24"], right_addresses=["10.0.0.2/24"],
        ) as pair,
    ):  # fmt: skip
        # What stands still on a busy machine is not sent again: every byte arrives once.
        pair.left.namespace.call(lambda: TCP_EARLY_RETRANS.write_text("0"))
        ip(
            f"-n {pair.left.namespace.name} route replace 10.0.0.0/24 dev {pair.left.ifname}"
            " src 10.0.0.1 rto_min 20s"
        )
        yield pair


def transfer(hosts: Veth, size: int) -> None:
    """Send bytes over TCP from left to right, and wait until the other side has closed."""
    listening = hosts.right.namespace.call(lambda: socket.create_server(("10.0.0.2", 5001)))

    def receive() -> None:
        accepted, _ = listening.accept()
        with accepted:
            while accepted.recv(1 << 20):
                pass

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    with (
        listening,
        hosts.left.namespace.call(
            lambda: socket.create_connection(("10.0.0.2", 5001), timeout=30)
        ) as connected,
    ):
        connected.sendall(bytes(size))
        connected.shutdown(socket.SHUT_WR)
        assert connected.recv(1) == b""  # the other end's FIN, after everything
    thread.join(30)


class Seen(NamedTuple):
    """What a packet socket saw of TCP arriving."""

    packets: int
    merged: int
    bytes: int


@contextlib.contextmanager
def watch(interface: Interface) -> Iterator[list[Seen]]:
    """Count TCP that arrives, merged frames by the kernel's own word on each; result at the end."""
    seen: list[Seen] = []
    with interface.packet_socket() as watching:
        watching.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        watching.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        yield seen
        counts = [0, 0, 0]
        with contextlib.suppress(BlockingIOError):
            while True:
                data, address = watching.recvfrom(1 << 18, socket.MSG_DONTWAIT)
                if address[2] != socket.PACKET_OUTGOING and data[10:][23] == socket.IPPROTO_TCP:
                    add(counts, data)
        seen.append(Seen(*counts))


def add(counts: list[int], data: bytes) -> None:
    """Add a frame behind its virtio_net_hdr to packets, merged, bytes on the wire."""
    _, gso_type, _, gso_size, _, _ = VNET_HDR.unpack_from(data)
    frame = data[VNET_HDR.size :]
    headers = 14 + 20 + (frame[14 + 20 + 12] >> 4) * 4
    segments = 1 if gso_type == VNET_HDR_GSO_NONE else -((headers - len(frame)) // gso_size)
    counts[0] += segments
    counts[1] += segments if segments > 1 else 0
    counts[2] += len(frame) + (segments - 1) * headers


def measure(hosts: Veth, folder: Path) -> tuple[Outcome, float, Seen]:
    """Monitor a transfer from the receiver; returns the merged packets too, and a witness."""
    ifname = hosts.right.ifname
    with (
        run_monitor(
            hosts.right.namespace, folder, "-i", ifname, "-t", "0.1", "--format", "json",
            config={"MONITOR_SERVER": True},
        ) as monitor,
        watch(hosts.right) as seen,
    ):  # fmt: skip
        transfer(hosts, TRANSFER_BYTES)
        emitted = len(monitor.rows(protocol="TCP")) + 1  # the one under way may lack the last
        monitor.wait_for_rows(emitted + 1, protocol="TCP")
        merged = monitor.scrape()[f'vtap_merged_packets_total{{interface="{ifname}"}}']
        outcome = monitor.end()
    return outcome, merged, seen[0]


def test_merged_segments_are_counted_one_by_one(hosts: Veth, tmp_path: Path) -> None:
    """TSO on: frames of up to 64 kB arrive; packets and bytes are those of the segments."""
    outcome, merged, seen = measure(hosts, tmp_path)

    assert seen.merged > 1000  # 3 MB are 2072 segments, most of them in frames of 45
    assert merged == seen.merged
    assert outcome.counts("TCP") == (seen.packets, seen.bytes, TRANSFER_BYTES)
    assert seen.bytes == TRANSFER_BYTES + seen.packets * HEADERS + SYN_OPTIONS
    assert outcome.stderr.count("the kernel merges packets") == 1
    assert f"ethtool -K {hosts.right.ifname} gro off" in outcome.stderr


def test_without_offloads_nothing_is_merged(hosts: Veth, tmp_path: Path) -> None:
    """The very segments arrive: the interface counts as many, and no notice is given."""
    for end in hosts:
        end.set_offloads(gro=False, gso=False, tso=False)
    outcome, merged, seen = measure(hosts, tmp_path)

    arps = int(outcome.stderr.split(" not ip")[0].rpartition(" ")[2])
    received = interface_statistics(hosts.right.namespace, hosts.right.ifname)
    assert merged == seen.merged == 0
    assert outcome.counts("TCP") == (
        received["rx_packets"] - arps,
        received["rx_bytes"] - arps * 42,
        TRANSFER_BYTES,
    )
    assert outcome.counts("TCP")[0] >= -(-TRANSFER_BYTES // MSS)
    assert "merges" not in outcome.stderr


def test_packets_merged_on_receive_are_as_many_as_were_sent(hosts: Veth, tmp_path: Path) -> None:
    """GRO on, TSO off: the sender's interface counts every segment, and so does the monitor."""
    hosts.left.set_offloads(gso=False, tso=False)
    hosts.right.set_offloads(gro=True)
    outcome, merged, seen = measure(hosts, tmp_path)

    arps = int(outcome.stderr.split(" not ip")[0].rpartition(" ")[2])
    sent = interface_statistics(hosts.left.namespace, hosts.left.ifname)
    assert merged == seen.merged > 0
    assert outcome.counts("TCP") == (sent["tx_packets"] - arps, seen.bytes, TRANSFER_BYTES)
    assert seen.bytes == TRANSFER_BYTES + seen.packets * HEADERS + SYN_OPTIONS
    assert outcome.stderr.count("the kernel merges packets") == 1


@contextlib.contextmanager
def tap(namespace: Namespace, ifname: str) -> Iterator[IO[bytes]]:
    """Make a tap interface as a virtual machine has it; it writes virtio_net_hdr, then a frame."""
    with namespace.call(lambda: open("/dev/net/tun", "r+b", buffering=0)) as opened:  # noqa: PTH123
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(opened, TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags))
        ip(f"-n {namespace.name} link set dev {ifname} arp off up")
        yield opened


@pytest.mark.parametrize(
    ("network", "gso_type", "ip_bytes"),
    [(ipv4, VNET_HDR_GSO_TCPV4, 20), (ipv6, VNET_HDR_GSO_TCPV6, 40)],
    ids=["IPv4", "IPv6"],
)
def test_a_virtual_machines_merged_frame_is_split(
    namespace: Namespace, tmp_path: Path, network: object, gso_type: int, ip_bytes: int
) -> None:
    """It says how long a segment is, not how many there are: 10 000 bytes in 1000s are 10, one
    byte more is 11, one less 10, and 1000 are one.
    """
    assert callable(network)
    ifname = unique_name("tap")
    headers = 14 + ip_bytes + 20
    sizes = [10_000, 10_001, 9_999, 1000]
    with (
        tap(namespace, ifname) as machine,
        run_monitor(
            namespace,
            tmp_path,
            "-i",
            ifname,
            "-t",
            "0.1",
            "--format",
            "json",
            config={"MONITOR_SERVER": True},
        ) as monitor,
    ):
        for number, size in enumerate(sizes):
            frame = ethernet(network(tcp(bytes(size), seq=number)))
            header = VNET_HDR.pack(VNET_HDR_F_NEEDS_CSUM, gso_type, headers, 1000, headers - 20, 16)
            os.write(machine.fileno(), header + frame)
        scraped = monitor.wait_for_sample(
            f'vtap_packets_total{{interface="{ifname}",protocol="TCP",rule="all"}}', 32
        )
        outcome = monitor.end()

    assert outcome.counts("TCP") == (32, 32 * headers + sum(sizes), sum(sizes))
    assert outcome.total("TCP")["sequence"]["packets"] == 4
    assert scraped[f'vtap_merged_packets_total{{interface="{ifname}"}}'] == 31
