"""Sends numbered TCP, UDP and ICMP packets with a known share of sequence errors.

The generator of script/demo; knows nothing of vTap but where it looks for sequence numbers: in the
TCP header, and OFFSET bytes into the payload of UDP and ICMP.

In every 1000 packets of a protocol one number is left out, then five at once, and two packets
change places. With SEQUENCE_THRESHOLD 2 that is small_err 3 (one for the number left out, two
around the swap), big_err 1, reverse_err 1.
"""

import itertools
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

PACKETS_PER_SECOND = 1000  # of each protocol
OFFSET = 4  # of the number in UDP and ICMP payload, bytes

CYCLE = 1000  # packets, after which the errors come again
STEP = {250: 2, 500: 6}  # one number left out; five left out
MOVED = {750: 1, 751: -1}  # a pair that changed places

# To a MAC address that is nobody's: the receiving host must not answer, as behind a mirror port.
ETHERNET = bytes.fromhex("02aaaaaaaa02 02aaaaaaaa01 0800")
SADDR, DADDR = socket.inet_aton("198.51.100.1"), socket.inet_aton("198.51.100.2")


class Template(NamedTuple):
    """A frame whose number is 0."""

    frame: bytes
    number_at: int
    checksum_at: int  # of the transport checksum
    checksum_sum: int  # the sum that it is the complement of, not folded

    def numbered(self, number: int) -> bytes:
        """Return the frame with this number and a valid checksum."""
        frame = bytearray(self.frame)
        struct.pack_into("!I", frame, self.number_at, number)
        checksum = fold(self.checksum_sum + (number >> 16) + (number & 0xFFFF))
        struct.pack_into("!H", frame, self.checksum_at, checksum)
        return bytes(frame)


def fold(total: int) -> int:
    """Return the internet checksum for a sum of 16-bit words (RFC 1071)."""
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def add_words(data: bytes) -> int:
    """Return the sum of the 16-bit big-endian words of data, whose length is even."""
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def make_template(
    protocol: int, header: bytes, payload_size: int, number_at: int, checksum_at: int
) -> Template:
    """Return an IPv4 frame; both positions count from the start of the transport header."""
    segment = header + bytes(payload_size)
    fields = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, protocol, 0)
    ip = fields + SADDR + DADDR
    ip = ip[:10] + struct.pack("!H", fold(add_words(ip))) + ip[12:]
    total = add_words(segment)
    if protocol != socket.IPPROTO_ICMP:  # which has no pseudo header
        total += add_words(SADDR + DADDR) + protocol + len(segment)
    start = len(ETHERNET) + len(ip)
    return Template(ETHERNET + ip + segment, start + number_at, start + checksum_at, total)


def make_templates() -> list[Template]:
    """Return one template a protocol, of different sizes."""
    tcp = struct.pack("!HHIIBBHHH", 40001, 5001, 0, 0, 5 << 4, 0x10, 65535, 0, 0)
    udp = struct.pack("!HHHH", 40002, 5002, 8 + 512, 0)
    icmp = struct.pack("!BBHHH", 8, 0, 0, 1, 1)  # echo request
    return [
        make_template(socket.IPPROTO_TCP, tcp, 1400, number_at=4, checksum_at=16),
        make_template(socket.IPPROTO_UDP, udp, 512, number_at=8 + OFFSET, checksum_at=6),
        make_template(socket.IPPROTO_ICMP, icmp, 56, number_at=8 + OFFSET, checksum_at=2),
    ]


def numbers() -> Iterator[int]:
    """Yield sequence numbers, for ever, with the errors that the module names."""
    number = 0
    for packet in itertools.cycle(range(CYCLE)):
        number += STEP.get(packet, 1)
        yield (number + MOVED.get(packet, 0)) & 0xFFFFFFFF


def send(ifname: str) -> None:
    """Send a packet of each protocol per tick until killed."""
    templates = make_templates()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((ifname, 0))
        due_s = time.monotonic()
        for number in numbers():
            for template in templates:
                out.send(template.numbered(number))
            due_s += 1 / PACKETS_PER_SECOND
            late_s = time.monotonic() - due_s
            if late_s > 1:  # the machine slept: go on from here, without a burst
                due_s += late_s
            elif late_s < 0:
                time.sleep(-late_s)


if __name__ == "__main__":
    send(sys.argv[1])
