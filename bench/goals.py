"""What vTap is to reach, as ratios of figures of one run: the table that says whether it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.path import added_ns
from bench.peers import EMPTY, FLOOR, SEED_STYLE, TCPDUMP_WRITE, VTAP

if TYPE_CHECKING:
    from bench.path import PathCost
    from bench.peers import Peer
    from bench.process import Rest, Scrapes, Start


class Results(NamedTuple):
    """All figures of one run.

    Attributes:
        path: by the peer's name.
        program: nanoseconds by the series' name, net of an empty program.
        rules: the same by rule set.
        rule_seconds: to compile, load and fill, by rule set.
        rest: monitors without traffic.
    """

    path: dict[str, PathCost]
    program: dict[str, float]
    rules: dict[str, float]
    rule_seconds: dict[str, float]
    starts: list[Start]
    rest: list[Rest]
    scrapes: Scrapes


class Goal(NamedTuple):
    """One line of the table; is_at_most False: the limit is the least.

    floor is what the floor program comes to in vTap's place, where it can stand there.
    """

    what: str
    limit: float
    measured: float
    unit: str = "x"
    is_at_most: bool = True
    floor: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the figure is on the right side of the limit, as both are printed."""
        figure = round(self.measured, 2)
        return figure <= self.limit if self.is_at_most else figure >= self.limit


def make_goals(results: Results) -> list[Goal]:
    """Return every goal with what was measured."""
    return [*_path_goals(results.path), *_program_goals(results), *_process_goals(results)]


def _path_goals(path: dict[str, PathCost]) -> list[Goal]:
    vtap = path[VTAP.name]

    def goal(what: str, limit: float, other: Peer, cpus: int) -> Goal:
        measured, floor = (
            added_ns(path, name, cpus) / added_ns(path, other.name, cpus)
            for name in (VTAP.name, FLOOR.name)
        )
        return Goal(f"path, {cpus} CPU: vTap / {what}", limit, measured, floor=floor)

    goals = [goal("empty filter", 1.6, EMPTY, 1)]
    goals += [goal("baseline", 0.75, SEED_STYLE, cpus) for cpus in vtap.costs]
    if TCPDUMP_WRITE.name in path:
        goals.append(goal("`tcpdump -w`", 0.65, TCPDUMP_WRITE, 1))
    lost = sum(
        cost.sent - (cost.seen or 0) for name, cost in path.items() if name.startswith("vTap")
    )
    return [*goals, Goal("packets that vTap did not count", 0, lost, "packets")]


def _program_goals(results: Results) -> list[Goal]:
    cost, rules = results.program, results.rules
    search = "pattern at byte 1390 of 1400"
    cases = [("floor", "TCP", 1.3), ("floor", "UDP", 1.4), ("baseline", "TCP", 0.6)]
    cases += [("baseline", "UDP", 0.6)]
    goals = [
        Goal(
            f"program, {protocol}: vTap / {name}",
            limit,
            cost[f"vTap, {protocol}"] / cost[f"{name}, {protocol}"],
            floor=cost[f"floor, {protocol}"] / cost[f"{name}, {protocol}"],
        )
        for name, protocol, limit in cases
    ]
    speedup = cost[f"baseline, {search}"] / cost[f"vTap, {search}"]
    shapes = rules["1000 rules of eight shapes"] / rules["1 rules"]
    return [
        *goals,
        Goal(f"{search}: baseline / vTap", 20, speedup, is_at_most=False),
        Goal("1000 rules of one shape / one rule", 1.5, rules["1000 rules"] / rules["1 rules"]),
        Goal("1000 rules of eight shapes / one rule", 3.0, shapes),
        Goal("10000 rules compiled and loaded", 5.0, results.rule_seconds["10000 rules"], "s"),
    ]


def _process_goals(results: Results) -> list[Goal]:
    seconds = sorted(start.seconds for start in results.starts)
    four = next(rest for rest in results.rest if (rest.interfaces, rest.interval_s) == (4, 1))
    return [
        Goal("first counted packet after the command", 1.0, seconds[len(seconds) // 2], "s"),
        Goal("CPU at rest, four interfaces", 0.5, four.cpu_percent, "% of a core"),
        Goal("anonymous memory", 50, four.anonymous_kb / 1024, "MiB"),
        Goal("scrape under full load, p99", 20, results.scrapes.percentile_ms(99), "ms"),
    ]
