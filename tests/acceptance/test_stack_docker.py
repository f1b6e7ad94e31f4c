"""`docker compose up -d` brings up the whole stack on a real engine.

Nothing can be pulled here: debootstrap makes the base image, Debian's Prometheus and Alertmanager
stand in for the published images, and Grafana is a web server that keeps what it was given
(stand_ins/). The monitor's image is the real one. All is on a host network of its own, a network
namespace, with the default ports.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.engine import Engine
from tests.support.netns import Interface, Namespace, veth_pair
from tests.support.prometheus import query
from tests.support.tools import require_tools
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

require_tools("dockerd", "docker", "debootstrap", "nsenter", "ss")

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
STAND_INS = Path(__file__).resolve().parent / "stand_ins"
PROMETHEUS = "http://127.0.0.1:9090"
HEALTHY_TIMEOUT_S = 90
SEEN_TIMEOUT_S = 60  # as in test_stack_prometheus.py

CAPABILITIES = {"NET_RAW": 13, "SYS_ADMIN": 21, "PERFMON": 38, "BPF": 39}
"""linux/capability.h."""
PROFILES = ("--profile", "monitor", "--profile", "alerts")


def compose_commands() -> list[list[str]]:
    """Return the ways to say docker compose that this machine has."""
    both = [["docker", "compose"], ["docker-compose"]]
    return [
        command
        for command in both
        if shutil.which(command[0])
        and subprocess.run([*command, "version"], check=False, capture_output=True).returncode == 0
    ]


class Stack:
    """The compose project on its engine."""

    def __init__(
        self, engine: Engine, namespace: Namespace, interface: Interface, state: Path
    ) -> None:
        self.engine = engine
        self.namespace = namespace
        self.interface = interface
        self.state = state
        self.knows_bpf = self._engine_knows_bpf()

    def _engine_knows_bpf(self) -> bool:
        """Tell whether the engine knows CAP_BPF; Debian 12's does not."""
        tried = subprocess.run(
            ["docker", "create", "--cap-add", "BPF", "debian:trixie-slim", "true"],
            env=self.engine.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        return "unknown capability" not in tried.stderr

    def compose(self, *words: str) -> str:
        """Run docker compose in docker/, as a user does."""
        variables = {"VTAP_INTERFACE": self.interface.ifname, "VTAP_STATE": str(self.state)}
        variables["VTAP_CONFIG"] = str(REPOSITORY / "script" / "demo.json")
        if not self.knows_bpf:
            variables |= {"VTAP_CAP_BPF": "SYS_ADMIN", "VTAP_CAP_PERFMON": "CAP_SYS_ADMIN"}
        command = [*compose_commands()[0], *PROFILES, *words]
        return self.engine.run(command, folder=DOCKER, variables=variables)

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        label = f"label=com.docker.compose.service={service}"
        container = self.engine.docker("ps", "--all", "--quiet", "--filter", label).strip()
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", container))
        return found[0]

    def execute(self, service: str, *command: str) -> str:
        """Run a command inside a service's container."""
        return self.engine.docker("exec", self.inspect(service)["Id"], *command)

    def wait_until_healthy(self) -> None:
        """Wait for the health check of every service."""
        for service in ("prometheus", "grafana", "alertmanager", "monitor"):
            wait_until(
                lambda name=service: self.inspect(name)["State"]["Health"]["Status"] == "healthy",
                HEALTHY_TIMEOUT_S,
                f"health of {service}",
                seen=lambda name=service: (self.inspect(name)["State"], self.compose("logs", name)),
            )

    def query(self, expr: str, time_s: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Ask Prometheus; nothing while it cannot be reached."""
        try:
            return query(self.namespace, PROMETHEUS, expr, time_s)
        except OSError:
            return []

    def wait_for(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Wait until Prometheus has something to say."""
        return wait_until(lambda: self.query(expr), SEEN_TIMEOUT_S, expr)


def build_images(engine: Engine) -> None:
    """Make every image that the compose file names."""
    engine.import_debian("trixie", "debian:trixie-slim")
    pinned = dict(re.findall(r"image: (\w+/(\w+):\S+)", (DOCKER / "compose.yaml").read_text()))
    with ThreadPoolExecutor() as pool:
        command = [*compose_commands()[0], *PROFILES, "build", "monitor"]
        monitor = pool.submit(engine.run, command, folder=DOCKER)
        for image, target in pinned.items():
            engine.docker(
                "build", "--network", "host", "--tag", image, "--target", target, str(STAND_INS)
            )
        monitor.result()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Provide the stack, up and healthy, on a host whose tap receives script/traffic.py."""
    with ExitStack() as context:
        engine = context.enter_context(Engine(tmp_path_factory.mktemp("engine")))
        with engine.running():
            build_images(engine)

        namespace = context.enter_context(Namespace("docker"))
        pair = context.enter_context(veth_pair("docker", namespace))
        namespace.popen(
            [sys.executable, str(REPOSITORY / "script" / "traffic.py"), pair.left.ifname]
        )
        context.enter_context(engine.running(namespace))
        state = tmp_path_factory.mktemp("state")
        made = Stack(engine, namespace, pair.right, state)
        made.compose("up", "-d")
        made.wait_until_healthy()
        yield made


@pytest.mark.parametrize("command", compose_commands(), ids=" ".join)
@pytest.mark.parametrize("profiles", [(), PROFILES], ids=["default", "all"])
def test_the_compose_file_is_valid(command: list[str], profiles: tuple[str, ...]) -> None:
    """For each compose that is here, with and without the profiles, and with no variable set."""
    ended = subprocess.run(
        [*command, *profiles, "config", "--quiet"],
        cwd=DOCKER,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout) == (0, "")
    assert "variable is not set" not in ended.stderr


def test_the_monitor_appears_in_prometheus(stack: Stack) -> None:
    """It lists itself, as every instance does, and is scraped."""
    (labels, value) = stack.wait_for('up{job="vtap"} == 1')[0]
    (packets, _) = stack.wait_for('vtap_packets_total{protocol="UDP"} > 1000')[0]

    assert value == 1
    assert (labels["instance"], labels["pid"]) == ("127.0.0.1:8080", "1")
    assert packets["interface"] == stack.interface.ifname
    assert packets["host"] == labels["host"]


def test_the_monitor_measures_what_is_sent(stack: Stack) -> None:
    """The size of a packet, from bytes and packets of one scrape, exactly."""
    stack.wait_for('vtap_packets_total{protocol="TCP"} > 1000')
    sizes = stack.query("vtap_bytes_total / vtap_packets_total")

    assert {labels["protocol"]: size for labels, size in sizes} == pytest.approx(
        {"TCP": 1454, "UDP": 554, "ICMP": 98}
    )


def test_the_monitor_has_the_capabilities_that_it_needs(stack: Stack) -> None:
    """Three (or, on an engine that does not know them, two); once it measures, none."""
    container = stack.inspect("monitor")
    loading = {"BPF", "PERFMON"} if stack.knows_bpf else {"SYS_ADMIN"}
    status = stack.execute("monitor", "cat", "/proc/1/status")

    def capabilities(kind: str) -> set[str]:
        mask = int(re.findall(rf"{kind}:\s+(\w+)", status)[0], 16)
        names = {name for name, number in CAPABILITIES.items() if mask >> number & 1}
        assert mask == sum(1 << CAPABILITIES[name] for name in names)
        return names

    assert not container["HostConfig"]["Privileged"]
    assert capabilities("CapBnd") == {"NET_RAW"} | loading
    assert capabilities("CapEff") == set()


@pytest.mark.parametrize("service", ["prometheus", "grafana", "alertmanager", "monitor"])
def test_no_service_has_privileges(stack: Stack, service: str) -> None:
    """Read-only root, no new privileges, no capability but the monitor's, the default seccomp."""
    container = stack.inspect(service)
    host = container["HostConfig"]
    status = stack.execute(service, "cat", "/proc/1/status")

    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["CapDrop"] == ["ALL"]
    assert (host["CapAdd"] is None) == (service != "monitor")
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert re.findall(r"(?:NoNewPrivs|Seccomp):\s+(\d)", status) == ["1", "2"]
    if service != "monitor":
        assert re.findall(r"Cap(?:Prm|Eff|Bnd):\s+(\w+)", status) == ["0" * 16] * 3
        assert re.findall(r"Uid:\s+(\d+)", status)[0] != "0"
    with pytest.raises(AssertionError, match="Read-only file system"):
        stack.execute(service, "sh", "-c", "echo >/etc/written 2>&1 || touch /etc/written")


def test_everything_listens_on_loopback(stack: Stack) -> None:
    """Prometheus, Grafana, Alertmanager and the monitor, and no port besides."""
    listening = stack.namespace.run(["ss", "--listening", "--tcp", "--numeric", "--no-header"])
    addresses = {line.split()[3] for line in listening.stdout.splitlines()}

    assert addresses == {f"127.0.0.1:{port}" for port in (9090, 3000, 9093, 8080)}


def test_prometheus_has_no_admin_api(stack: Stack) -> None:
    """Nobody deletes history, or stops the server, over the network."""
    flags = json.loads(
        stack.execute("prometheus", "wget", "-q", "-O", "-", f"{PROMETHEUS}/api/v1/status/flags")
    )["data"]

    assert flags["web.enable-admin-api"] == "false"
    assert flags["web.enable-lifecycle"] == "false"


def test_grafana_gets_its_password_provisioning_and_dashboards(stack: Stack) -> None:
    """As far as a stand-in can tell: all is readable for Grafana's user, anonymous is Viewer."""

    def read(name: str) -> str:
        return stack.execute("grafana", "cat", f"/var/lib/grafana/{name}")

    environment = dict(line.split("=", 1) for line in read("environment-read").splitlines())

    assert read("password-read") == read("admin-password")
    assert len(read("password-read").strip()) == 24
    assert read("password-read").strip() not in stack.compose("logs", "grafana")
    assert "url: $VTAP_PROMETHEUS_URL" in read("provisioning-read")
    assert environment["VTAP_PROMETHEUS_URL"] == PROMETHEUS
    assert json.loads(read("home-read"))["uid"] == "vtap-overview"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment


def test_history_and_password_survive_new_containers(stack: Stack) -> None:
    """down and up make new containers; what was measured before is there, and the password."""
    series = 'vtap_packets_total{protocol="UDP"}'
    time_s = time.time()
    before = wait_until(lambda: stack.query(series, time_s), SEEN_TIMEOUT_S, "a sample")
    containers = stack.engine.docker("ps", "--quiet", "--no-trunc").split()
    password = stack.execute("grafana", "cat", "/var/lib/grafana/admin-password")
    stack.compose("down")
    stack.compose("up", "-d")
    stack.wait_until_healthy()

    assert set(stack.engine.docker("ps", "--quiet", "--no-trunc").split()).isdisjoint(containers)
    assert stack.query(series, time_s) == before
    assert stack.execute("grafana", "cat", "/var/lib/grafana/admin-password") == password


def test_a_monitor_that_is_stopped_leaves(stack: Stack) -> None:
    """It takes itself off the list: no target, no alert; and it ends by itself, with status 0."""
    stack.wait_for("up == 1")
    stack.compose("stop", "monitor")
    stack.wait_for("absent(up)")

    assert stack.inspect("monitor")["State"]["ExitCode"] == 0
