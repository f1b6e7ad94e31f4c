"""Run the monitor's program on crafted frames, with a clock of the test's own, and read what it
counted.

The very C that a monitor loads, loaded as SCHED_CLS: the kernel runs that type on frames from their
Ethernet header on (program_run.py). Stands on vtap's codegen, compiler and maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcc import BPF

from tests.support.program_run import run_program
from vtap.codegen import generate_source, make_rule_tables
from vtap.compiler import compile_program, fill_rule_table, find_maps, load_program
from vtap.config import Config, Display
from vtap.maps import read_interface, read_streams, write_slot
from vtap.rules import ALL_RULES, Protocol, parse_rule
from vtap.samples import InterfaceSample, StreamKey, StreamSample, layout_streams

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TCP, UDP, ICMP = Protocol
START_NS = 1_000_000_000
GAP_NS = 1_000_000
EVERYTHING = frozenset(Display)
LONGEST_FRAME = 3712  # of a test run: a page but for the kernel's own (net/bpf/test_run.c)


def make_config(
    *rules: str,
    display: Collection[Display] = EVERYTHING,
    pattern: int | None = None,
    offset: int | None = None,
    threshold: int = 2,
) -> Config:
    """Make a configuration from the texts of its rules."""
    return Config(
        rules=tuple(parse_rule(text) for text in rules),
        display=frozenset(display),
        pattern=pattern,
        offset=offset,
        sequence_threshold=threshold,
    )


class Kernel:
    """A program for some interfaces, named "a", "b", ... in slot order.

    Every frame is checked to return 0. The clock stands still but for what send() says.
    """

    def __init__(self, config: Config, *, interfaces: int = 1, direction: str = "in") -> None:
        """Compile and load, which takes BCC some 0.3 s."""
        source = generate_source(config, interfaces, direction, clock_is_tstamp=True)
        self._names = tuple("abcdefgh"[:interfaces])
        self._layout = layout_streams(self._names, (ALL_RULES,))
        self._bpf = compile_program(source)
        self._prog_fd: int = load_program(self._bpf, BPF.SCHED_CLS).fd
        for name, entries in make_rule_tables(config).items():
            fill_rule_table(self._bpf[name.encode()], entries)
        self._read = find_maps(self._bpf)
        self._maps = [b"streams", b"orders", b"interfaces"]
        self._maps += [b"datagram_ports"] if config.reads_ports() else []
        self.now_ns = START_NS

    def reset(self) -> None:
        """Forget every packet, as if just loaded."""
        self.now_ns = START_NS
        for name in self._maps:
            self._bpf[name].clear()

    def set_interface(self, slot: int, ifindex: int) -> None:
        """Give a slot its interface; for programs of several."""
        write_slot(self._read, ifindex, slot)

    def send(
        self,
        *frames: bytes,
        gap_ns: int = GAP_NS,
        gso_segs: int = 0,
        gso_size: int = 0,
        ifindex: int = 0,
        repeat: int = 1,
    ) -> None:
        """Run the program on each frame, gap_ns after the one before."""
        for frame in frames:
            self.now_ns += gap_ns
            run = run_program(
                self._prog_fd,
                frame,
                repeat=repeat,
                gso_segs=gso_segs,
                gso_size=gso_size,
                tstamp_ns=self.now_ns,
                ifindex=ifindex,
            )
            assert run.retval == 0, f"returned {run.retval} for {frame.hex()}"

    def stream(self, protocol: Protocol, interface: str = "a") -> StreamSample:
        """Read the stream of a protocol."""
        key = StreamKey(interface, ALL_RULES, protocol)
        return read_streams(self._read, self._layout)[key]

    def counters(self, protocol: Protocol, interface: str = "a") -> Mapping[str, int]:
        """Read the counters of a protocol's stream."""
        return self.stream(protocol, interface).counters

    def interface(self, interface: str = "a") -> InterfaceSample:
        """Read the counters of an interface besides its streams."""
        return read_interface(self._read, self._names.index(interface), up=True)

    def outcomes(self) -> dict[str, object]:
        """Say where frames went: (packets, bytes, payload_bytes) a protocol, else a number a
        reason; what is 0 is left out.
        """
        found: dict[str, object] = {}
        for key, stream in read_streams(self._read, self._layout).items():
            counts = tuple(stream.counters[name] for name in ("packets", "bytes", "payload_bytes"))
            if any(counts):
                found[key.protocol.name] = counts
        for name in self._names:
            interface = self.interface(name)
            reasons = {**interface.unparsed, "unmatched": interface.unmatched}
            found.update({reason: count for reason, count in reasons.items() if count})
        return found
