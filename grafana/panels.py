"""Queries and panels as vTap's dashboards have them: selectors, units, colours, gaps.

Stands on Grafana's Foundation SDK; knows metrics, not dashboards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

DATASOURCE = dashboard.DataSourceRef("prometheus", "${datasource}")
SCRAPE_INTERVAL = "5s"
"""As docker/prometheus/prometheus.yml has it: a point in a graph is never finer."""

HOST = 'host=~"$host"'
INTERFACE = f'{HOST}, interface=~"$interface"'
STREAM = f'{INTERFACE}, rule=~"$rule", protocol=~"$protocol"'

PER_INSTANCE = "host, instance"
PER_INTERFACE = "host, instance, interface"
PER_RULE = "host, instance, interface, rule"
PER_STREAM = "host, instance, interface, rule, protocol"

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Grafana's names for the queries of a panel."""

JITTER_BOUND_S = 0.01
"""Above it jitter is red, and alert VtapJitter pending."""
ERROR_SHARE_BOUND = 0.001
"""Above it the share of sequence errors is red, and alert VtapSequenceErrors pending."""

Steps = tuple[tuple["float | None", str], ...]
"""Colours from a value on; the first has none and is the colour below the others."""

SILENT: Steps = ((None, "orange"), (1e-9, "green"))
ANY_IS_BAD: Steps = ((None, "green"), (1e-9, "red"))
NEUTRAL: Steps = ((None, "blue"),)
UP: Steps = ((None, "red"), (1, "green"))
JITTER: Steps = ((None, "green"), (JITTER_BOUND_S / 2, "orange"), (JITTER_BOUND_S, "red"))
SHARE: Steps = ((None, "green"), (ERROR_SHARE_BOUND / 10, "orange"), (ERROR_SHARE_BOUND, "red"))


class Look(NamedTuple):
    """What a panel says and how: every panel has all of it.

    unit is one of Grafana's; width in 24ths of a row, height in its own grid (30 pixels).
    """

    title: str
    description: str
    unit: str
    steps: Steps
    width: int = 12
    height: int = 8


class Query(NamedTuple):
    """One query; legend names its series, or is the title of its column in a table."""

    expr: str
    legend: str


def while_up(expr: str) -> str:
    """Return the query with a gap where the interface is down: nothing was measured there."""
    return f"{expr} and on ({PER_INTERFACE}) vtap_interface_up == 1"


def rate(selected: str) -> str:
    """Return the average growth per second since the last point; a restart costs nothing."""
    return f"rate({selected}[$__rate_interval])"


def error_share(by: str) -> str:
    """Return the share of numbered packets with an error; a gap where none came (0/0)."""
    errors = rate(f"vtap_sequence_errors_total{{{STREAM}}}")
    packets = rate(f"vtap_sequence_packets_total{{{STREAM}}}")
    return f"sum by ({by}) ({errors}) / (sum by ({by}) ({packets}) > 0)"


def graph(look: Look, queries: Sequence[Query], *, repeat: str | None = None) -> timeseries.Panel:
    """Return a graph over time in which what was not measured is a gap."""
    panel = timeseries.Panel()
    panel.span_nulls(False).show_points(common.VisibilityMode.AUTO).line_width(1).fill_opacity(5)
    panel.legend(
        options.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "mean", "max"])
    )
    panel.tooltip(
        options.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )
    bounded = any(value in {JITTER_BOUND_S, ERROR_SHARE_BOUND} for value, _ in look.steps)
    mode = common.GraphThresholdsStyleMode
    panel.thresholds_style(
        options.GraphThresholdsStyleConfig().mode(mode.DASHED if bounded else mode.OFF)
    )
    if look.unit not in {"none", "short"}:
        panel.axis_soft_min(0)
    for letter, query in zip(LETTERS, queries):
        panel.with_target(_target(query, letter).range())
    if repeat:
        panel.repeat(repeat).repeat_direction("h").max_per_row(3)
    _dress(panel, look)
    return panel


def number(look: Look, query: Query) -> stat.Panel:
    """Return one number as it is now, coloured by its thresholds."""
    panel = stat.Panel()
    panel.reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.color_mode(common.BigValueColorMode.BACKGROUND)
    panel.graph_mode(common.BigValueGraphMode.NONE)
    panel.no_value("not measured")
    panel.with_target(_target(query).instant())
    _dress(panel, look)
    return panel


def states(look: Look, queries: Sequence[Query]) -> statetimeline.Panel:
    """Return bars over time: 1 is up, 0 is down, nothing is neither."""
    panel = statetimeline.Panel()
    panel.mappings(
        [
            dashboard.ValueMap(
                {
                    "0": dashboard.ValueMappingResult("down", "red"),
                    "1": dashboard.ValueMappingResult("up", "green"),
                }
            )
        ]
    )
    panel.show_value(common.VisibilityMode.NEVER).line_width(0).fill_opacity(70)
    for letter, query in zip(LETTERS, queries):
        panel.with_target(_target(query, letter).range())
    _dress(panel, look)
    return panel


class Column(NamedTuple):
    """A column of a table: a query with its own unit and colours."""

    query: Query
    unit: str
    steps: Steps


def listing(look: Look, columns: Sequence[Column], labels: Sequence[str]) -> table.Panel:
    """Return a table of the values now, a row for each combination of labels.

    Queries have these labels and no others, so that Grafana's merge makes one row of their values.
    """
    panel = table.Panel()
    panel.no_value("-").filterable(True)
    renamed = {}
    for letter, column in zip(LETTERS, columns):
        target = _target(column.query, letter).instant().format(PromQueryFormat.TABLE)
        panel.with_target(target)
        renamed[f"Value #{letter}"] = column.query.legend
        panel.override_by_name(column.query.legend, _cell(column))
    link = {
        "title": "Throughput of ${__value.text}",
        "url": "/d/vtap-throughput?${__url_time_range}&var-host=${__data.fields.host}"
        + ("&var-interface=${__data.fields.interface}" if "interface" in labels else ""),
    }
    panel.override_by_name(labels[-1], [dashboard.DynamicConfigValue("links", [link])])
    panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    organize = {"excludeByName": {"Time": True}, "renameByName": renamed}
    panel.with_transformation(dashboard.DataTransformerConfig("organize", options=organize))
    _dress(panel, look)
    return panel


def _cell(column: Column) -> list[dashboard.DynamicConfigValue]:
    steps = [{"value": value, "color": color} for value, color in column.steps]
    return [
        dashboard.DynamicConfigValue("unit", column.unit),
        dashboard.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
        dashboard.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
    ]


def _target(query: Query, letter: str = LETTERS[0]) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)


def _dress(
    panel: timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel, look: Look
) -> None:
    steps = [dashboard.Threshold(value, color) for value, color in look.steps]
    thresholds = build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
    panel.title(look.title).description(look.description).unit(look.unit).thresholds(thresholds)
    panel.datasource(DATASOURCE).interval(SCRAPE_INTERVAL).span(look.width).height(look.height)
