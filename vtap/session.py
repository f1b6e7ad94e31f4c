"""One run: tick -> read -> delta -> measure -> emit; owns the clock.

Stands on a program that can be read and outputs that take reports; knows neither's inside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Protocol

from vtap.measurements import Basis
from vtap.reports import Moment, Report, make_report, measured_names
from vtap.samples import NS_PER_SECOND, Delta, Sample, StreamKey, StreamSample, subtract

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vtap.config import Config

MAX_SAMPLE_SECONDS = 1.0
"""A gap of more than two seconds then has a sample in it, from which jitter starts again."""


class ReadableProgram(Protocol):
    """What a session needs of program.Program."""

    def read(self) -> Sample:
        """Read every counter."""


class Output(Protocol):
    """What a session needs of each module in outputs/."""

    def emit(self, reports: Sequence[Report], sample: Sample) -> None:
        """Show the reports of all streams for intervals that ended with this sample."""

    def close(self) -> None:
        """Show what is left, and let go."""


class Stop(Protocol):
    """What a session waits on: a threading.Event is one."""

    def wait(self, timeout: float) -> bool:
        """Return True as soon as the run is to end, False after timeout seconds."""


@dataclass
class _Interval:
    """Intervals of one length on a grid, so that late samples do not add up."""

    seconds: float
    start: Sample
    end_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self.end_ns = self.start.time_ns
        self._advance()

    def _advance(self) -> None:
        length_ns = round(self.seconds * NS_PER_SECOND)
        self.end_ns += max(1, 1 + (self.start.time_ns - self.end_ns) // length_ns) * length_ns

    def restart(self, sample: Sample) -> None:
        self.start = sample
        self._advance()


class Session:
    """Samples a program on time and hands reports to the outputs.

    The first interval starts from zero counters at the session's making: make it right after the
    program was attached, so that no packet is in the totals and in no interval.
    """

    def __init__(
        self,
        program: ReadableProgram,
        outputs: Sequence[Output],
        config: Config,
        *,
        interval_s: float = 1.0,
        jitter_interval_s: float = 1.0,
        duration_s: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._program = program
        self._outputs = outputs
        self._monotonic_ns = monotonic_ns
        self._previous = _zero(program.read(), monotonic_ns())
        self._start = self._previous
        self._intervals = {
            Basis.INTERVAL: _Interval(interval_s, self._start),
            Basis.JITTER_INTERVAL: _Interval(jitter_interval_s, self._start),
        }
        self._jitter_bases = {
            key: (stream, self._start.time_ns) for key, stream in self._start.streams.items()
        }
        self._end_ns = (
            None if duration_s is None else self._start.time_ns + round(duration_s * NS_PER_SECOND)
        )
        self._measured = {key: measured_names(config, key) for key in self._start.streams}

    def run(self, stop: Stop) -> None:
        """Measure until told to stop or the duration is over, the last, partial interval too."""
        stopped = False
        while not stopped and not self._is_over(self._previous):
            stopped = stop.wait(max(0.0, (self._next_tick_ns() - self._monotonic_ns()) / 1e9))
            self.tick(final=stopped)

    def tick(self, *, final: bool = False) -> None:
        """Take a sample and emit what ends with it; everything that has begun, if final."""
        sample = self._program.read()
        self._restart_interrupted(sample)
        final = final or self._is_over(sample)
        ended = {
            basis
            for basis, interval in self._intervals.items()
            if sample.time_ns >= interval.end_ns
            or (final and sample.time_ns > interval.start.time_ns)
        }
        if ended:
            self._emit(sample, ended)
        self._previous = sample

    def _is_over(self, sample: Sample) -> bool:
        """Ask the sample, not the clock, which would make another, tiny interval of the rest."""
        return self._end_ns is not None and sample.time_ns >= self._end_ns

    def _next_tick_ns(self) -> int:
        """Return the time of the next sample, monotonic."""
        ticks = [interval.end_ns for interval in self._intervals.values()]
        ticks.append(self._previous.time_ns + int(MAX_SAMPLE_SECONDS * NS_PER_SECOND))
        if self._end_ns is not None:
            ticks.append(self._end_ns)
        return min(ticks)

    def _restart_interrupted(self, sample: Sample) -> None:
        """Have the jitter of a stream start again after an interruption of its flow.

        The pause was longer than two samples are apart, so the previous sample lies in it.
        """
        for key, stream in sample.streams.items():
            before = self._previous.streams[key]
            if stream.counters["interruptions"] != before.counters["interruptions"]:
                self._jitter_bases[key] = (before, self._previous.time_ns)

    def _emit(self, sample: Sample, ended: set[Basis]) -> None:
        lead = Basis.INTERVAL if Basis.INTERVAL in ended else Basis.JITTER_INTERVAL
        seconds = (sample.time_ns - self._intervals[lead].start.time_ns) / NS_PER_SECOND
        reports = [
            make_report(
                Moment(key, sample.wall_time, seconds),
                self._deltas(key, stream, sample, ended),
                self._measured[key],
            )
            for key, stream in sample.streams.items()
        ]
        for basis in ended:
            self._intervals[basis].restart(sample)
        if Basis.JITTER_INTERVAL in ended:
            for key, stream in sample.streams.items():
                self._jitter_bases[key] = (stream, sample.time_ns)
        for output in self._outputs:
            output.emit(reports, sample)

    def _deltas(
        self, key: StreamKey, stream: StreamSample, sample: Sample, ended: set[Basis]
    ) -> Mapping[Basis, Delta]:
        start = self._intervals[Basis.INTERVAL].start
        bases = {
            Basis.INTERVAL: (start.streams[key], start.time_ns),
            Basis.JITTER_INTERVAL: self._jitter_bases[key],
            Basis.TOTAL: (self._start.streams[key], self._start.time_ns),
        }
        return {
            basis: subtract(stream, sample.time_ns, *earlier)
            for basis, earlier in bases.items()
            if basis is Basis.TOTAL or basis in ended
        }

    def close(self) -> None:
        """Let every output go."""
        for output in self._outputs:
            output.close()


def _zero(sample: Sample, time_ns: int) -> Sample:
    """Return a sample of the same streams with nothing counted yet."""
    streams = {
        key: StreamSample(dict.fromkeys(stream.counters, 0), None)
        for key, stream in sample.streams.items()
    }
    return Sample(time_ns, sample.wall_time, streams, sample.interfaces, sample.account)
