"""Prometheus with the checked-in configuration sees every instance, and the dashboards' queries are
right.

One Prometheus and two instances on veth pairs with script/traffic.py: 1000 packets a second of each
protocol, of a known size, with 5 sequence errors in 1000. The tests change what runs and stand in
the order in which it happens.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.netns import Interface, Namespace, interface_statistics, ip, veth_pair
from tests.support.prometheus import DOCKER, Prometheus, fetch
from tests.support.tools import require_tools
from tests.support.wait import wait_until
from vtap.instances import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

require_tools("prometheus", "promtool", "amtool")

REPOSITORY = DOCKER.parent
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((REPOSITORY / "grafana" / "dashboards").glob("*.json"))
}
FRAME_BYTES = {"TCP": 1454, "UDP": 554, "ICMP": 98}
PAYLOAD_BYTES = {"TCP": 1400, "UDP": 512, "ICMP": 56}
"""As script/traffic.py sends them."""
ERROR_SHARE = 5 / 1000
PROTOCOLS = ("TCP", "UDP", "ICMP")

START_TIMEOUT_S = 30
SEEN_TIMEOUT_S = 60
"""A list is read after 10 s at the latest, passed on twice every 5 s, scraped every 5 s; what has
left ends after two scrapes more, and a rule sees that 5 s later: 40 s, and a busy machine.
"""
RATE_WINDOW = "20s"
"""What Grafana makes of $__rate_interval at a scrape interval of 5 s: four times that."""


class Instance:
    """monitor.py on one end of a veth pair, and a sender on the other one."""

    def __init__(self, pair: tuple[Interface, Interface], port: int, folder: Path) -> None:
        self.interface = pair[1]
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._log = folder / f"monitor-{port}.log"
        # Records of its own: the list that Prometheus reads is the test's to change.
        self._environment = {**os.environ, FOLDER_VARIABLE: str(folder / "records")}
        traffic = REPOSITORY / "script" / "traffic.py"
        pair[0].namespace.popen([sys.executable, str(traffic), pair[0].ifname])
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        """Start the monitor and wait until it serves its first interval."""
        with self._log.open("a") as log:
            self.process = self.interface.namespace.popen(
                [
                    *("/usr/bin/python3", str(REPOSITORY / "monitor.py")),
                    *("-i", self.interface.ifname, "-server_port", str(self.port)),
                    *("-conf", str(REPOSITORY / "script" / "demo.json")),
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=self._environment,
            )
        wait_until(self._measures, START_TIMEOUT_S, "the instance", seen=self._log.read_text)
        return self.process

    def _measures(self) -> bool:
        try:
            text = fetch(self.interface.namespace, f"http://{self.address}/metrics")
        except OSError:
            return False
        return "vtap_jitter_stddev_seconds{" in text

    def end(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        self.process.wait(START_TIMEOUT_S)

    def listed(self) -> dict[str, Any]:
        """Return its entry in the controller's list."""
        return {
            "targets": [self.address],
            "labels": {
                "host": "lab-1",
                "interfaces": self.interface.ifname,
                "pid": str(self.process.pid),
                "config": "/etc/vtap/config.json",
            },
        }


class Stack(NamedTuple):
    """What runs."""

    prometheus: Prometheus
    first: Instance
    second: Instance


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Provide Prometheus and two instances that have been scraped for a rate's time."""
    folder = tmp_path_factory.mktemp("stack")
    with ExitStack() as context:
        namespace = context.enter_context(Namespace("stack"))
        pairs = [context.enter_context(veth_pair("stack", namespace)) for _ in range(2)]
        first = Instance(pairs[0], 8080, folder)
        second = Instance(pairs[1], 8081, folder)
        prometheus = Prometheus(namespace, folder)
        prometheus.list_instances(first.listed(), second.listed())
        prometheus.wait_for(
            f"count(count_over_time(vtap_interface_up[{RATE_WINDOW}]) >= 4) == 2", 60
        )
        yield Stack(prometheus, first, second)


def substitute(expr: str, protocol: str = ".*") -> str:
    """Put in what Grafana puts in for its variables: all of everything, and one protocol."""
    values = {"host": ".*", "interface": ".*", "rule": ".*", "protocol": protocol}
    expr = re.sub(r"\$(host|interface|rule|protocol)\b", lambda found: values[found[1]], expr)
    return expr.replace("$__rate_interval", RATE_WINDOW)


def panel_queries(board: str) -> Iterator[tuple[str, str, str]]:
    """Return the title, the legend and the expression of every query of a dashboard."""
    for panel in BOARDS[board]["panels"]:
        for target in panel.get("targets", []):
            if panel.get("repeat") == "protocol":
                for protocol in PROTOCOLS:
                    title = panel["title"].replace("$protocol", protocol)
                    yield title, target["legendFormat"], substitute(target["expr"], protocol)
            else:
                yield panel["title"], target["legendFormat"], substitute(target["expr"])


def test_both_instances_are_discovered(stack: Stack) -> None:
    """Each on its own port, by the controller's list alone; pid and configuration are on `up`."""
    up = {labels["instance"]: (labels, value) for labels, value in stack.prometheus.query("up")}

    assert {address: value for address, (_, value) in up.items()} == {
        "127.0.0.1:8080": 1,
        "127.0.0.1:8081": 1,
    }
    assert up["127.0.0.1:8081"][0] == {
        "__name__": "up",
        "job": "vtap",
        "instance": "127.0.0.1:8081",
        "host": "lab-1",
        "interfaces": stack.second.interface.ifname,
        "pid": str(stack.second.process.pid),
        "config": "/etc/vtap/config.json",
    }


def test_series_have_the_labels_that_last(stack: Stack) -> None:
    """No pid on a counter: it would be another series after a restart."""
    for labels, _ in stack.prometheus.query('{__name__=~"vtap_packets_total"}'):
        assert {*labels} == {
            "__name__", "job", "instance", "host", "interface", "rule", "protocol",
        }  # fmt: skip


@pytest.mark.parametrize("board", BOARDS)
def test_every_query_of_every_panel_returns_data(stack: Stack, board: str) -> None:
    """No panel is empty while two instances measure."""
    queries = list(panel_queries(board))
    empty = [query for query in queries if not stack.prometheus.query(query[2])]

    assert len(queries) >= 4
    assert empty == []


@pytest.mark.parametrize("board", BOARDS)
def test_every_variable_and_start_annotation_has_values(stack: Stack, board: str) -> None:
    """Grafana's label_values() finds what is there; an instance's start is marked when it was."""
    found = {}
    for variable in BOARDS[board]["templating"]["list"][1:]:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        assert match is not None
        series = stack.prometheus.query(substitute(match[1]))
        found[variable["name"]] = {labels[match[2]] for labels, _ in series}
    starts = stack.prometheus.query(substitute(BOARDS[board]["annotations"]["list"][0]["expr"]))

    assert found == {
        "host": {"lab-1"},
        "interface": {stack.first.interface.ifname, stack.second.interface.ifname},
        "rule": {"all"},
        "protocol": {*PROTOCOLS},
    }
    assert len(starts) == 2
    for _, start_ms in starts:
        assert 0 < time.time() - start_ms / 1000 < 600


def expected_by_unit(legend: str, protocols: tuple[str, ...], packet_rate: float) -> float:
    """Compute what a throughput panel has to show from the packets that the interface received."""
    bytes_each = {"throughput": FRAME_BYTES, "bytes": FRAME_BYTES}
    bytes_each |= {"goodput": PAYLOAD_BYTES, "payload bytes": PAYLOAD_BYTES}
    noun = legend.split("}} ")[-1]
    sizes = bytes_each.get(noun, dict.fromkeys(PROTOCOLS, 1))
    return sum(sizes[protocol] for protocol in protocols) * packet_rate


def test_throughput_panels_show_the_traffic(stack: Stack) -> None:
    """Bytes, payload and packets per second of each panel, total and per protocol."""
    interface = stack.first.interface
    began_s = time.monotonic()
    before = interface_statistics(interface.namespace, interface.ifname)["rx_packets"]
    wait_until(lambda: time.monotonic() - began_s > 2, 5, "two seconds of traffic")
    after = interface_statistics(interface.namespace, interface.ifname)["rx_packets"]
    packet_rate = (after - before) / 3 / (time.monotonic() - began_s)

    for title, legend, expr in panel_queries("throughput"):
        for labels, value in stack.prometheus.query(expr):
            chosen = labels.get("protocol")
            protocols = (chosen,) if chosen else PROTOCOLS
            # Not the same seconds: the sender makes up for pauses of the machine, up to 1 s in 20.
            assert value == pytest.approx(
                expected_by_unit(legend, protocols, packet_rate), rel=0.2
            ), title


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_gauges_agree_to_the_byte(stack: Stack, protocol: str) -> None:
    """Throughput and goodput over packets of the same interval: the size of a packet, exactly."""
    selected = f'{{protocol="{protocol}", instance="{stack.first.address}"}}'
    per_packet = " / vtap_packets_per_second" + selected
    throughput = stack.prometheus.value(f"vtap_throughput_bytes_per_second{selected}{per_packet}")
    goodput = stack.prometheus.value(f"vtap_goodput_bytes_per_second{selected}{per_packet}")

    assert throughput == pytest.approx(FRAME_BYTES[protocol], rel=1e-9)
    assert goodput == pytest.approx(PAYLOAD_BYTES[protocol], rel=1e-9)


def test_jitter_panels_show_the_mean_gap(stack: Stack) -> None:
    """1000 packets a second are 1 ms apart on average, in every panel of the mean."""
    means = [
        value
        for _, legend, expr in panel_queries("jitter")
        if "interarrival_mean" in expr
        for _, value in stack.prometheus.query(expr)
    ]

    # Per protocol and interface, and the largest of each interface.
    assert len(means) == 6 + 2
    # The sender catches up after a pause of the machine, so one second may have some more or less.
    assert means == pytest.approx([0.001] * 8, rel=0.2)


def test_sequence_panels_show_the_share_of_errors(stack: Stack) -> None:
    """5 in 1000, by kind 3 small, 1 big and 1 reverse."""
    queries = {title: expr for title, _, expr in panel_queries("sequence")}
    shares = stack.prometheus.query(queries["Share of packets"])
    kinds = stack.prometheus.query(
        f"sum by (kind) ({queries['Errors per second by kind']})"
        f" / ignoring (kind) group_left sum({queries['Sequence packets per second']})"
    )

    assert len(shares) == 6
    # A window of 15 s or more holds 15 cycles of 1000 packets, and at most a part of one besides.
    for _, share in shares:
        assert share == pytest.approx(ERROR_SHARE, rel=1 / 15)
    assert {labels["kind"]: share for labels, share in kinds} == pytest.approx(
        {"small": 0.003, "big": 0.001, "reverse": 0.001}, rel=3 / 15
    )


def test_overview_panels_show_two_healthy_instances(stack: Stack) -> None:
    """Each number, column and graph: counts exactly, rates as 1000 packets a second make them."""
    packets = 1000 * len(PROTOCOLS)
    frames = 1000 * sum(FRAME_BYTES.values())
    payload = 1000 * sum(PAYLOAD_BYTES.values())
    about = {"rel": 0.2}  # as above
    expected = {
        ("Instances up", "Instances up"): 2,
        ("Instances down", "Instances down"): 0,
        ("Interfaces down", "Interfaces down"): 0,
        ("Worst error share", "Worst error share"): pytest.approx(ERROR_SHARE, **about),
        ("Instances", "up"): 1,
        ("Instances", "interfaces up"): 1,
        ("Instances", "packets"): pytest.approx(packets, **about),
        ("Instances", "worst error share"): pytest.approx(ERROR_SHARE, **about),
        ("Instances", "{{host}} {{instance}}"): 1,
        ("Interfaces", "up"): 1,
        ("Interfaces", "throughput"): pytest.approx(frames, **about),
        ("Interfaces", "goodput"): pytest.approx(payload, **about),
        ("Interfaces", "packets"): pytest.approx(packets, **about),
        ("Interfaces", "worst error share"): pytest.approx(ERROR_SHARE, **about),
        ("Interfaces", "merged"): 0,
        ("Interfaces", "{{host}} {{interface}}"): 1,
        ("Throughput", "{{host}} {{interface}}"): pytest.approx(frames, **about),
        ("Packets per second", "{{host}} {{interface}}"): pytest.approx(packets, **about),
        ("Error share", "{{host}} {{interface}}"): pytest.approx(ERROR_SHARE, **about),
        ("Unmatched", "{{host}} {{interface}}"): 0,
        ("Unparsed", "{{host}} {{interface}} {{reason}}"): 0,
        ("Merged by the kernel", "{{host}} {{interface}}"): 0,
    }
    # What the machine makes of it: above 0, and not the half of a second or of a core.
    some = {"Worst jitter", "worst jitter", "CPU", "CPU of the monitors"}
    seen = set()
    for title, legend, expr in panel_queries("overview"):
        for _, value in stack.prometheus.query(expr):
            if some & {title, legend}:
                assert 0 < value < 0.5, (title, legend)
            elif title != "Alerts":  # the next test's
                assert value == expected[title, legend], (title, legend)
                seen.add((title, legend))

    assert seen == expected.keys()


def test_rules_are_evaluated_and_see_the_errors(stack: Stack) -> None:
    """Every rule is healthy; 5 errors in 1000 are above the bound, nothing else is wrong."""
    groups = json.loads(fetch(stack.prometheus.namespace, f"{Prometheus.base}/api/v1/rules"))
    rules = [rule for group in groups["data"]["groups"] for rule in group["rules"]]
    pending = {labels["alertname"] for labels, _ in stack.prometheus.wait_for("ALERTS", 30)}

    assert len(rules) == 7
    assert {(rule["health"], rule.get("lastError")) for rule in rules} == {("ok", None)}
    assert "VtapSequenceErrors" in pending
    assert pending <= {"VtapSequenceErrors", "VtapJitter"}  # a machine may be that unsteady


def test_an_instance_on_another_host_is_added_by_a_file(stack: Stack) -> None:
    """docker/targets: another host label, or the address where the file gives none."""
    targets = stack.prometheus.targets
    (targets / "lab-2.yml").write_text('- targets: ["127.0.0.1:8080"]\n  labels: {host: lab-2}\n')
    (targets / "lab-3.json").write_text('[{"targets": ["127.0.0.1:8081"]}]')
    stack.prometheus.wait_for('count(up{host=~"lab-2|127.0.0.1"} == 1) == 2', SEEN_TIMEOUT_S)
    apart = stack.prometheus.query(f'vtap_interface_up{{instance="{stack.first.address}"}}')
    (targets / "lab-2.yml").unlink()
    (targets / "lab-3.json").unlink()

    assert {labels["host"] for labels, _ in apart} == {"lab-1", "lab-2"}
    stack.prometheus.wait_for('absent(up{host=~"lab-2|127.0.0.1"})', SEEN_TIMEOUT_S)


def test_an_interface_that_is_down_is_a_gap(stack: Stack) -> None:
    """No line at 0: what was not measured has no value. The other interface goes on."""
    ifname = stack.second.interface.ifname
    queries = [*panel_queries("throughput"), *panel_queries("jitter")]
    ip(f"-n {stack.prometheus.namespace.name} link set {ifname} down")
    selected = f'{{interface="{ifname}"}}'
    stack.prometheus.wait_for(f"vtap_interface_up{selected} == 0", SEEN_TIMEOUT_S)
    # The last finished jitter interval before may have been scraped with the interface down.
    stack.prometheus.wait_for(f"absent(vtap_jitter_stddev_seconds{selected})", SEEN_TIMEOUT_S)
    seen = {
        (title, labels["interface"])
        for title, _, expr in queries
        for labels, _ in stack.prometheus.query(expr)
    }
    ip(f"-n {stack.prometheus.namespace.name} link set {ifname} up")

    assert seen == {(title, stack.first.interface.ifname) for title, _, _ in queries}
    stack.prometheus.wait_for(f"vtap_interface_up{selected} == 1", SEEN_TIMEOUT_S)


def test_rates_survive_a_restart(stack: Stack) -> None:
    """The same series goes on from 0, and rate() shows the traffic, not the fall."""
    series = f'vtap_packets_total{{instance="{stack.first.address}", protocol="UDP"}}'
    before = stack.prometheus.value(series)
    stack.first.end(signal.SIGTERM)
    stack.first.start()
    stack.prometheus.list_instances(stack.first.listed(), stack.second.listed())
    pid = str(stack.first.process.pid)
    stack.prometheus.wait_for(f'up{{pid="{pid}"}} == 1', SEEN_TIMEOUT_S)
    stack.prometheus.wait_for(f"resets({series}[1m]) == 1", SEEN_TIMEOUT_S)
    after = stack.prometheus.value(series)
    rates = [value for _, value in stack.prometheus.query(f"rate({series}[1m])")]

    assert before is not None
    assert after is not None
    assert after < before
    # One series, of the whole minute: some 5 s of it were the restart, when nothing was counted.
    assert len(rates) == 1
    assert 500 < rates[0] < 1200


def test_an_instance_that_is_killed_is_down_and_an_alert(stack: Stack) -> None:
    """It stays listed, so `up` is 0; its series end at once; VtapInstanceDown fires after 15 s."""
    stack.second.end(signal.SIGKILL)
    address = stack.second.address
    stack.prometheus.wait_for(f'up{{instance="{address}"}} == 0', SEEN_TIMEOUT_S)

    assert stack.prometheus.query(f'vtap_packets_total{{instance="{address}"}}') == []
    stack.prometheus.wait_for(
        f'ALERTS{{alertname="VtapInstanceDown", alertstate="firing", instance="{address}"}}', 45
    )


def test_an_instance_that_leaves_the_list_is_gone(stack: Stack) -> None:
    """No `up`, no alert; its end is marked on the dashboards, at its last sample."""
    address = stack.second.address
    stack.prometheus.list_instances(stack.first.listed())
    stack.prometheus.wait_for(f'absent(up{{instance="{address}"}})', SEEN_TIMEOUT_S)
    stopped = substitute(BOARDS["overview"]["annotations"]["list"][1]["expr"])
    events = [
        (labels["instance"], time_ms)
        for labels, time_ms in stack.prometheus.query(stopped)
        if labels["host"] == "lab-1"  # not the hosts that another test took away
    ]

    assert [instance for instance, _ in events] == [address]
    assert 0 < time.time() - events[0][1] / 1000 < 120
    stack.prometheus.wait_for(f'absent(ALERTS{{instance="{address}"}})', SEEN_TIMEOUT_S)


@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "check", "config", "prometheus/prometheus.yml"],
        ["promtool", "check", "config", "prometheus/fleet.yml"],
        ["promtool", "check", "rules", "prometheus/rules/vtap.yml"],
        ["promtool", "test", "rules", "prometheus/rules.test.yml"],
        ["amtool", "check-config", "alertmanager/alertmanager.yml"],
    ],
    ids=" ".join,
)
def test_configurations_and_rules_are_good(command: list[str]) -> None:
    """Each tool's own word, and the unit tests of every alert with its near miss."""
    ended = subprocess.run(
        command, cwd=DOCKER, check=False, capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
