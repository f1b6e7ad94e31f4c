"""Gaps between packets: exact sums, and the rule of interruptions."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, icmp, ipv4, tcp, udp
from tests.support.kernel import ICMP, TCP, UDP, Kernel, make_config
from vtap.config import Display

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kernel.conftest import Load
    from vtap.rules import Protocol

SECOND_NS = 1_000_000_000
FRAMES = {
    TCP: ethernet(ipv4(tcp(b"x"))),
    UDP: ethernet(ipv4(udp(b"x"))),
    ICMP: ethernet(ipv4(icmp(b"x"))),
}


def send_gaps(kernel: Kernel, protocol: Protocol, gaps_ns: Sequence[int]) -> None:
    """Send a packet, then one after each gap."""
    kernel.send(FRAMES[protocol])
    for gap_ns in gaps_ns:
        kernel.send(FRAMES[protocol], gap_ns=gap_ns)


def sums(kernel: Kernel, protocol: Protocol) -> tuple[int, int, int, int]:
    """Read gaps, their sum, the sum of their squares, interruptions."""
    counters = kernel.counters(protocol)
    squares = (counters["gap_squares_high"] << 32) + counters["gap_squares_low"]
    return counters["gaps"], counters["gap_sum_ns"], squares, counters["interruptions"]


@pytest.mark.parametrize(
    ("gap_ns", "expected"),
    [
        pytest.param(0, (1, 0, 0, 0), id="0 ns"),
        pytest.param(1, (1, 1, 1, 0), id="1 ns"),
        pytest.param(1_900_000_000, (1, 1_900_000_000, 1_900_000_000**2, 0), id="1.9 s"),
        pytest.param(1_999_999_999, (1, 1_999_999_999, 1_999_999_999**2, 0), id="2 s - 1 ns"),
        pytest.param(2_000_000_000, (1, 2_000_000_000, 2_000_000_000**2, 0), id="2 s"),
        pytest.param(2_000_000_001, (0, 0, 0, 1), id="2 s + 1 ns"),
        pytest.param(2_100_000_000, (0, 0, 0, 1), id="2.1 s"),
        pytest.param(2**32 + 5, (0, 0, 0, 1), id="more than 32 bits"),
        pytest.param(86_400 * SECOND_NS, (0, 0, 0, 1), id="a day"),
        pytest.param(-1, (1, 0, 0, 0), id="1 ns back"),
        pytest.param(-500_000_000, (1, 0, 0, 0), id="0.5 s back"),
    ],
)
def test_gap(load: Load, gap_ns: int, expected: tuple[int, ...]) -> None:
    """Up to two seconds it is a sample, longer an interruption; a time that goes back is 0."""
    kernel = load(make_config())
    send_gaps(kernel, UDP, [gap_ns])

    assert sums(kernel, UDP) == expected


def test_one_packet_is_no_gap(load: Load) -> None:
    """The first packet of a stream, however late, is neither sample nor interruption."""
    kernel = load(make_config())
    kernel.send(FRAMES[UDP], gap_ns=100 * SECOND_NS)

    assert sums(kernel, UDP) == (0, 0, 0, 0)
    assert kernel.counters(UDP)["packets"] == 1


def test_gaps_go_on_after_an_interruption(load: Load) -> None:
    """The next gap is that from the packet that ended the interruption."""
    kernel = load(make_config())
    send_gaps(kernel, UDP, [1000, 3 * SECOND_NS, 2000])

    assert sums(kernel, UDP) == (2, 3000, 1000**2 + 2000**2, 1)


def test_protocols_are_independent(load: Load) -> None:
    """A gap is one between packets of the same protocol."""
    kernel = load(make_config())
    for _ in range(4):
        kernel.send(FRAMES[TCP], FRAMES[UDP], FRAMES[ICMP], gap_ns=1000)

    for protocol in (TCP, UDP, ICMP):
        assert sums(kernel, protocol) == (3, 3 * 3000, 3 * 3000**2, 0)


@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_random_gaps(load: Load, protocol: Protocol) -> None:
    """Of thousands of gaps of every size the sums are exactly Python's."""
    kernel = load(make_config())
    chooser = random.Random(protocol.name)
    gaps_ns = [chooser.randrange(1 << chooser.randrange(1, 33)) for _ in range(5000)]
    send_gaps(kernel, protocol, gaps_ns)

    samples = [gap_ns for gap_ns in gaps_ns if gap_ns <= 2 * SECOND_NS]
    assert sums(kernel, protocol) == (
        len(samples),
        sum(samples),
        sum(gap_ns**2 for gap_ns in samples),
        len(gaps_ns) - len(samples),
    )
    assert 50 < len(gaps_ns) - len(samples) < 200  # both outcomes were tried


def test_longest_gaps_do_not_overflow(load: Load) -> None:
    """The sum of squares goes beyond 64 bits: 10000 gaps of 2 s."""
    kernel = load(make_config(display=[Display.JITTER]))
    send_gaps(kernel, UDP, [2 * SECOND_NS] * 10_000)

    squares = 10_000 * (2 * SECOND_NS) ** 2
    assert squares > 2**64
    assert sums(kernel, UDP) == (10_000, 20_000 * SECOND_NS, squares, 0)
