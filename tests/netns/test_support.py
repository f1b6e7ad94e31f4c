"""The support code is exact: what the other tests take for the truth is true."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bcc import BPF

from tests.support.capture import Capture
from tests.support.frames import ethernet, ipv4, send_frames, udp
from tests.support.injector import Injector, compile_program
from tests.support.netns import Namespace, interface_statistics, ip, veth_pair
from tests.support.program_run import run_program
from tests.support.wait import wait_until

if TYPE_CHECKING:
    import subprocess

    from tests.support.netns import Veth

MILLION = 1_000_000
NUMBER_OFFSET = 14 + 20 + 8  # Ethernet, IPv4, UDP


# Returns what the context says, where it is what the test gave; nothing but __sk_buff is used.
CONTEXT_PROGRAM = b"""
int context(struct __sk_buff *skb)
{
	if (skb->tstamp != 123456789012ULL)
		return 0;
	return skb->len + skb->gso_segs * 10000 + skb->gso_size * 1000000;
}
"""


def numbered_frame(sport: int) -> bytes:
    """Build a UDP frame with room for a number."""
    return ethernet(ipv4(udp(bytes(18), sport=sport)))


def numbers(frames: list[bytes], sport: int) -> list[int]:
    """Take the numbers of one sender's frames."""
    return [
        int.from_bytes(frame[NUMBER_OFFSET:][:4], "big")
        for frame in frames
        if frame[34:36] == sport.to_bytes(2, "big")
    ]


def test_sent_frames_are_counted_by_both_ends(veth: Veth) -> None:
    """The sender's frames are the interface's, byte for byte, in order."""
    frames = [numbered_frame(sport) for sport in range(1, 24)]
    with Capture(veth.right) as capture:
        send_frames(veth.left, frames)

        assert capture.read(100) == frames
    received = interface_statistics(veth.right.namespace, veth.right.ifname)
    sent = interface_statistics(veth.left.namespace, veth.left.ifname)
    assert (received["rx_packets"], received["rx_bytes"]) == (23, 23 * 60)
    assert (sent["tx_packets"], sent["tx_bytes"]) == (23, 23 * 60)


def test_many_sent_frames_are_all_received(veth: Veth) -> None:
    """Nothing is lost between the ends at the rate of a packet socket."""
    with Capture(veth.right) as capture:
        send_frames(veth.left, [numbered_frame(1)] * 100_000)

        assert capture.count() == 100_000
    assert interface_statistics(veth.right.namespace, veth.right.ifname)["rx_packets"] == 100_000


def test_delays_are_kept(veth: Veth) -> None:
    """The whole of the pauses passes, at least."""
    began_s = time.monotonic()
    send_frames(veth.left, [numbered_frame(1)] * 4, delays_s=[0, 0.05, 0.1])

    assert time.monotonic() - began_s >= 0.15
    assert interface_statistics(veth.right.namespace, veth.right.ifname)["rx_packets"] == 4


def test_an_idle_pair_is_silent(veth: Veth) -> None:
    """No frame appears that no test sent."""
    for end in veth:
        statistics = interface_statistics(end.namespace, end.ifname)

        assert (statistics["rx_packets"], statistics["tx_packets"]) == (0, 0)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")
def test_two_cpus_inject_exactly(veth: Veth) -> None:
    """Of a million frames from each of two CPUs at once, two million arrive, each CPU's numbers
    without a gap.
    """
    with (
        Injector(veth.right, number_offset=NUMBER_OFFSET) as injector,
        Capture(veth.right) as capture,
    ):
        injections = [
            injector.start(numbered_frame(1), MILLION, cpu=0, first_number=100),
            injector.start(numbered_frame(2), MILLION, cpu=1, first_number=2**32 - 10),
        ]
        for injection in injections:
            assert injection.wait() > 0

        assert capture.count() == 2 * MILLION
        frames = capture.read(2 * MILLION)
    first, second = numbers(frames, 1), numbers(frames, 2)
    assert first == list(range(100, 100 + len(first)))
    assert second == [(2**32 - 10 + number) % 2**32 for number in range(len(second))]
    assert len(first) + len(second) >= 1000


def test_a_constant_frame_is_injected_unchanged(veth: Veth) -> None:
    """Without a number offset every copy is the template."""
    frame = numbered_frame(1)
    with Injector(veth.right) as injector, Capture(veth.right) as capture:
        injector.inject(frame, 23)

        assert capture.read(100) == [frame] * 23


def test_injected_frames_do_not_count_in_rx_statistics(veth: Veth) -> None:
    """The driver's counters do not see injected frames: Capture is the witness."""
    with Injector(veth.right) as injector:
        injector.inject(numbered_frame(1), 1000)

    assert interface_statistics(veth.right.namespace, veth.right.ifname)["rx_packets"] == 0


def test_a_refused_injection_raises(veth: Veth) -> None:
    """A frame longer than a page is the kernel's EINVAL, not silence."""
    with Injector(veth.right) as injector, pytest.raises(OSError, match="Invalid argument"):
        injector.inject(bytes(9000), 1)


def test_nothing_is_left_after_an_exception() -> None:
    """Namespaces, interfaces and children are gone when a test fails."""
    child: subprocess.Popen[str] | None = None
    names: list[str] = []

    def fail() -> None:
        nonlocal child
        with (
            Namespace("left") as left,
            Namespace("right") as right,
            veth_pair("pair", left, right) as pair,
        ):
            names.extend([left.name, right.name, pair.left.ifname])
            child = left.popen(["sleep", "1000"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert child is not None
    assert child.poll() is not None
    assert not [name for name in names if name in ip("netns list") + ip("link show")]


def test_grandchildren_are_ended() -> None:
    """A process that a command left behind ends with its namespace."""
    with Namespace("inner") as inner:
        inner.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 &"])
        pids = ip(f"netns pids {inner.name}").split()
        assert len(pids) == 1

    wait_until(lambda: not Path("/proc", pids[0]).exists(), 5, "the end of the grandchild")


def test_wait_until_shows_what_was_seen_last() -> None:
    """The failure names the condition and the last observation."""
    with pytest.raises(AssertionError, match=r"waited 0\.02 s for three; seen last: 'two'"):
        wait_until(lambda: False, 0.02, "three", seen=lambda: "two")


def test_run_program_passes_its_context() -> None:
    """A program sees the frame from its Ethernet header on, and the members of __sk_buff that the
    test gave.
    """
    prog_fd = compile_program(CONTEXT_PROGRAM).load_func(b"context", BPF.SCHED_CLS).fd

    run = run_program(
        prog_fd, numbered_frame(1), repeat=3, gso_segs=2, gso_size=30, tstamp_ns=123456789012
    )

    assert run.retval == 60 + 2 * 10_000 + 30 * 1_000_000
    assert run_program(prog_fd, numbered_frame(1)).retval == 0
    with pytest.raises(OSError, match="Invalid argument"):
        run_program(prog_fd, bytes(13))
