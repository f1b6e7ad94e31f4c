"""The text console, to the letter: scripts split its lines at blanks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.samples import ALL_NAMES, make_report, make_sample, stream_key
from vtap.config import Config, Display
from vtap.measurements import Basis, Block, Value
from vtap.outputs.console import Console
from vtap.reports import Report, measured_names
from vtap.rules import Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

TCP, UDP, ICMP = Protocol
INTERVAL = {Basis.INTERVAL, Basis.TOTAL}
JITTER_INTERVAL = {Basis.JITTER_INTERVAL, Basis.TOTAL}

# The block of the specification; the values below are behind it.
BLOCK = """\
Jitter[STDDEV] TCP: 0.0026 ms
Average TCP: 0.0054 ms

Jitter[STDDEV] UDP: 0.0055 ms
Average UDP: 0.0062 ms

Jitter[STDDEV] ICMP: 0.0043 ms
Average ICMP: 0.0059 ms

THROUGHPUT measurement on veth1 each second:
TCP bitrate [MBytes/sec]: 11.5944
UDP bitrate [MBytes/sec]: 10.1840
ICMP bitrate [MBytes/sec]: 10.1840

GOODPUT measurement on veth1 each second:
TCP bitrate [MBytes/sec]: 2.1080
UDP bitrate [MBytes/sec]: 2.8094
ICMP bitrate [MBytes/sec]: 2.8093
ICMP
    seq_num: 181
    count: 3953518
    reverse_err: 33935
    small_err: 3919582
    big_err: 0
    total_sequence_errors: 3953517
TCP
    seq_num: 4294967295
    count: 120
    reverse_err: 1
    small_err: 2
    big_err: 3
    total_sequence_errors: 6
UDP
    seq_num: 0
    count: 0
    reverse_err: 0
    small_err: 0
    big_err: 0
    total_sequence_errors: 0

"""
JITTER, THROUGHPUT, GOODPUT = (
    BLOCK.partition("THROUGHPUT")[0],
    *(
        f"{title} measurement{BLOCK.partition(title + ' measurement')[2].partition(end)[0]}"
        for title, end in (("THROUGHPUT", "\nGOODPUT"), ("GOODPUT", "ICMP\n "))
    ),
)
SEQUENCE = BLOCK.partition("2.8093\n")[2]


def sequence(number: int | None, *counts: int) -> dict[str, int | None]:
    names = ["packets", "reverse", "small", "big", "errors"]
    return {
        "sequence.number": number,
        **{f"sequence.{name}": count for name, count in zip(names, counts)},
    }


VALUES: dict[Protocol, dict[str, Value | None]] = {
    TCP: {
        "jitter_stddev_seconds": 0.0000026,
        "interarrival_mean_seconds": 0.0000054,
        "throughput_bytes_per_second": 11_594_400.0,
        "goodput_bytes_per_second": 2_108_000,
        **sequence(4294967295, 120, 1, 2, 3, 6),
    },
    UDP: {
        "jitter_stddev_seconds": 0.00000549,
        "interarrival_mean_seconds": 0.0000062,
        "throughput_bytes_per_second": 10_184_000.0,
        "goodput_bytes_per_second": 2_809_351.0,
        **sequence(None, 0, 0, 0, 0, 0),
    },
    ICMP: {
        "jitter_stddev_seconds": 0.0000043,
        "interarrival_mean_seconds": 0.0000059,
        "throughput_bytes_per_second": 10_183_999.9,
        "goodput_bytes_per_second": 2_809_349.0,
        **sequence(181, 3953518, 33935, 3919582, 0, 3953517),
    },
}


def reports_of(interface: str = "veth1", **more: Any) -> list[Report]:
    return [
        make_report(stream_key(protocol, interface), VALUES[protocol], **more)
        for protocol in Protocol
    ]


def render(reports: list[Report], **options: Any) -> str:
    stream = io.StringIO()
    Console(stream, **{"interval_s": 1.0, **options}).emit(reports, make_sample())
    return stream.getvalue()


def measured_with(display: AbstractSet[Display]) -> Mapping[Protocol, AbstractSet[str]]:
    config = Config(display=frozenset(display), offset=0)
    return {protocol: measured_names(config, stream_key(protocol)) for protocol in Protocol}


def test_the_block_is_that_of_the_specification() -> None:
    """Jitter, throughput, goodput, then sequence numbers; an empty line ends it."""
    assert render(reports_of()) == BLOCK


def test_scripts_find_values_by_the_number_of_the_word() -> None:
    """Word 3 of a bitrate line, word 2 of a jitter or average line, counted from 0."""
    lines = [line.split() for line in render(reports_of()).splitlines()]

    assert [words[3] for words in lines if "bitrate" in words] == [
        "11.5944", "10.1840", "10.1840", "2.1080", "2.8094", "2.8093",
    ]  # fmt: skip
    assert [words[2] for words in lines if words and words[0] in ("Jitter[STDDEV]", "Average")] == [
        "0.0026", "0.0054", "0.0055", "0.0062", "0.0043", "0.0059",
    ]  # fmt: skip


def test_the_words_at_an_index_hold_for_bits_too() -> None:
    """-b changes the unit and the value, not the number of words."""
    lines = render(reports_of(), bits=True).splitlines()

    assert "TCP bitrate [Mbits/sec]: 92.7552" in lines
    assert "TCP bitrate [Mbits/sec]: 16.8640" in lines
    assert [line.split()[3] for line in lines if "bitrate" in line][0::3] == ["92.7552", "16.8640"]
    assert "MBytes" not in "".join(lines)
    assert [line for line in lines if "bitrate" not in line] == [
        line for line in BLOCK.splitlines() if "bitrate" not in line
    ]


@pytest.mark.parametrize(
    ("interval_s", "words"),
    [(1.0, "each second:"), (5.0, "each 5 seconds:"), (0.5, "each 0.5 seconds:"),
     (86400.0, "each 86400 seconds:")],
)  # fmt: skip
def test_the_interval_is_named(interval_s: float, words: str) -> None:
    """ "each second" becomes "each 5 seconds" with -t 5, in both titles."""
    text = render(reports_of(), interval_s=interval_s)

    assert text.count(f" measurement on veth1 {words}\n") == 2


def test_jitter_is_shown_when_its_interval_ends() -> None:
    """And nothing else with it."""
    assert render(reports_of(ended=JITTER_INTERVAL)) == JITTER


def test_the_other_blocks_are_shown_when_the_interval_ends() -> None:
    """Jitter is not repeated."""
    assert render(reports_of(ended=INTERVAL)) == BLOCK[len(JITTER) :]


@pytest.mark.parametrize(
    ("display", "text"),
    [
        ({Display.JITTER}, JITTER),
        ({Display.THROUGHPUT}, THROUGHPUT + "\n"),
        ({Display.GOODPUT}, GOODPUT + "\n"),
        ({Display.SEQUENCE}, SEQUENCE),
        ({Display.JITTER, Display.THROUGHPUT}, JITTER + THROUGHPUT + "\n"),
        ({Display.JITTER, Display.GOODPUT}, JITTER + GOODPUT + "\n"),
        ({Display.JITTER, Display.SEQUENCE}, JITTER + SEQUENCE),
        ({Display.THROUGHPUT, Display.GOODPUT}, f"{THROUGHPUT}\n{GOODPUT}\n"),
        ({Display.THROUGHPUT, Display.SEQUENCE}, THROUGHPUT + SEQUENCE),
        ({Display.GOODPUT, Display.SEQUENCE}, GOODPUT + SEQUENCE),
        (set(Display) - {Display.JITTER}, f"{THROUGHPUT}\n{GOODPUT}{SEQUENCE}"),
        (set(Display) - {Display.THROUGHPUT}, JITTER + GOODPUT + SEQUENCE),
        (set(Display) - {Display.GOODPUT}, JITTER + THROUGHPUT + SEQUENCE),
        (set(Display) - {Display.SEQUENCE}, f"{JITTER}{THROUGHPUT}\n{GOODPUT}\n"),
        (set(Display), BLOCK),
        (set(), ""),
    ],
)  # fmt: skip
def test_what_is_off_is_not_shown(display: AbstractSet[Display], text: str) -> None:
    """Each of the sixteen combinations, to the letter."""
    measured = measured_with(display)
    reports = [
        make_report(stream_key(protocol), VALUES[protocol], measured=measured[protocol])
        for protocol in Protocol
    ]

    assert render(reports) == text


def test_what_is_not_measured_is_shown_as_0() -> None:
    """Without a gap, a rate or a number."""
    reports = [make_report(stream_key(protocol)) for protocol in Protocol]
    numbers = {
        line.split(": ")[1] for line in render(reports).splitlines() if ": " in line
    }  # fmt: skip

    assert numbers == {"0", "0.0000", "0.0000 ms"}


def test_each_interface_has_its_block() -> None:
    """Where there are several, the parts that the original design leaves without a name say it."""
    text = render(reports_of("veth1") + reports_of("veth2"))

    named = (
        "JITTER measurement on veth1:\n"
        + JITTER
        + f"{THROUGHPUT}\n{GOODPUT}"
        + "SEQUENCE ERRORS on veth1:\n"
        + SEQUENCE
    )
    assert text == named + named.replace("veth1", "veth2")


def test_rows_of_single_rules_are_not_in_the_block() -> None:
    """It is about the row over all rules."""
    voice = make_report(stream_key(TCP, rule="voice"), VALUES[UDP])

    assert render([voice, *reports_of(), voice]) == BLOCK


@pytest.mark.parametrize(
    ("block", "ended", "text"),
    [
        (Block.THROUGHPUT, INTERVAL, THROUGHPUT),
        (Block.JITTER, JITTER_INTERVAL, JITTER),
        (Block.JITTER, INTERVAL, ""),
    ],
)
def test_only_one_block_may_be_asked_for(
    block: Block, ended: AbstractSet[Basis], text: str
) -> None:
    """-test_throughput and -test_jitter print that block and nothing more."""
    assert render(reports_of(ended=ended), only={block}) == text


class CountingStream(io.StringIO):
    """Counts what reaches a pipe at once."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append("write")
        return super().write(text)

    def flush(self) -> None:
        self.calls.append("flush")


def test_an_interval_is_one_write_and_one_flush() -> None:
    """A script that reads a pipe sees whole blocks; closing leaves the stream open."""
    stream = CountingStream()
    console = Console(stream, interval_s=1.0)
    console.emit(reports_of("veth1") + reports_of("veth2"), make_sample())
    console.close()

    assert stream.calls == ["write", "flush"]
    assert not stream.closed


def test_the_parts_of_the_block_above_are_what_they_seem() -> None:
    """The test's own slices put together are the block."""
    assert f"{JITTER}{THROUGHPUT}\n{GOODPUT}{SEQUENCE}" == BLOCK
    assert {name for values in VALUES.values() for name in values} <= ALL_NAMES
