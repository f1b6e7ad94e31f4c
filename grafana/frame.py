"""What every dashboard has before its first panel: variables, links, annotations, times."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard

from grafana.panels import DATASOURCE, HOST, PER_INSTANCE

_LAST = f"vtap_sample_timestamp_seconds{{{HOST}}}"
EVENTS = (
    ("Instance started", "green", f'process_start_time_seconds{{job="vtap", {HOST}}} * 1000'),
    (
        "Instance stopped",
        "red",
        f"(max_over_time({_LAST}[1h]) unless on ({PER_INSTANCE}) {_LAST}) * 1000",
    ),
)
"""Name, colour and time in milliseconds of what every dashboard marks."""


class Annotation(dashboard.AnnotationQuery):
    """An event whose time is a series' value; the SDK does not know Prometheus' own members."""

    def to_json(self) -> dict[str, object]:
        """Add what Grafana's Prometheus plugin reads (grafana-prometheus, src/datasource.ts)."""
        return {
            **super().to_json(),
            "useValueForTime": True,
            "titleFormat": self.name,
            "textFormat": "{{host}} {{instance}}",
            "tagKeys": "host",
            "step": "5s",
        }


class _Built(build.AnnotationQuery):
    def __init__(self, annotation: Annotation) -> None:
        super().__init__()
        self._internal = annotation


def _variable(name: str, label: str, query: str) -> build.QueryVariable:
    every = dashboard.VariableOption(selected=True, text="All", value="$__all")
    return (
        build.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(DATASOURCE)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
    )


def new_dashboard(uid: str, title: str, description: str) -> build.Dashboard:
    """Return a dashboard without panels: variables, links, annotations and times as all have."""
    made = build.Dashboard(f"vTap: {title}").uid(f"vtap-{uid}").description(description)
    made.tags(["vtap"]).time("now-15m", "now").refresh("5s").timezone("browser").readonly()
    made.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    made.link(
        build.DashboardLink("vTap")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags(["vtap"])
        .include_vars(True)
        .keep_time(True)
    )
    made.with_variable(
        build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    )
    for name, label, query in (
        ("host", "Host", "label_values(vtap_interface_up, host)"),
        ("interface", "Interface", f"label_values(vtap_interface_up{{{HOST}}}, interface)"),
        ("rule", "Rule", f"label_values(vtap_packets_total{{{HOST}}}, rule)"),
        ("protocol", "Protocol", f"label_values(vtap_packets_total{{{HOST}}}, protocol)"),
    ):
        made.with_variable(_variable(name, label, query))
    for name, colour, expr in EVENTS:
        event = Annotation(name=name, datasource=DATASOURCE, icon_color=colour, expr=expr)
        made.annotation(_Built(event))
    return made
