"""The overview: every instance with health, rates, the worst jitter and error share.

What it shows beside the table's measurements is vTap's account of itself (outputs/prometheus.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import dashboard as build

from grafana.panels import (
    ANY_IS_BAD,
    HOST,
    INTERFACE,
    JITTER,
    NEUTRAL,
    PER_INSTANCE,
    PER_INTERFACE,
    SHARE,
    SILENT,
    STREAM,
    UP,
    Column,
    Look,
    Query,
    Steps,
    error_share,
    graph,
    listing,
    number,
    rate,
    states,
    while_up,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

ALERTS = 'sum(ALERTS{alertname=~"Vtap.*", alertstate="firing"}) or vector(0)'
ALL_STREAMS = f'{INTERFACE}, rule="all"'
WORST_SHARE = f"vtap:sequence_errors:ratio_rate1m{{{STREAM}}}"


def fill(made: build.Dashboard) -> None:
    """Add the panels."""
    for panel in _numbers():
        made.with_panel(panel)
    made.with_row(build.Row("Instances and interfaces"))
    made.with_panel(_instances())
    made.with_panel(_interfaces())
    made.with_row(build.Row("Over time"))
    for panel in _graphs():
        made.with_panel(panel)
    made.with_row(build.Row("What is not counted, and what counting costs"))
    for panel in _accounts():
        made.with_panel(panel)


NUMBERS = (
    ("Instances up", "Instances that answer.", "none", UP, f'sum(up{{job="vtap", {HOST}}})'),
    (
        "Instances down",
        "Instances that are listed and do not answer.",
        "none",
        ANY_IS_BAD,
        f'sum(1 - up{{job="vtap", {HOST}}})',
    ),
    (
        "Interfaces down",
        "Interfaces that are gone, down or without a carrier.",
        "none",
        ANY_IS_BAD,
        f"sum(1 - vtap_interface_up{{{INTERFACE}}})",
    ),
    (
        "Worst jitter",
        "The largest standard deviation of any stream chosen above.",
        "s",
        JITTER,
        f"max(vtap_jitter_stddev_seconds{{{STREAM}}})",
    ),
    (
        "Worst error share",
        "The largest share of sequence errors of any stream chosen above, over a minute.",
        "percentunit",
        SHARE,
        f"max({WORST_SHARE})",
    ),
    ("Alerts", "vTap's alerts that fire (docker/prometheus/rules).", "none", ANY_IS_BAD, ALERTS),
)
"""Title, description, unit, colours and query of the numbers on top."""


def _numbers() -> Iterator[Builder[Panel]]:
    for title, description, unit, steps, expr in NUMBERS:
        yield number(Look(title, description, unit, steps, 4, 4), Query(expr, title))


def _column(title: str, unit: str, steps: Steps, expr: str) -> Column:
    return Column(Query(expr, title), unit, steps)


def _worst(by: str) -> list[Column]:
    jitter = f"max by ({by}) (vtap_jitter_stddev_seconds{{{STREAM}}})"
    return [
        _column("worst jitter", "s", JITTER, jitter),
        _column("worst error share", "percentunit", SHARE, f"max by ({by}) ({WORST_SHARE})"),
    ]


def _instances() -> Builder[Panel]:
    by = f"sum by ({PER_INSTANCE})"
    cpu = f'process_cpu_seconds_total{{job="vtap", {HOST}}}'
    columns = (
        _column("up", "bool_on_off", UP, f'{by} (up{{job="vtap", {HOST}}})'),
        _column("interfaces up", "none", UP, f"{by} (vtap_interface_up{{{INTERFACE}}})"),
        _column("packets", "pps", SILENT, f"{by} (vtap_packets_per_second{{{ALL_STREAMS}}})"),
        *_worst(PER_INSTANCE),
        _column("CPU", "percentunit", NEUTRAL, f"{by} (rate({cpu}[1m]))"),
    )
    note = "Every listed instance now; CPU is what the monitor's process takes of one core."
    return listing(Look("Instances", note, "none", NEUTRAL, 24, 7), columns, ("host", "instance"))


def _interfaces() -> Builder[Panel]:
    by = f"sum by ({PER_INTERFACE})"
    rates = (
        ("throughput", "Bps", "vtap_throughput_bytes_per_second"),
        ("goodput", "Bps", "vtap_goodput_bytes_per_second"),
        ("packets", "pps", "vtap_packets_per_second"),
    )
    merged = f"{by} (vtap_merged_packets_total{{{INTERFACE}}})"
    columns = (
        _column("up", "bool_on_off", UP, f"{by} (vtap_interface_up{{{INTERFACE}}})"),
        *(
            _column(title, unit, SILENT, while_up(f"{by} ({metric}{{{ALL_STREAMS}}})"))
            for title, unit, metric in rates
        ),
        *_worst(PER_INTERFACE),
        _column("merged", "short", ANY_IS_BAD, merged),
    )
    note = "Every monitored interface now, over all rules; its name leads to its graphs."
    look = Look("Interfaces", note, "none", NEUTRAL, 24, 8)
    return listing(look, columns, ("host", "instance", "interface"))


def _graphs() -> Iterator[Builder[Panel]]:
    yield states(
        Look("Instances", "When each instance answered.", "none", UP, 12, 6),
        [Query(f'max by ({PER_INSTANCE}) (up{{job="vtap", {HOST}}})', "{{host}} {{instance}}")],
    )
    up = f"max by ({PER_INTERFACE}) (vtap_interface_up{{{INTERFACE}}})"
    yield states(
        Look("Interfaces", "When each interface was up with a carrier.", "none", UP, 12, 6),
        [Query(up, "{{host}} {{interface}}")],
    )
    for title, metric, unit in (
        ("Throughput", "vtap_bytes_total", "Bps"),
        ("Packets per second", "vtap_packets_total", "pps"),
    ):
        note = "Over all rules and protocols, from the counters. A gap where the interface is down."
        expr = while_up(f"sum by ({PER_INTERFACE}) ({rate(f'{metric}{{{ALL_STREAMS}}}')})")
        query = Query(expr, "{{host}} {{interface}}")
        yield graph(Look(title, note, unit, SILENT), [query])
    yield graph(
        Look("Worst jitter", "The largest standard deviation on each interface.", "s", JITTER),
        [
            Query(
                f"max by ({PER_INTERFACE}) (vtap_jitter_stddev_seconds{{{STREAM}}})",
                "{{host}} {{interface}}",
            )
        ],
    )
    share = Query(error_share(PER_INTERFACE), "{{host}} {{interface}}")
    note = "Sequence errors on each interface, of the packets that carry a number."
    yield graph(Look("Error share", note, "percentunit", SHARE), [share])


ACCOUNTS = (
    ("Unmatched", "Packets that no rule matches.", NEUTRAL, "vtap_unmatched_packets_total", ()),
    (
        "Unparsed",
        "Frames that are in no stream, by reason.",
        NEUTRAL,
        "vtap_unparsed_packets_total",
        ("reason",),
    ),
    (
        "Merged by the kernel",
        "Packets that arrived merged into one frame with others (GRO): the times between them are "
        "lost. ethtool -K INTERFACE gro off lro off",
        ANY_IS_BAD,
        "vtap_merged_packets_total",
        (),
    ),
)
"""Title, description, colours, metric and further labels of the counts of an interface."""


def _accounts() -> Iterator[Builder[Panel]]:
    for title, description, steps, metric, labels in ACCOUNTS:
        by = ", ".join([PER_INTERFACE, *labels])
        legend = " ".join(["{{host}} {{interface}}", *(f"{{{{{label}}}}}" for label in labels)])
        expr = f"sum by ({by}) ({rate(f'{metric}{{{INTERFACE}}}')})"
        look = Look(title, f"{description} Per second.", "pps", steps)
        yield graph(look, [Query(expr, legend)])
    selected = f'process_cpu_seconds_total{{job="vtap", {HOST}}}'
    cpu = f"sum by ({PER_INSTANCE}) ({rate(selected)})"
    note = "What each monitor's process takes of one core; counting itself is in the kernel."
    look = Look("CPU of the monitors", note, "percentunit", NEUTRAL)
    yield graph(look, [Query(cpu, "{{host}} {{instance}}")])
