"""The dashboards follow from the measurement table, and say what they show."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vtap.measurements import MEASUREMENTS, Basis, Measurement, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "grafana" / "dashboards").glob("*.json"))
BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FILES}
EXTRA = {"useValueForTime", "titleFormat", "textFormat", "tagKeys", "step"}
"""What an annotation of Grafana's Prometheus plugin has, and the SDK's type lacks."""

needs_sdk = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="grafana-foundation-sdk needs Python 3.11"
)


def panels(name: str) -> Iterator[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    return (panel for panel in BOARDS[name]["panels"] if panel["type"] != "row")


def each_panel() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every panel with the name of its dashboard."""
    return ((name, panel) for name in BOARDS for panel in panels(name))


def without_extra(board: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard as the SDK's types have it."""
    copy: dict[str, Any] = json.loads(json.dumps(board))
    for annotation in copy["annotations"]["list"]:
        assert annotation.keys() >= EXTRA
        for key in EXTRA:
            del annotation[key]
    return copy


def test_there_are_four() -> None:
    """Overview, throughput, jitter, sequence errors: as the documentation names them."""
    assert [*BOARDS] == ["jitter", "overview", "sequence", "throughput"]


@needs_sdk
def test_generating_again_changes_nothing() -> None:
    """What is checked in is what the table and the code yield."""
    from grafana.generate import dashboards  # noqa: PLC0415 - not before Python 3.11

    assert dashboards() == {path.name: path.read_text() for path in FILES}


@needs_sdk
@pytest.mark.parametrize("name", BOARDS)
def test_the_types_of_the_sdk_hold(name: str) -> None:
    """Read into the SDK's types and written again, nothing is lost or added."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415
    from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: PLC0415
    from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: PLC0415

    register_default_plugins()
    expected = without_extra(BOARDS[name])
    read = Dashboard.from_json(expected)

    assert json.loads(json.dumps(read, cls=JSONEncoder)) == expected


@needs_sdk
def test_a_new_row_of_the_table_is_on_a_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement with a metric needs no change in grafana/."""
    from grafana import generate  # noqa: PLC0415 - not before Python 3.11

    row = Measurement(
        "losses_per_second",
        "packets per second",
        "Packets lost per second",
        Basis.INTERVAL,
        None,
        lambda _: 1,
        metric=Metric("vtap_losses_per_second"),
    )
    monkeypatch.setattr(generate, "MEASUREMENTS", (*MEASUREMENTS, row))
    board = json.loads(generate.dashboards()["throughput.json"])

    assert "Packets and losses" in [panel["title"] for panel in board["panels"]]


def test_every_metric_of_the_table_is_shown() -> None:
    """No measurement reaches Prometheus and no dashboard."""
    text = "".join(path.read_text() for path in FILES)
    metrics = {row.metric.name for row in MEASUREMENTS if row.metric}

    assert {name for name in metrics if f"{name}{{" not in text} == set()


@pytest.mark.parametrize(("name", "panel"), each_panel())
def test_every_panel_says_what_it_shows(name: str, panel: dict[str, Any]) -> None:
    """Title, description, unit, thresholds, data source."""
    defaults = panel["fieldConfig"]["defaults"]

    assert panel["title"], name
    assert panel["description"].endswith(".") or "ethtool" in panel["description"]
    assert defaults["unit"]
    assert defaults["thresholds"]["steps"][0]["value"] is None
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", BOARDS)
def test_panels_and_their_queries_can_be_told_apart(name: str) -> None:
    """Each has a number of its own, each query of a panel a letter; none overlaps another."""
    everything = BOARDS[name]["panels"]
    cells = [
        (x, y)
        for panel in everything
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert [panel["id"] for panel in everything] == [*range(1, len(everything) + 1)]
    assert len(cells) == len(set(cells))
    for panel in panels(name):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == [*"ABCDEFGHIJ"[: len(letters)]]


@pytest.mark.parametrize(("name", "panel"), each_panel())
def test_gaps_stay_gaps(name: str, panel: dict[str, Any]) -> None:
    """No graph is drawn across what was not measured."""
    if panel["type"] == "timeseries":
        assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False, name


@pytest.mark.parametrize("name", BOARDS)
def test_variables_links_and_annotations_are_the_same_everywhere(name: str) -> None:
    """So that one dashboard leads to another with what was chosen."""
    board = BOARDS[name]
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps([*panels(name)])))

    assert board["uid"] == f"vtap-{name}"
    assert [variable["name"] for variable in board["templating"]["list"]] == [
        "datasource", "host", "interface", "rule", "protocol",
    ]  # fmt: skip
    assert used <= {"datasource", "host", "interface", "rule", "protocol"}
    assert [link["tags"] for link in board["links"]] == [["vtap"]]
    assert board["links"][0]["includeVars"]
    assert board["links"][0]["keepTime"]
    assert [event["name"] for event in board["annotations"]["list"]] == [
        "Instance started", "Instance stopped",
    ]  # fmt: skip


def test_bounds_are_those_of_the_alerts() -> None:
    """What is red on a dashboard is what an alert waits for."""
    rules = (REPOSITORY / "docker" / "prometheus" / "rules" / "vtap.yml").read_text()
    bounds = {
        "s": float(re.findall(r"jitter_stddev_seconds\[1m\]\) > (\S+)", rules)[0]),
        "percentunit": float(re.findall(r"ratio_rate1m > (\S+)", rules)[0]),
    }
    red = {
        (panel["fieldConfig"]["defaults"]["unit"], steps[-1]["value"])
        for _, panel in each_panel()
        for steps in [panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        if steps[-1]["color"] == "red" and panel["fieldConfig"]["defaults"]["unit"] in bounds
    }

    assert red == set(bounds.items())
