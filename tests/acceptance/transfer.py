"""A large file over TCP, merged on its way or not; the truth is what the sender's TCP sent."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.acceptance.hosts import ETHERNET_BYTES, SERVER, connected
from tests.acceptance.rows import Row
from tests.acceptance.throughput import TOTAL
from tests.support.monitor import run_monitor
from tests.support.netns import interface_statistics
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.netns import Veth

PORT = 5001
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60

# struct tcp_info, linux/tcp.h: state is its first byte, the others stand at these offsets.
TCP_INFO_BYTES = 216
SEGMENTS_OUT_AT = 136  # u32, every segment with SYN, FIN and retransmissions
BYTES_SENT_AT = 200  # u64, payload with retransmissions
TCP_FIN_WAIT2 = 5  # the other end has acknowledged everything, our FIN too

HEADER_BYTES = ETHERNET_BYTES + 20 + 20 + 12  # IPv4, TCP, its timestamps (RFC 7323)
SYN_EXTRA_BYTES = 8  # a SYN has 20 bytes of options: MSS, SACK, timestamps and window scale


class Sent(NamedTuple):
    """What TCP sent in all; wire_bytes includes every header of every segment."""

    segments: int
    payload_bytes: int
    wire_bytes: int


@contextlib.contextmanager
def send_file(veth: Veth, path: Path, address: str) -> Iterator[Sent]:
    """Send a file from left to right; yields while no end has closed, so that nothing follows."""
    listener = veth.right.namespace.call(lambda: socket.create_server((address, PORT)))
    sender = veth.left.namespace.call(socket.socket)
    with listener, sender:
        sender.settimeout(TIMEOUT_S)
        sender.connect((address, PORT))
        receiver, _ = listener.accept()
        with receiver:
            thread = threading.Thread(target=_drain, args=(receiver,))
            thread.start()
            with path.open("rb") as file:
                sender.sendfile(file)
            sender.shutdown(socket.SHUT_WR)
            thread.join(TIMEOUT_S)
            wait_until(
                lambda: _tcp_info(sender)[0] == TCP_FIN_WAIT2, TIMEOUT_S, "the last acknowledgement"
            )
            info = _tcp_info(sender)
            (segments,) = struct.unpack_from("=I", info, SEGMENTS_OUT_AT)
            (payload_bytes,) = struct.unpack_from("=Q", info, BYTES_SENT_AT)
            yield Sent(segments, payload_bytes, payload_bytes + header_bytes(segments))


def header_bytes(segments: int) -> int:
    """Return the bytes of all headers of a connection's segments, of which one is a SYN."""
    return segments * HEADER_BYTES + SYN_EXTRA_BYTES


def _tcp_info(connection: socket.socket) -> bytes:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)


def _drain(receiver: socket.socket) -> None:
    receiver.settimeout(TIMEOUT_S)
    while receiver.recv(CHUNK_BYTES):
        pass


class Offloads(NamedTuple):
    """Who merges: the sender (TSO), the receiver (GRO)."""

    tso: bool
    gro: bool

    @property
    def name(self) -> str:
        """The words of the table."""
        return (
            f"file over TCP, TSO {'on' if self.tso else 'off'}, GRO {'on' if self.gro else 'off'}"
        )


OFFLOADS = tuple(Offloads(tso, gro) for tso in (False, True) for gro in (False, True))
FILE_BYTES = 64 << 20


def file_rows(folder: Path, offloads: Offloads) -> list[Row]:
    """The truth is what the sender's TCP sent, however it was merged on its way."""
    path = folder / "file"
    with path.open("wb") as file:
        file.truncate(FILE_BYTES)
    with (
        connected("file", tso=offloads.tso, gso=offloads.tso, gro=offloads.gro) as veth,
        run_monitor(
            veth.right.namespace,
            folder,
            *("-i", veth.right.ifname, "--format", "json", "-t", "0.1"),
            config={"MONITOR_SERVER": True},
        ) as monitor,
        send_file(veth, path, SERVER) as sent,
    ):
        truth = _what_arrived(veth, sent, offloads)
        monitor.wait_for_packets(truth.segments)
        samples = monitor.scrape()
        outcome = monitor.end()
    packets, wire_bytes, payload = outcome.counts("TCP")
    merged = int(samples[f'vtap_merged_packets_total{{interface="{veth.right.ifname}"}}'])
    return [
        Row("packets", offloads.name, "packets", truth.segments, packets),
        Row(TOTAL, offloads.name, "bytes", truth.wire_bytes, wire_bytes),
        Row("payload", offloads.name, "bytes", truth.payload_bytes, payload),
        Row("packets that the kernel had merged", offloads.name, "packets", None, merged),
    ]


def _what_arrived(veth: Veth, sent: Sent, offloads: Offloads) -> Sent:
    """Return what TCP sent without what was dropped before the server's interface.

    Without TSO segments cross one by one, and with GRO into a ring of 256, which they can fill;
    the interface's own counters, older than the merging, then say what arrived. That path (NAPI)
    counts a frame when its Ethernet header has been taken off (veth_xdp_rcv() in drivers/net/
    veth.c). With TSO the counters see merged frames, but nothing is ever dropped.
    """
    arrived = interface_statistics(veth.right.namespace, veth.right.ifname)
    dropped = interface_statistics(veth.left.namespace, veth.left.ifname)["tx_dropped"]
    if offloads.tso:
        assert dropped == 0
        return sent
    assert arrived["rx_packets"] + dropped == sent.segments
    packets = arrived["rx_packets"]
    wire_bytes = arrived["rx_bytes"] + (packets * ETHERNET_BYTES if offloads.gro else 0)
    return Sent(packets, wire_bytes - header_bytes(packets), wire_bytes)
