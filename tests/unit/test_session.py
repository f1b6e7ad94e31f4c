"""The session: intervals on a grid, sums that add up, rates by measured time.

The clock is a list of times at which somebody wakes; nothing sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.support.samples import counters, gap_counters, interface_sample, stream_key
from vtap.config import Config
from vtap.measurements import Basis
from vtap.rules import Protocol
from vtap.samples import Sample, StreamSample
from vtap.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vtap.reports import Report

MS = 1_000_000
SECOND = 1_000_000_000
START = 7 * SECOND  # the monotonic clock does not start at 0
TCP, UDP = stream_key(Protocol.TCP), stream_key(Protocol.UDP)
GAP_SUMS = ("gaps", "gap_sum_ns", "gap_squares_low", "gap_squares_high")


@dataclass
class FakeProgram:
    """Counts a packet of 100 bytes each millisecond from the start; what else is added by hand."""

    now_ns: int = START
    counted: dict[str, int] = field(default_factory=dict)
    number: int | None = None
    reads: list[int] = field(default_factory=list)
    before_read: Callable[[], None] = lambda: None

    def read(self) -> Sample:
        self.before_read()
        self.reads.append(self.now_ns - START)
        packets = (self.now_ns - START) // MS
        tcp = counters(packets=packets, bytes=100 * packets, **self.counted)
        return Sample(
            self.now_ns,
            1e9 + self.now_ns / SECOND,
            {TCP: StreamSample(tcp, self.number), UDP: StreamSample(counters(), None)},
            {"veth1": interface_sample()},
        )

    def count_gaps(self, *gaps_ns: int, interruptions: int = 0) -> None:
        added = {**gap_counters(gaps_ns), "interruptions": interruptions}
        self.counted = {name: self.counted.get(name, 0) + added[name] for name in added}


@dataclass
class Recorder:
    """An output that keeps the TCP reports."""

    reports: list[Report] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    closed: int = 0

    def emit(self, reports: Sequence[Report], sample: Sample) -> None:
        assert [report.key for report in reports] == [TCP, UDP]
        self.reports.append(reports[0])
        self.samples.append(sample)

    def close(self) -> None:
        self.closed += 1

    def ends(self, basis: Basis = Basis.INTERVAL) -> list[float]:
        """Return when intervals ended, in seconds after the start."""
        pairs = zip(self.reports, self.samples)
        return [(s.time_ns - START) / SECOND for r, s in pairs if basis in r.ended]

    def values(self, name: str) -> list[float | int | None]:
        return [report.values[name] for report in self.reports]


class Clock:
    """A Stop whose wait() moves the program's time instead of waiting.

    late_ns is added to each wake-up in turn, 0 when used up; stopped after the time stop_s.
    """

    def __init__(
        self, program: FakeProgram, *, late_ns: Sequence[int] = (), stop_s: float = 60.0
    ) -> None:
        self._program = program
        self._late_ns = list(late_ns)
        self._stop_ns = START + round(stop_s * SECOND)
        self.waits: list[float] = []

    def wait(self, timeout: float) -> bool:
        assert timeout >= 0
        assert len(self.waits) < 1000, "the session does not end"
        self.waits.append(timeout)
        late_ns = self._late_ns.pop(0) if self._late_ns else 0
        wake_ns = self._program.now_ns + round(timeout * SECOND) + late_ns
        self._program.now_ns = min(wake_ns, self._stop_ns)
        return wake_ns >= self._stop_ns


def run(
    program: FakeProgram,
    *,
    interval_s: float = 1.0,
    jitter_interval_s: float = 1.0,
    duration_s: float | None = None,
    late_ns: Sequence[int] = (),
    stop_s: float = 60.0,
) -> Recorder:
    recorder = Recorder()
    session = Session(
        program,
        [recorder],
        Config(),
        interval_s=interval_s,
        jitter_interval_s=jitter_interval_s,
        duration_s=duration_s,
        monotonic_ns=lambda: program.now_ns,
    )
    session.run(Clock(program, late_ns=late_ns, stop_s=stop_s))
    return recorder


def hand_ticked(program: FakeProgram, **intervals: float) -> tuple[Session, Recorder]:
    recorder = Recorder()
    return (
        Session(
            program, [recorder], Config(), monotonic_ns=lambda: program.now_ns, **intervals
        ),
        recorder,
    )  # fmt: skip


def tick(session: Session, program: FakeProgram, time_s: float, *, final: bool = False) -> None:
    program.now_ns = START + round(time_s * SECOND)
    session.tick(final=final)


def test_intervals_end_on_a_grid() -> None:
    """Each second from the start, one report each."""
    assert run(FakeProgram(), duration_s=4).ends() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("interval_s", "count"), [(1.0, 5), (0.5, 10), (2.5, 2), (5.0, 1)])
def test_a_duration_of_whole_intervals_has_no_empty_one_at_its_end(
    interval_s: float, count: int
) -> None:
    """5 s are five seconds, not five and a moment."""
    ends = run(FakeProgram(), interval_s=interval_s, duration_s=5).ends()

    assert ends == [interval_s * number for number in range(1, count + 1)]


def test_waking_too_early_makes_no_empty_interval_either() -> None:
    """A wait that ends a microsecond early is waited for again, at the end of the run too."""
    program = FakeProgram()

    assert run(program, duration_s=2, late_ns=[-1000, 0, -1000]).ends() == [1.0, 2.0]


def test_a_reading_that_reaches_the_end_is_the_last() -> None:
    """Time that passes between the wake-up and the reading does not make one interval more."""
    program = FakeProgram()

    def advance() -> None:
        program.now_ns += 2000

    recorder = Recorder()
    session = Session(
        program, [recorder], Config(), duration_s=2, monotonic_ns=lambda: program.now_ns
    )
    program.before_read = advance
    session.run(Clock(program, late_ns=[0, -1000]))

    assert recorder.ends() == [1.000002, 2.000001]


def test_late_samples_do_not_add_up() -> None:
    """An interval that ended 0.3 s late is followed by one that ends on the grid."""
    recorder = run(FakeProgram(), duration_s=4, late_ns=[300 * MS, 10 * MS])

    assert recorder.ends() == [1.3, 2.01, 3.0, 4.0]
    assert recorder.values("packets") == [1300, 710, 990, 1000]


def test_a_sample_that_is_very_late_leaves_whole_intervals_out() -> None:
    """After 2.5 s of silence of this process one long interval is reported, not three."""
    recorder = run(FakeProgram(), duration_s=5, late_ns=[1500 * MS])

    assert recorder.ends() == [2.5, 3.0, 4.0, 5.0]
    assert recorder.values("packets") == [2500, 500, 1000, 1000]


def test_rates_divide_by_the_measured_time() -> None:
    """A packet a millisecond is 1000 a second, however late the samples are."""
    recorder = run(FakeProgram(), duration_s=4, late_ns=[300 * MS, 10 * MS, 700 * MS])

    assert recorder.values("packets_per_second") == pytest.approx([1000.0] * 4, rel=1e-12)
    assert recorder.values("throughput_bytes_per_second") == pytest.approx([1e5] * 4, rel=1e-12)
    assert [report.moment.seconds for report in recorder.reports] == [1.3, 0.71, 1.69, 0.3]


def test_the_last_interval_may_be_partial() -> None:
    """What has begun when the run is stopped is measured and emitted."""
    recorder = run(FakeProgram(), stop_s=2.25)

    assert recorder.ends() == [1.0, 2.0, 2.25]
    assert recorder.values("packets") == [1000, 1000, 250]
    assert recorder.values("packets_per_second") == [1000.0] * 3


def test_a_run_stopped_before_its_first_interval_reports_it() -> None:
    """-t 60, stopped after 1.5 s: one report of 1.5 s."""
    recorder = run(FakeProgram(), interval_s=60, jitter_interval_s=60, stop_s=1.5)

    assert recorder.ends() == recorder.ends(Basis.JITTER_INTERVAL) == [1.5]


def test_a_stop_right_at_an_intervals_end_adds_nothing() -> None:
    """The last interval is not emitted twice."""
    assert run(FakeProgram(), stop_s=2).ends() == [1.0, 2.0]


def test_an_end_without_time_since_the_last_interval_adds_nothing() -> None:
    """Two readings of the same moment are one interval; a nanosecond more would be another."""
    program = FakeProgram()
    session, recorder = hand_ticked(program)
    tick(session, program, 1)
    tick(session, program, 1, final=True)
    assert recorder.ends() == [1.0]

    tick(session, program, 1.000000001, final=True)
    assert recorder.ends() == [1.0, 1.000000001]


def test_sums_of_all_intervals_are_the_totals() -> None:
    """Nothing is lost or counted twice between intervals, late ones and the last included."""
    late = [300 * MS, 0, 2100 * MS, 7, 999 * MS]
    recorder = run(FakeProgram(), interval_s=0.7, stop_s=9.123, late_ns=late)
    in_intervals = [r.values["packets"] for r in recorder.reports if Basis.INTERVAL in r.ended]

    assert sum(value or 0 for value in in_intervals) == 9123
    assert recorder.values("packets_total")[-1] == 9123


def test_packets_before_the_first_reading_are_in_the_first_interval() -> None:
    """What is counted between attaching and the session's making is in totals and interval."""
    program = FakeProgram(now_ns=START + 5 * MS)
    recorder = run(program, stop_s=0.5)

    assert recorder.values("packets") == recorder.values("packets_total") == [500]


def test_throughput_and_jitter_have_intervals_of_their_own() -> None:
    """-t 2 -j 3: what ended is in the report, the other values are not."""
    recorder = run(FakeProgram(), interval_s=2, jitter_interval_s=3, duration_s=7)

    assert recorder.ends(Basis.INTERVAL) == [2.0, 4.0, 6.0, 7.0]
    assert recorder.ends(Basis.JITTER_INTERVAL) == [3.0, 6.0, 7.0]
    assert recorder.values("packets") == [2000, None, 2000, 2000, 1000]
    assert recorder.values("packets_total") == [2000, 3000, 4000, 6000, 7000]


def test_the_seconds_of_a_report_are_those_of_what_ended() -> None:
    """Of the interval, or of the jitter interval where only that ended."""
    recorder = run(FakeProgram(), interval_s=2, jitter_interval_s=3, duration_s=7)

    assert [report.moment.seconds for report in recorder.reports] == [2, 3, 2, 2, 1]


@pytest.mark.parametrize(("interval_s", "jitter_interval_s"), [(60, 60), (0.4, 60), (60, 2.5)])
def test_it_samples_at_least_once_a_second(interval_s: float, jitter_interval_s: float) -> None:
    """Whatever the intervals: a pause of two seconds has a sample in it."""
    program = FakeProgram()
    run(program, interval_s=interval_s, jitter_interval_s=jitter_interval_s, stop_s=20)
    steps = [later - earlier for earlier, later in zip(program.reads, program.reads[1:])]

    assert max(steps) <= SECOND
    assert len(program.reads) >= 20


def test_jitter_covers_its_own_interval_only() -> None:
    """The gaps of one jitter interval are not in the next."""
    program = FakeProgram()
    session, recorder = hand_ticked(program)
    program.count_gaps(1000, 3000)
    tick(session, program, 1)
    program.count_gaps(500, 500, 500)
    tick(session, program, 2)
    tick(session, program, 3)

    assert recorder.values("interarrival_mean_seconds") == [2e-6, 0.5e-6, None]
    assert recorder.values("jitter_stddev_seconds") == [1e-6, 0.0, None]


def test_an_interval_that_ends_within_a_jitter_interval_leaves_it_alone() -> None:
    """-t 1 -j 2: the gaps of both seconds are in the jitter."""
    program = FakeProgram()
    session, recorder = hand_ticked(program, jitter_interval_s=2.0)
    program.count_gaps(1000)
    tick(session, program, 1)
    program.count_gaps(3000)
    tick(session, program, 2)

    assert recorder.values("interarrival_mean_seconds") == [None, 2e-6]


def test_an_interruption_starts_the_jitter_of_its_interval_again() -> None:
    """-j 10: of 4 gaps, those before a pause of more than 2 s are left out."""
    program = FakeProgram()
    session, recorder = hand_ticked(program, interval_s=10.0, jitter_interval_s=10.0)
    program.count_gaps(9000, 5000)
    for second in (1, 2, 3, 4):  # the pause: nothing comes
        tick(session, program, second)
    program.count_gaps(1000, 3000, interruptions=1)
    for second in (5, 6, 7, 8, 9, 10):
        tick(session, program, second)

    assert recorder.values("interarrival_mean_seconds") == [2e-6]
    assert recorder.values("jitter_stddev_seconds") == [1e-6]
    assert recorder.values("packets") == [10_000]


def test_without_an_interruption_all_gaps_count() -> None:
    """The near miss: a pause of less than 2 s is a gap like any other."""
    program = FakeProgram()
    session, recorder = hand_ticked(program, interval_s=10.0, jitter_interval_s=10.0)
    program.count_gaps(1000)
    for second in range(1, 10):
        tick(session, program, second)
    program.count_gaps(1_900_000_000)
    tick(session, program, 10)

    assert recorder.values("interarrival_mean_seconds") == [pytest.approx(0.9500005, rel=1e-12)]


def test_an_interruption_of_one_stream_leaves_the_other_alone() -> None:
    """TCP never disturbs UDP."""
    program = FakeProgram()
    session, _ = hand_ticked(program)
    udp_base = session._jitter_bases[UDP]
    program.count_gaps(1000, interruptions=1)
    tick(session, program, 0.5)

    assert session._jitter_bases[UDP] == udp_base
    assert session._jitter_bases[TCP][1] == START


def test_the_interval_after_an_interruption_starts_anew() -> None:
    """The base of an interrupted interval does not outlive it."""
    program = FakeProgram()
    session, recorder = hand_ticked(program)
    program.count_gaps(700, interruptions=1)
    tick(session, program, 1)
    program.count_gaps(1000, 3000)
    tick(session, program, 2)

    assert recorder.values("interarrival_mean_seconds")[-1] == 2e-6


def test_sequence_values_are_those_since_the_start() -> None:
    """They stand in every report, the number as it was read last."""
    program = FakeProgram(counted={"sequence_packets": 8, "sequence_reverse": 1}, number=9)
    recorder = run(program, duration_s=2)

    assert recorder.values("sequence.packets") == [8, 8]
    assert recorder.values("sequence.errors") == [1, 1]
    assert recorder.values("sequence.number") == [9, 9]


def test_every_output_gets_every_report_and_is_closed_once() -> None:
    """In the order of the list; closing is apart from running."""
    program = FakeProgram()
    recorders = [Recorder(), Recorder()]
    session = Session(
        program, recorders, Config(), duration_s=2, monotonic_ns=lambda: program.now_ns
    )
    session.run(Clock(program))
    assert [recorder.closed for recorder in recorders] == [0, 0]
    session.close()

    assert [recorder.ends() for recorder in recorders] == [[1.0, 2.0]] * 2
    assert [recorder.closed for recorder in recorders] == [1, 1]


def test_a_report_carries_the_time_of_its_sample() -> None:
    """Wall-clock time is that of the reading, not of the printing."""
    recorder = run(FakeProgram(), stop_s=1.5)

    assert [report.moment.wall_time for report in recorder.reports] == [1e9 + 8, 1e9 + 8.5]
