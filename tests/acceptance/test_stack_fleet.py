"""Many hosts write to one store: docker/prometheus/fleet.yml with a real VictoriaMetrics.

One instance is scraped under the names of two hosts: only the label can keep them apart.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.netns import Namespace, veth_pair
from tests.support.prometheus import Prometheus, Series, fetch, query
from tests.support.tools import require_tools
from tests.support.wait import wait_until
from vtap.instances import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

require_tools("prometheus", "victoria-metrics")

REPOSITORY = Path(__file__).resolve().parents[2]
STORE = "http://127.0.0.1:8428"
TIMEOUT_S = 30


class Fleet(NamedTuple):
    """What runs; series is what script/series printed."""

    prometheus: Prometheus
    series: str

    def stored(self, expr: str, time_s: float | None = None) -> list[tuple[Series, float]]:
        """Ask the store."""
        return query(self.prometheus.namespace, STORE, expr, time_s)


def answers(namespace: Namespace, url: str, text: str) -> bool:
    """Tell whether a server is there and says this."""
    try:
        return text in fetch(namespace, url)
    except OSError:
        return False


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Provide a store, a Prometheus that writes to it, and one instance, listed for two hosts."""
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as context:
        namespace = context.enter_context(Namespace("fleet"))
        pair = context.enter_context(veth_pair("fleet", namespace))
        log = context.enter_context((folder / "log").open("w"))
        traffic = str(REPOSITORY / "script" / "traffic.py")
        namespace.popen([sys.executable, traffic, pair.left.ifname])
        monitor = [*("/usr/bin/python3", str(REPOSITORY / "monitor.py"), "-i", pair.right.ifname)]
        monitor += ["-conf", str(REPOSITORY / "script" / "demo.json")]
        environment = {**os.environ, FOLDER_VARIABLE: str(folder / "records")}
        namespace.popen(monitor, stdout=subprocess.DEVNULL, stderr=log, env=environment)
        store = ["victoria-metrics", f"-storageDataPath={folder}/store"]
        # By default it waits half a minute for stragglers before it shows a sample.
        store += ["-httpListenAddr=127.0.0.1:8428", "-search.latencyOffset=1s"]
        namespace.popen(store, stdout=log, stderr=log)
        wait_until(lambda: answers(namespace, f"{STORE}/health", "OK"), TIMEOUT_S, "the store")
        metrics = "http://127.0.0.1:8080/metrics"
        measured = "vtap_jitter_stddev_seconds{"
        wait_until(lambda: answers(namespace, metrics, measured), TIMEOUT_S, "the instance")
        series = namespace.run([str(REPOSITORY / "script" / "series")]).stdout
        prometheus = Prometheus(namespace, folder, config="fleet.yml")
        prometheus.list_instances({"targets": ["127.0.0.1:8080"], "labels": {"host": "lab-1"}})
        listed = '- targets: ["127.0.0.1:8080"]\n  labels: {host: lab-2}\n'
        (prometheus.targets / "lab-2.yml").write_text(listed)
        made = Fleet(prometheus, series)
        wait_until(
            lambda: len(made.stored("up == 1")) == 2, 2 * TIMEOUT_S, "both hosts in the store"
        )
        yield made


def test_hosts_are_kept_apart(fleet: Fleet) -> None:
    """The same address, interface and rule on two hosts are two series."""
    found = fleet.stored('vtap_packets_total{protocol="UDP"}')

    assert {labels["host"] for labels, _ in found} == {"lab-1", "lab-2"}
    assert {labels["instance"] for labels, _ in found} == {"127.0.0.1:8080"}


def test_the_store_has_what_prometheus_has(fleet: Fleet) -> None:
    """The same value of the same sample."""
    selected = 'vtap_bytes_total{protocol="TCP", host="lab-1"}'
    time_s = fleet.prometheus.value(f"timestamp({selected})")
    assert time_s is not None
    expected = fleet.prometheus.query(selected, time_s)[0][1]

    def arrived() -> bool:
        return [value for _, value in fleet.stored(selected, time_s)] == [expected]

    wait_until(arrived, TIMEOUT_S, "the sample", seen=lambda: fleet.stored(selected, time_s))


def test_an_instance_costs_what_the_documentation_says(fleet: Fleet) -> None:
    """script/series counts what the store gets, and docs/scale.md repeats it."""
    costs = [int(cost) for cost in re.findall(r"^  [^:]*?  +(\d+)", fleet.series, re.MULTILINE)]
    of_instance, of_interface, of_row, own, each, *_ = costs
    stored = fleet.stored('count({__name__=~"vtap_.*|process_.*", host="lab-1"})')[0][1]
    document = (REPOSITORY / "docs" / "scale.md").read_text()

    assert stored == of_instance + of_interface + of_row
    assert each == stored + 3 + own
    assert fleet.stored('{__name__=~"scrape_.*"}') == []
    for line in fleet.series.splitlines()[1:]:  # the first has the bytes of this very scrape
        assert line in document


def test_the_dashboards_work_on_the_store(fleet: Fleet) -> None:
    """A query of the throughput dashboard, with the host chosen, at the store."""
    expr = 'sum by (host) (rate(vtap_bytes_total{host=~"lab-2", rule=~".*"}[20s])) / 1000 > 0'
    found = wait_until(lambda: fleet.stored(expr), TIMEOUT_S, "a rate")

    assert [labels["host"] for labels, _ in found] == ["lab-2"]
