"""The measurement table -> four dashboards as JSON: python -m grafana.generate in the top folder.

A metric that is new in vtap/measurements.py is on a dashboard by its basis and unit, without a
change here. Nothing is edited by hand in grafana/dashboards: a test generates it again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import overview
from grafana.frame import new_dashboard
from grafana.panels import (
    ANY_IS_BAD,
    JITTER,
    NEUTRAL,
    PER_RULE,
    PER_STREAM,
    SHARE,
    SILENT,
    STREAM,
    Look,
    Query,
    Steps,
    error_share,
    graph,
    rate,
    while_up,
)
from vtap.config import Display
from vtap.measurements import MEASUREMENTS, Basis, Measurement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

FOLDER = Path(__file__).resolve().parent / "dashboards"
UNITS = {
    "bytes per second": "Bps",
    "packets per second": "pps",
    "seconds": "s",
    "packets": "short",
    "": "none",
}
"""Grafana's names for the table's units."""
RATE_UNITS = {"bytes": "Bps", "packets": "pps"}
STREAM_LEGEND = "{{host}} {{interface}} {{rule}}"
GAUGE_NOTE = "The last finished interval (-t) at each point; zoomed out, a sample of them."
TOTAL_NOTE = "Over all protocols chosen above."


def _noun(row: Measurement) -> str:
    """Return what a row is about: throughput, jitter stddev, sequence number."""
    noun = row.name
    for end in (f"_{row.unit.replace(' ', '_')}", "_per_second", "_total"):
        noun = noun.removesuffix(end)
    return noun.replace("_", " ").replace(".", " ")


def _nouns(rows: Iterable[Measurement]) -> str:
    text = " and ".join(_noun(row) for row in rows)
    return text[0].upper() + text[1:]


def _helps(rows: Iterable[Measurement]) -> str:
    return " ".join(f"{_noun(row).capitalize()}: {row.help}." for row in rows)


def _of(*, counter: bool, basis: Basis, sequence: bool = False) -> dict[str, list[Measurement]]:
    """Return the table's rows with a metric, by unit; one row a metric."""
    found: dict[str, dict[str, Measurement]] = {}
    for row in MEASUREMENTS:
        if row.metric is None or row.basis is not basis:
            continue
        if (row.display is Display.SEQUENCE) is sequence and row.metric.name.endswith(
            "_total"
        ) is counter:
            found.setdefault(row.unit, {}).setdefault(row.metric.name, row)
    return {unit: list(rows.values()) for unit, rows in found.items()}


def _select(row: Measurement) -> str:
    return f"{row.metric.name if row.metric else ''}{{{STREAM}}}"


def _legend(row: Measurement) -> str:
    return f"{STREAM_LEGEND} {_noun(row)}"


def throughput() -> build.Dashboard:
    """Return the seed's graph, total and per protocol, and the same from the counters."""
    made = new_dashboard(
        "throughput", "Throughput", "Throughput and goodput together, and packets per second."
    )
    groups = _of(counter=False, basis=Basis.INTERVAL)
    made.with_row(build.Row("Total"))
    for unit, rows in groups.items():
        queries = [
            Query(
                while_up(f"sum by ({PER_RULE}) ({_select(row)})"), f"{STREAM_LEGEND} {_noun(row)}"
            )
            for row in rows
        ]
        note = f"{_helps(rows)} {TOTAL_NOTE} {GAUGE_NOTE}"
        made.with_panel(graph(Look(_nouns(rows), note, UNITS[unit], SILENT), queries))
    made.with_row(build.Row("Per protocol"))
    for unit, rows in groups.items():
        queries = [Query(while_up(_select(row)), _legend(row)) for row in rows]
        look = Look(
            f"$protocol: {_nouns(rows).lower()}",
            f"{_helps(rows)} {GAUGE_NOTE}",
            UNITS[unit],
            SILENT,
            24,
        )
        made.with_panel(graph(look, queries, repeat="protocol"))
    made.with_row(build.Row("From the counters: exact at any zoom"))
    for unit, rows in _of(counter=True, basis=Basis.TOTAL).items():
        queries = [
            Query(
                while_up(f"sum by ({PER_STREAM}) ({rate(_select(row))})"),
                f"{STREAM_LEGEND} {{{{protocol}}}} {_noun(row)}",
            )
            for row in rows
        ]
        note = f"{_helps(rows)} The average per second since the point before."
        look = Look(f"{_nouns(rows)} per second", note, RATE_UNITS[unit], SILENT)
        made.with_panel(graph(look, queries))
    return made


def jitter() -> build.Dashboard:
    """Return standard deviation and mean per protocol, as the seed has them."""
    made = new_dashboard(
        "jitter", "Jitter", "How steady packets arrive: the times between consecutive packets."
    )
    silent = "A gap where no two packets came: not measured is not zero."
    for unit, rows in _of(counter=False, basis=Basis.JITTER_INTERVAL).items():
        queries = [Query(_select(row), _legend(row)) for row in rows]
        note = f"{_helps(rows)} Of the last finished jitter interval (-j). {silent}"
        look = Look(f"$protocol: {_nouns(rows).lower()}", note, UNITS[unit], JITTER, 24)
        made.with_panel(graph(look, queries, repeat="protocol"))
        for row in rows:
            query = Query(f"max by ({PER_RULE}) ({_select(row)})", STREAM_LEGEND)
            note = f"{row.help}; the largest of the protocols chosen above. {silent}"
            look = Look(f"Largest {_noun(row)}", note, UNITS[unit], JITTER)
            made.with_panel(graph(look, [query]))
    return made


def sequence() -> build.Dashboard:
    """Return error rate by kind, share of packets, current number."""
    made = new_dashboard("sequence", "Sequence errors", "What got lost, repeated or reordered.")
    share = Query(error_share(PER_STREAM), f"{STREAM_LEGEND} {{{{protocol}}}}")
    note = (
        "Sequence errors of all kinds, of the packets that carry a number. "
        "A gap where no such packet came."
    )
    made.with_panel(graph(Look("Share of packets", note, "percentunit", SHARE, 24), [share]))
    for counter in (True, False):
        for unit, rows in _of(counter=counter, basis=Basis.TOTAL, sequence=True).items():
            for row in rows:
                made.with_panel(_sequence_graph(row, unit, counter=counter))
    return made


def _sequence_graph(row: Measurement, unit: str, *, counter: bool) -> Builder[Panel]:
    labels = [name for name, _ in row.metric.labels] if row.metric else []
    by = ", ".join([PER_STREAM, *labels])
    legend = " ".join([STREAM_LEGEND, "{{protocol}}", *(f"{{{{{name}}}}}" for name in labels)])
    if not counter:
        look = Look(_nouns([row]), f"{row.help}.", UNITS[unit], NEUTRAL)
        return graph(look, [Query(_select(row), legend)])
    steps: Steps = SILENT
    title = f"{_nouns([row])} per second"
    note = f"{row.help}, per second."
    if labels:
        kinds = [other for other in MEASUREMENTS if other.metric and other.metric.labels]
        steps, title = ANY_IS_BAD, f"Errors per second by {' and '.join(labels)}"
        note = " ".join(f"{_noun(other).capitalize()}: {other.help}." for other in kinds)
    look = Look(title, note, RATE_UNITS[unit], steps)
    return graph(look, [Query(f"sum by ({by}) ({rate(_select(row))})", legend)])


def dashboards() -> dict[str, str]:
    """Return the JSON text of each dashboard by its file name."""
    overall = new_dashboard("overview", "Overview", "Every instance: health, rates, the worst.")
    overview.fill(overall)
    made = {"overview": overall, "throughput": throughput(), "jitter": jitter()}
    made["sequence"] = sequence()
    return {f"{name}.json": _render(board) for name, board in made.items()}


def _render(board: build.Dashboard) -> str:
    built = board.build()
    for number, panel in enumerate(built.panels or [], 1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    for name, text in dashboards().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
