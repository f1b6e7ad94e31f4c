"""Sequence errors: streams with known faults, by TCP header, by offset and by pattern, at once.

One monitor for each way in which UDP and ICMP carry their number, with one interface a stream.
"""

from __future__ import annotations

import contextlib
import functools
import random
import struct
from typing import TYPE_CHECKING, NamedTuple

from tests.acceptance.faults import PACKETS, RESET_AT, SEED, make_streams
from tests.acceptance.reference import Counts, count_faults
from tests.acceptance.rows import Row
from tests.acceptance.rulesets import PROTOCOLS
from tests.acceptance.tools import run_tcpdump, run_trafgen, trafgen_packet
from tests.support.frames import (
    ethernet,
    icmp,
    icmpv6,
    ipv4,
    ipv6,
    send_frames,
    tcp,
    udp,
)
from tests.support.monitor import run_monitor
from tests.support.netns import Namespace, veth_pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PATTERN = 0xE7A5C318
LONGEST_PREFIX = 1200
SEQUENCE = "sequence numbers: packets / reverse / small / big"
TCP_NUMBER_AT = 4  # bytes into the header, RFC 9293 section 3.1


class Carrier(NamedTuple):
    """How UDP and ICMP carry their number, and how vTap is told."""

    name: str
    has_pattern: bool
    prefix: bool
    offset: int
    threshold: int
    ipv6: bool = False


CARRIERS = (
    Carrier("offset", has_pattern=False, prefix=False, offset=4, threshold=2),
    Carrier("offset, IPv6", has_pattern=False, prefix=False, offset=17, threshold=2, ipv6=True),
    Carrier("pattern", has_pattern=True, prefix=False, offset=4, threshold=2),
    Carrier("pattern behind a random prefix", has_pattern=True, prefix=True, offset=9, threshold=4),
)


class Outcome(NamedTuple):
    """What one carrier's monitor counted, by the stream's name and the protocol."""

    carrier: Carrier
    counted: dict[tuple[str, str], Counts]
    last_numbers: dict[tuple[str, str], int]
    expected: dict[tuple[str, str], Counts]
    sent_last: dict[tuple[str, str], int]


def run_sequence(carrier: Carrier, folder: Path) -> Outcome:
    """Send every stream in every protocol, each stream to an interface of its own."""
    streams = make_streams(SEED)
    with (
        Namespace("sequence") as sender,
        Namespace("sequence") as receiver,
        contextlib.ExitStack() as stack,
    ):
        pairs = {
            name: stack.enter_context(veth_pair("sequence", sender, receiver)) for name in streams
        }
        ifnames = {name: pair.right.ifname for name, pair in pairs.items()}
        with run_monitor(
            receiver,
            folder,
            *("--format", "json", "-t", "0.2", "-i", *ifnames.values()),
            config={
                "PATTERN": f"{PATTERN if carrier.has_pattern else 0xFFFFFFFF:#x}",
                "OFFSET": carrier.offset,
                "SEQUENCE_THRESHOLD": carrier.threshold,
            },
        ) as monitor:
            for name, numbers in streams.items():
                send_frames(pairs[name].left, _make_frames(carrier, numbers))
            monitor.wait_for_packets(len(PROTOCOLS) * sum(map(len, streams.values())))
            outcome = monitor.end()
    assert outcome.status == 0
    keys = [(name, protocol) for name in streams for protocol in PROTOCOLS]
    rows = {key: outcome.total(key[1], interface=ifnames[key[0]])["sequence"] for key in keys}
    return Outcome(
        carrier,
        {key: _counts(row) for key, row in rows.items()},
        {key: row["number"] for key, row in rows.items()},
        {key: count_faults(streams[key[0]], carrier.threshold) for key in keys},
        {key: streams[key[0]][-1] for key in keys},
    )


def run_trafgen_counters(folder: Path) -> list[Row]:
    """Let trafgen count in the frames itself, in steps of 1 to 4 with a reset, as it does: its
    counter is a byte, and wraps within its range. The truth is what tcpdump
    captured.
    """
    rows = []
    for step in (1, 2, 3, 4):
        own = folder / f"step{step}"
        own.mkdir()
        rows += _run_counters(own, step)
    return rows


def _run_counters(folder: Path, step: int) -> list[Row]:
    carrier = CARRIERS[0]
    counter = f"dinc(0, {RESET_AT - 1}, {step})"
    packets = []
    last_byte = {}
    for protocol in PROTOCOLS:
        payload = bytes(carrier.offset + 4)
        header = _header(protocol, len(payload), ipv6_header=False)
        number_at = TCP_NUMBER_AT - 20 if protocol == "TCP" else carrier.offset
        last_byte[protocol] = len(header) + number_at + 3
        packets.append(trafgen_packet(header + payload, [(last_byte[protocol], counter)]))
    with (
        Namespace("counters") as sender,
        Namespace("counters") as receiver,
        veth_pair("counters", sender, receiver) as veth,
        run_monitor(
            receiver,
            folder,
            *("--format", "json", "-t", "0.2", "-i", veth.right.ifname),
            config={"OFFSET": carrier.offset, "SEQUENCE_THRESHOLD": carrier.threshold},
        ) as monitor,
        run_tcpdump(veth.right, folder, PACKETS * len(packets)) as capture,
    ):
        run_trafgen(veth.left, folder, packets, PACKETS * len(packets), "--rate", "5000pps")
        monitor.wait_for_packets(PACKETS * len(packets))
        outcome = monitor.end()
        capture.wait_for_end()
    captured = list(capture.frames())
    numbers = {
        protocol: [int.from_bytes(frame[at - 3 : at + 1], "big") for frame in captured[turn::3]]
        for turn, (protocol, at) in enumerate(last_byte.items())
    }
    name = (
        f"trafgen counting in steps of {step}, reset at {RESET_AT}, threshold {carrier.threshold}"
    )
    return [
        Row(
            SEQUENCE,
            name,
            "",
            tuple(count_faults(numbers[protocol], carrier.threshold)),
            tuple(_counts(outcome.total(protocol)["sequence"])),
            stream=protocol,
        )
        for protocol in PROTOCOLS
    ]


def _counts(row: Mapping[str, int]) -> Counts:
    return Counts(row["packets"], row["reverse"], row["small"], row["big"])


def make_rows(outcome: Outcome) -> list[Row]:
    """Return a row for each stream and protocol."""
    carrier = outcome.carrier
    return [
        Row(
            SEQUENCE,
            f"{name}, threshold {carrier.threshold}",
            "",
            tuple(outcome.expected[name, protocol]),
            tuple(counted),
            stream="TCP by header" if protocol == "TCP" else f"{protocol} by {carrier.name}",
        )
        for (name, protocol), counted in outcome.counted.items()
    ]


def _make_frames(carrier: Carrier, numbers: Sequence[int]) -> Iterator[bytes]:
    """Yield a frame of each protocol for each number."""
    draw = random.Random(SEED)
    for number in numbers:
        for protocol in PROTOCOLS:
            payload = _make_payload(carrier, number, draw) if protocol != "TCP" else b""
            frame = bytearray(_header(protocol, len(payload), ipv6_header=carrier.ipv6) + payload)
            if protocol == "TCP":
                start = len(frame) - 20 + TCP_NUMBER_AT
                frame[start : start + 4] = struct.pack("!I", number)
            yield bytes(frame)


def _make_payload(carrier: Carrier, number: int, draw: random.Random) -> bytes:
    """Put the number OFFSET bytes after the pattern's first byte, or the payload's."""
    pattern = struct.pack("!I", PATTERN) if carrier.has_pattern else b""
    filler = draw.randbytes(carrier.offset - len(pattern))
    prefix = draw.randbytes(draw.randrange(LONGEST_PREFIX)) if carrier.prefix else b""
    # Random bytes that happen to complete the pattern earlier would be another stream.
    while pattern and (prefix + pattern).index(pattern) < len(prefix):
        prefix = draw.randbytes(len(prefix))
    return prefix + pattern + filler + struct.pack("!I", number)


@functools.cache
def _header(protocol: str, payload_bytes: int, *, ipv6_header: bool) -> bytes:
    """Build everything before the payload; checksums are of an empty one, nobody looks at them."""
    transport = {"TCP": tcp, "UDP": udp, "ICMP": icmpv6 if ipv6_header else icmp}[protocol]
    network = ipv6 if ipv6_header else ipv4
    frame = ethernet(network(transport(bytes(payload_bytes))))
    return frame[: len(frame) - payload_bytes]
