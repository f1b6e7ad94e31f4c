"""script/bench: measure, print Markdown, write JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

from bench import path, process, program
from bench.goals import Results, make_goals
from bench.peers import PEERS
from bench.report import (
    describe_machine,
    fill_readme,
    make_document,
    render,
    render_goals,
    render_path,
)

README = Path(__file__).resolve().parent.parent / "README.md"


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    frames: int
    program_rounds: int
    starts: int
    rest_s: float
    rest_cases: tuple[tuple[int, float], ...]
    scrapes: int


QUICK = Size(5, 100_000, 7, 5, 8, ((1, 1), (4, 1), (16, 1), (4, 0.1)), 200)
FULL = Size(
    11, 500_000, 25, 11, 60, ((1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (4, 0.1), (4, 10)), 1000
)


def measure(size: Size) -> Results:
    """Measure everything, a part after the other."""
    cpus = os.cpu_count() or 1
    print("start", file=sys.stderr)
    starts = process.measure_start(size.starts)
    print("program", file=sys.stderr)
    figures = program.measure(size.program_rounds)
    rules, seconds = program.measure_rules(size.program_rounds)
    print("rest", file=sys.stderr)
    rest = process.measure_rest(size.rest_s, size.rest_cases)
    print("scrapes", file=sys.stderr)
    scrapes = process.measure_scrapes(size.scrapes, cpus)
    costs = path.measure(size.rounds, size.frames)
    return Results(costs, figures, rules, seconds, starts, rest, scrapes)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than two minutes")
    parser.add_argument("--json", metavar="PATH", help="write every single measurement there")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Print the report."""
    options = parse_arguments(arguments)
    size = QUICK if options.quick else FULL
    missing = [peer.name for peer in PEERS if not peer.is_here]
    if missing:
        print(f"script/bench: not installed: {', '.join(missing)}", file=sys.stderr)
    results = measure(size)
    print(render(results, size.rounds))
    if options.json:
        Path(options.json).write_text(json.dumps(make_document(results), indent=1), "utf-8")
    if options.readme:
        tables = [render_path(results.path), render_goals(make_goals(results)), describe_machine()]
        text = README.read_text(encoding="utf-8")
        README.write_text(fill_readme(text, "\n\n".join(tables) + "."), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
