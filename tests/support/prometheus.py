"""Run Debian's Prometheus in a namespace, with a configuration of docker/ as it is checked in.

Knows the lists of instances that it discovers; nothing of dashboards or alerts.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import shutil
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.wait import wait_until

if TYPE_CHECKING:
    import subprocess

    from tests.support.netns import Namespace

DOCKER = Path(__file__).resolve().parents[2] / "docker"
START_TIMEOUT_S = 30
REQUEST_TIMEOUT_S = 10

# The lists of a controller are looked for in /run/vtap: a private /run, with the test's own.
IN_PRIVATE_RUN = """
mount -t tmpfs none /run && mkdir /run/vtap && ln -s "$1" /run/vtap/targets && shift && exec "$@"
"""

Series = dict[str, str]


def fetch(namespace: Namespace, url: str) -> str:
    """Get what a server inside the namespace answers; raises OSError, with the answer's text."""
    parts = urllib.parse.urlsplit(url)

    def get() -> str:
        connection = http.client.HTTPConnection(parts.netloc, timeout=REQUEST_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", f"{parts.path}?{parts.query}")
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != http.HTTPStatus.OK:
                message = f"{response.status} for {urllib.parse.unquote_plus(url)}: {text}"
                raise OSError(message)
            return text

    return namespace.call(get)


def query(
    namespace: Namespace, base: str, expr: str, time_s: float | None = None
) -> list[tuple[Series, float]]:
    """Evaluate an expression at a server with Prometheus' API; labels and value of each series."""
    parameters = {"query": expr, **({} if time_s is None else {"time": f"{time_s:.3f}"})}
    url = f"{base}/api/v1/query?{urllib.parse.urlencode(parameters)}"
    data: dict[str, Any] = json.loads(fetch(namespace, url))["data"]
    assert data["resultType"] == "vector", expr
    return [(found["metric"], float(found["value"][1])) for found in data["result"]]


class Prometheus:
    """A server at its usual port, which reads the folder `instances` as the controller's list.

    `folder` is emptied of nothing and gets a copy of docker/ and the data.
    """

    base = "http://127.0.0.1:9090"

    def __init__(
        self, namespace: Namespace, folder: Path, *, config: str = "prometheus.yml"
    ) -> None:
        """Start, and wait until it is ready."""
        self.namespace = namespace
        self.folder = folder
        self.instances = folder / "instances"
        self.targets = folder / "docker" / "targets"
        self.log = folder / "prometheus.log"
        self.instances.mkdir()
        shutil.copytree(DOCKER, folder / "docker")
        self._config = config
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        with self.log.open("a") as log:
            process = self.namespace.popen(
                [
                    *("sh", "-c", IN_PRIVATE_RUN, "sh", str(self.instances)),
                    "prometheus",
                    f"--config.file={self.folder}/docker/prometheus/{self._config}",
                    f"--storage.tsdb.path={self.folder}/data",
                    "--web.listen-address=127.0.0.1:9090",
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_ready, START_TIMEOUT_S, "Prometheus", seen=self.log.read_text)
        return process

    def _is_ready(self) -> bool:
        try:
            return "Ready" in fetch(self.namespace, f"{self.base}/-/ready")
        except OSError:
            return False

    def list_instances(self, *listed: dict[str, Any]) -> None:
        """Replace the controller's list, as the controller does: at once, by a rename."""
        new = self.instances / "instances.json.new"
        new.write_text(json.dumps(listed))
        new.rename(self.instances / "instances.json")

    def query(self, expr: str, time_s: float | None = None) -> list[tuple[Series, float]]:
        """Evaluate an expression now, or at a time since the epoch."""
        return query(self.namespace, self.base, expr, time_s)

    def value(self, expr: str) -> float | None:
        """Evaluate an expression that yields one series, or none."""
        found = self.query(expr)
        assert len(found) <= 1, expr
        return found[0][1] if found else None

    def wait_for(self, expr: str, timeout_s: float) -> list[tuple[Series, float]]:
        """Wait until an expression yields something."""
        return wait_until(lambda: self.query(expr), timeout_s, expr, seen=self.log.read_text)
