"""Results -> Markdown and JSON; measures nothing."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.goals import Goal, Results, make_goals
from bench.path import FRAME, added_ns
from bench.peers import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.path import PathCost


def describe_machine() -> str:
    """Return processors, kernel, distribution and date on one line."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="ascii"))
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text(encoding="utf-8"))
    return ", ".join(
        [
            f"{os.cpu_count()} x {processor[1] if processor else platform.machine()}",
            f"Linux {platform.release().split('-')[0]}",
            system[1] if system else "unknown distribution",
            f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        ]
    )


def render_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render(results: Results, rounds: int) -> str:
    """Return the whole report."""
    return "\n\n".join(
        [
            f"{describe_machine()}. Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
            f"Path cost: medians of {rounds} rounds of UDP frames of {len(FRAME)} bytes; "
            '"added" is the median of the differences from nothing attached, measured by turns.',
            render_path(results.path),
            "Program cost: nanoseconds by BPF_PROG_TEST_RUN, net of an empty program.",
            _render_figures("Program, frame", "ns", results.program),
            "Rules: the packet matches only the last one.",
            _render_rules(results),
            "At rest, without traffic:",
            _render_rest(results),
            _render_start(results),
            "What is to be reached, and what was measured:",
            render_goals(make_goals(results)),
            f"Quartiles of the rounds with nothing attached are apart by: "
            f"{_render_noise(results.path)}.",
        ]
    )


def render_path(path: dict[str, PathCost]) -> str:
    """Return the table of the path's cost."""
    counts = list(path[NOTHING.name].costs)
    titles = ["Attached"]
    for cpus in counts:
        titles += [f"{cpus} CPU{'s at once' if cpus > 1 else ''}: ns a packet", "added"]
    titles += ["seen of those sent", "CPU in user space, us a packet"]
    return render_table(titles, [_render_peer(path, name, counts) for name in path])


def _render_peer(path: dict[str, PathCost], name: str, counts: Sequence[int]) -> list[str]:
    cost = path[name]
    cells = [name]
    for cpus in counts:
        added = "" if name == NOTHING.name else f"{added_ns(path, name, cpus):+.0f}"
        cells += [f"{cost.packet_ns(cpus):.0f}", added]
    is_process = any(turn.cpu_seconds for turns in cost.costs.values() for turn in turns)
    return [*cells, _render_seen(cost), f"{cost.cpu_us(counts[0]):.3f}" if is_process else ""]


def _render_seen(cost: PathCost) -> str:
    """Return the share that was seen, "all" only if it is."""
    if cost.seen is None:
        return ""
    if cost.seen == cost.sent:
        return f"all {cost.sent}"
    return f"{100 * cost.seen / cost.sent:.2f} %"


def _render_noise(path: dict[str, PathCost]) -> str:
    """Return how far the quartiles of the rounds with nothing attached lie apart."""
    return ", ".join(
        f"{cpus} CPU: {_quartile_range([turn.packet_ns for turn in turns]):.0f} ns"
        for cpus, turns in path[NOTHING.name].costs.items()
    )


def _quartile_range(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) * 3 // 4] - ordered[len(ordered) // 4]


def _render_figures(first: str, unit: str, figures: dict[str, float]) -> str:
    return render_table([first, unit], [[name, f"{value:.0f}"] for name, value in figures.items()])


def _render_rules(results: Results) -> str:
    return render_table(
        ["Rules", "ns", "seconds to compile and load"],
        [
            [name, f"{value:.0f}", f"{results.rule_seconds[name]:.2f}"]
            for name, value in results.rules.items()
        ],
    )


def _render_rest(results: Results) -> str:
    return render_table(
        ["Interfaces", "interval, s", "CPU, % of a core", "anonymous memory, MiB", "RSS, MiB"],
        [
            [
                f"{rest.interfaces}",
                f"{rest.interval_s:g}",
                f"{rest.cpu_percent:.2f}",
                f"{rest.anonymous_kb / 1024:.0f}",
                f"{rest.rss_kb / 1024:.0f}",
            ]
            for rest in results.rest
        ],
    )


def _render_start(results: Results) -> str:
    seconds = sorted(start.seconds for start in results.starts)
    cpu = sorted(start.cpu_seconds for start in results.starts)
    scrapes = results.scrapes
    return (
        f"First counted packet: {seconds[len(seconds) // 2]:.2f} s after the command "
        f"({seconds[0]:.2f} to {seconds[-1]:.2f}; CPU {cpu[len(cpu) // 2]:.2f} s). "
        f"{len(scrapes.milliseconds)} scrapes under full load: median "
        f"{scrapes.percentile_ms(50):.1f} ms, p99 {scrapes.percentile_ms(99):.1f} ms; the bytes, "
        f"packets and sequence numbers of one scrape were at most "
        f"{scrapes.inconsistent_frames:.0f} packets apart, of {scrapes.packets}."
    )


def render_goals(goals: Sequence[Goal]) -> str:
    """Return the table of goals."""
    return render_table(
        ["Goal", "limit", "measured", "reached", "the floor program there"],
        [
            [
                goal.what,
                f"{'<=' if goal.is_at_most else '>='} {goal.limit:g} {goal.unit}",
                f"{goal.measured:.2f}",
                "yes" if goal.is_met else "**no**",
                "" if goal.floor is None else f"{goal.floor:.2f}",
            ]
            for goal in goals
        ],
    )


def make_document(results: Results) -> dict[str, Any]:
    """Return every single measurement, for JSON."""
    return {
        "machine": describe_machine(),
        "path": {
            name: {
                "sent": cost.sent,
                "seen": cost.seen,
                "turns": {
                    cpus: [turn._asdict() for turn in turns] for cpus, turns in cost.costs.items()
                },
            }
            for name, cost in results.path.items()
        },
        "program_ns": results.program,
        "rules_ns": results.rules,
        "rules_seconds": results.rule_seconds,
        "starts": [start._asdict() for start in results.starts],
        "rest": [rest._asdict() for rest in results.rest],
        "scrapes": results.scrapes._asdict(),
        "goals": [{**goal._asdict(), "is_met": goal.is_met} for goal in make_goals(results)],
    }


def fill_readme(text: str, overhead: str) -> str:
    """Return README.md with the table between its markers made anew."""
    begin, end = "<!-- begin overhead -->\n", "\n<!-- end overhead -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        message = "README.md has no <!-- begin overhead --> ... <!-- end overhead -->"
        raise ValueError(message)
    return before + begin + overhead + end + after
