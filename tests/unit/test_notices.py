"""What a user must see on standard error to trust the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.samples import counters, interface_sample, make_sample, stream_key
from vtap.outputs.notices import Notices
from vtap.rules import Protocol
from vtap.samples import InterfaceSample, Sample, StreamSample

if TYPE_CHECKING:
    from collections.abc import Sequence


def said_of(samples: Sequence[Sample], *, close: bool = False) -> list[str]:
    said: list[str] = []
    notices = Notices(said.append)
    for sample in samples:
        notices.emit([], sample)
    if close:
        notices.close()
    return said


def sample_of(interface: InterfaceSample) -> Sample:
    return make_sample(interfaces={"veth1": interface})


def test_all_well_is_silence() -> None:
    """Nothing is said while nothing is to be said."""
    assert said_of([make_sample(), make_sample(1)]) == []


def test_an_interface_that_goes_and_comes_is_said_once_each() -> None:
    """Not with every sample."""
    up, down = sample_of(interface_sample()), sample_of(interface_sample(up=False))

    assert said_of([up, down, down, up, up, down]) == [
        "veth1: gone, down or without a carrier; waiting for it",
        "veth1: up again",
        "veth1: gone, down or without a carrier; waiting for it",
    ]


def test_merged_packets_are_said_once_with_the_cure() -> None:
    """Their times are lost, which jitter does not show."""
    assert said_of([sample_of(interface_sample(merged=count)) for count in (0, 2, 9)]) == [
        "veth1: the kernel merges packets, so times and sequence numbers of some are lost; "
        "ethtool -K veth1 gro off lro off"
    ]


def test_at_the_end_stands_what_was_counted_and_what_was_not() -> None:
    """The sum over all protocols of the row over all rules; only reasons that occurred."""
    streams = {
        stream_key(protocol, rule=rule): StreamSample(counters(packets=packets), None)
        for rule, packets in (("all", 5), ("voice", 100))
        for protocol in Protocol
    }
    last = make_sample(
        streams=streams,
        interfaces={
            "veth1": interface_sample(unmatched=3, not_ip=2, too_many_tags=1),
            "veth2": interface_sample(),
        },
    )

    assert said_of([make_sample(), last], close=True) == [
        "veth1: 15 packets counted, 3 unmatched, 2 not ip, 1 too many tags",
        "veth2: 0 packets counted",
    ]


def test_an_end_before_the_first_sample_says_nothing() -> None:
    """There is nothing to add up."""
    assert said_of([], close=True) == []
