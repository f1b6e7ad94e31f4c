"""Run the other tools: trafgen, bmon, tcpdump and tshark; what they print becomes numbers.

Stands on the namespaces of tests/support; knows nothing of vTap.
"""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import IO

    from tests.support.netns import Interface

TOOLS = ("trafgen", "iperf3", "bmon", "tcpdump", "tshark", "ping", "ethtool", "tc", "ss")
START_S = 30  # a tool starts in a second; the rest is for other people's load on the machine
BMON_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
PROTOCOL_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMP"}  # IANA protocol numbers
CAPTURE_BUFFER_KIB = 65_536
PCAP_HEADER_BYTES, PCAP_RECORD_BYTES, PCAP_CAPTURED_AT = 24, 16, 8  # pcap-savefile(5)


class LineReader:
    """Reads a stream line by line on a thread, so that no writer ever waits for the test."""

    def __init__(self, open_stream: Callable[[], IO[str]]) -> None:
        """Start; the stream is opened on the thread, since a FIFO waits for its writer."""
        self.lines: list[str] = []
        self._open_stream = open_stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._open_stream() as stream:
            for text in stream:
                self.lines.append(text.rstrip("\n"))

    def wait_for_end(self) -> list[str]:
        """Wait until the writer has closed the stream, and return every line."""
        self._thread.join(START_S)
        assert not self._thread.is_alive(), "the writer has not closed its pipe"
        return self.lines


def trafgen_packet(frame: bytes, counters: Sequence[tuple[int, str]] = ()) -> str:
    """Write a frame in trafgen's language; counters are a byte's offset and what stands there."""
    parts = [f"{byte:#04x}" for byte in frame]
    for offset, counter in counters:
        parts[offset] = counter
    return f"{{ {', '.join(parts)} }}\n"


def run_trafgen(
    interface: Interface, folder: Path, packets: Sequence[str], count: int, *pace: str
) -> None:
    """Send `count` packets, taking turns, in one process; pace is --gap 10ms or --rate 500pps."""
    config = folder / "trafgen.cfg"
    config.write_text("".join(packets))
    command = ["trafgen", "--conf", str(config), "--dev", interface.ifname, "--num", str(count)]
    command += ["--cpus", "1", "--no-cpu-stats", "--notouch-irq", *pace]
    interface.namespace.run(command, timeout_s=120)


class Bmon:
    """bmon -o ascii on one interface; see run_bmon()."""

    def __init__(self, pid: int, reader: LineReader, ifname: str) -> None:
        self.pid = pid
        self._reader = reader
        self._ifname = ifname

    def rates(self) -> list[float]:
        """Return what it has printed as received bytes per second.

        bmon lists an interface twice, the second time one blank further in; only that one counts.
        """
        pattern = re.compile(rf"   {re.escape(self._ifname)} +([0-9.]+)([KMG]?i?B?) ")
        found = [pattern.match(line) for line in list(self._reader.lines)]
        return [float(match[1]) * BMON_UNITS[match[2]] for match in found if match]

    def wait_for_rates(self, condition: Callable[[list[float]], bool], what: str) -> None:
        """Wait until the rates printed up to now meet a condition."""
        wait_until(lambda: condition(self.rates()), START_S, what, seen=self.rates)


def undo_bmon_filter(rates: Sequence[float]) -> list[float]:
    """Return what bmon measured in each interval, from what it prints.

    It prints y = (3 x + y') / 4, where y' is what it printed before; x alone if that was 0
    (calc_counter_rate() in bmon's src/attr.c).
    """
    return [(4 * y - y_before) / 3 if y_before else y for y_before, y in zip([0.0, *rates], rates)]


@contextlib.contextmanager
def run_bmon(interface: Interface) -> Iterator[Bmon]:
    """Run bmon as a script would, through a pipe, once it has measured an interval.

    The interface must have received something before: as long as a counter is 0, bmon takes the
    next reading for its start, and what came in between is in no rate.
    """
    process = interface.namespace.popen(
        ["bmon", "-p", interface.ifname, "-o", "ascii"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    stream = process.stdout
    bmon = Bmon(process.pid, LineReader(lambda: stream), interface.ifname)
    try:
        bmon.wait_for_rates(lambda rates: len(rates) > 0, "bmon's first interval")
        yield bmon
    finally:
        process.kill()
        process.wait()


class Packet(NamedTuple):
    """What a capture tool says of a packet; the time in nanoseconds since the epoch."""

    time_ns: int
    protocol: str
    wire_bytes: int


class Capture:
    """A tcpdump that writes a file; see run_tcpdump()."""

    def __init__(self, path: Path, process: subprocess.Popen[str], said: LineReader) -> None:
        self.path = path
        self._process = process
        self._said = said

    def wait_until_ready(self) -> None:
        """Wait for the line that it prints when the socket is open."""
        wait_until(lambda: "listening on" in self._text(), START_S, "tcpdump", seen=self._text)

    def wait_for_end(self) -> None:
        """Wait until it has as many packets as it was to take; fails if the kernel dropped any.

        Ended by a signal instead, it would leave unread what the kernel still holds for it.
        """
        wait_until(
            lambda: self._process.poll() is not None,
            START_S,
            "tcpdump's last packet",
            seen=self._text,
        )
        self._said.wait_for_end()
        assert " 0 packets dropped by kernel" in self._text().replace("\n", " "), self._text()

    def _text(self) -> str:
        return "\n".join(list(self._said.lines))

    def frames(self) -> Iterator[bytes]:
        """Yield the start of each frame: pcap's header, then a record header before each frame."""
        content = self.path.read_bytes()
        at = PCAP_HEADER_BYTES
        while at < len(content):
            (captured,) = struct.unpack_from("=I", content, at + PCAP_CAPTURED_AT)
            at += PCAP_RECORD_BYTES
            yield content[at : at + captured]
            at += captured

    def packets(self) -> list[Packet]:
        """Have tshark read times with nine decimals, protocols, and lengths on the wire."""
        names = ("frame.time_epoch", "ip.proto", "ipv6.nxt", "frame.len")
        fields = self._tshark("-T", "fields", *(word for name in names for word in ("-e", name)))
        return [_parse_packet(*line.split("\t")) for line in fields.splitlines()]

    def bytes_matching(self, display_filters: Sequence[str]) -> list[int]:
        """Have tshark add up the bytes on the wire of the packets that each filter lets through."""
        said = self._tshark("-q", "-z", "io,stat,0," + ",".join(display_filters))
        line = re.search(r"^\|\s*0\.0+ *<> .*$", said, re.MULTILINE)
        assert line, said
        numbers = [int(cell) for cell in line[0].split("|")[2:] if cell.strip()]
        return numbers[1::2]  # frames and bytes take turns

    def _tshark(self, *options: str) -> str:
        done = subprocess.run(
            ["tshark", "-n", "-r", str(self.path), *options],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # "Running as user root"
            text=True,
        )
        return done.stdout


def _parse_packet(epoch: str, proto: str, next_header: str, length: str) -> Packet:
    seconds, _, fraction = epoch.partition(".")
    time_ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    return Packet(time_ns, PROTOCOL_NAMES.get(int(proto or next_header or -1), ""), int(length))


@contextlib.contextmanager
def run_tcpdump(interface: Interface, folder: Path, count: int) -> Iterator[Capture]:
    """Capture the headers of `count` packets that an interface receives, with nanosecond times."""
    path = folder / "tcpdump.pcap"
    command = ["tcpdump", "-i", interface.ifname, "-Q", "in", "-n", "-s", "128", "--nano"]
    command += ["--immediate-mode", "-Z", "root", "-B", str(CAPTURE_BUFFER_KIB)]
    command += ["-c", str(count), "-w", str(path)]
    process = interface.namespace.popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    stream = process.stderr
    capture = Capture(path, process, LineReader(lambda: stream))
    try:
        capture.wait_until_ready()
        yield capture
    finally:
        process.kill()
        process.wait()
