"""What is off is not compiled: its counters stay 0 and the others are what they would be."""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, ipv4, tcp, udp
from tests.support.kernel import TCP, UDP, make_config
from tests.support.netns import LEFT_MAC, RIGHT_MAC
from vtap.codegen import generate_source
from vtap.config import Display

if TYPE_CHECKING:
    from tests.kernel.conftest import Load

ALL_COMBINATIONS = list(chain.from_iterable(combinations(Display, n) for n in range(5)))
PAYLOAD = b"\xe7\xa5\xc3\x18\x00\x00\x00\x05"

# By switch: counters of the UDP stream after three equal packets of 50 bytes, 1000 ns apart.
COUNTED = {
    Display.THROUGHPUT: {"bytes": 150},
    Display.GOODPUT: {"payload_bytes": 24},
    Display.JITTER: {"gaps": 2, "gap_sum_ns": 2000, "gap_squares_low": 2_000_000},
    Display.SEQUENCE: {"sequence_packets": 3, "sequence_small": 2},
}


@pytest.mark.parametrize(
    "display", ALL_COMBINATIONS, ids=lambda on: "+".join(d.value for d in on) or "nothing"
)
def test_what_is_off_stays_zero(load: Load, display: tuple[Display, ...]) -> None:
    """Only packets are always counted."""
    kernel = load(make_config(display=display, pattern=0xE7A5C318, offset=4))
    kernel.send(*[ethernet(ipv4(udp(PAYLOAD)))] * 3, gap_ns=1000)

    expected = {"packets": 3}
    for switch in display:
        expected.update(COUNTED[switch])
    assert {name: count for name, count in kernel.counters(UDP).items() if count} == expected
    number = 5 if Display.SEQUENCE in display else None
    assert kernel.stream(UDP).sequence_number == number
    assert not any(kernel.counters(TCP).values())


@pytest.mark.parametrize("display", ALL_COMBINATIONS, ids=len)
def test_what_is_off_is_not_compiled(display: tuple[Display, ...]) -> None:
    """Each switch is defined exactly where it is on; without SEQUENCE nothing is searched."""
    source = generate_source(make_config(display=display, pattern=0xE7A5C318, offset=4), 1)

    defined = {d for d in Display if f"#define MEASURE_{d.name}\n" in source}
    assert defined == set(display)
    assert ("#define SEQUENCE_PATTERN " in source) == (Display.SEQUENCE in display)


@pytest.mark.parametrize(("direction", "counted"), [("in", 5), ("out", 0), ("both", 5)])
def test_direction(load: Load, direction: str, counted: int) -> None:
    """What is not sent by the host itself is received: for it, for all, for many or for others.

    That a host's own frames are outgoing is shown on real interfaces: a test run has none.
    """
    kernel = load(make_config(), direction=direction)
    destinations = ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"]
    for destination in (*destinations, LEFT_MAC, RIGHT_MAC):
        kernel.send(ethernet(ipv4(tcp()), destination=destination))

    assert kernel.counters(TCP)["packets"] == counted
    assert kernel.outcomes() == ({"TCP": (5, 270, 0)} if counted else {})
