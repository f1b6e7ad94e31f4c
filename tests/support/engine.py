"""A Docker engine of its own in a folder: started, stopped, and nothing of it left behind.

Stands on dockerd and the docker command; images come from debootstrap, since none can be pulled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from tests.support.netns import Namespace

START_TIMEOUT_S = 60
COMMAND_TIMEOUT_S = 600  # of a build: two cores, a mirror of unknown speed


class Engine:
    """An engine without a bridge or firewall rules; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Choose the folder of its data, its socket and its log."""
        self._folder = folder
        self._log = folder / "dockerd.log"
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{folder}/socket"}

    def __enter__(self) -> Self:
        """Return itself; running() starts it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the data, and what the engine leaves mounted: its own network namespace."""
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            mounted = line.split()[1]
            if mounted.startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", mounted], check=True)
        shutil.rmtree(self._folder)

    @contextlib.contextmanager
    def running(self, namespace: Namespace | None = None) -> Iterator[None]:
        """Run; in a network namespace, whose network is then the host's for containers.

        At the end no container is left.
        """
        # nsenter, not ip netns exec: that hides the cgroups.
        enter = [] if namespace is None else ["nsenter", f"--net=/run/netns/{namespace.name}"]
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [
                    *enter,
                    "dockerd",
                    *("--data-root", f"{self._folder}/data"),
                    *("--exec-root", f"{self._folder}/exec"),
                    *("--pidfile", f"{self._folder}/pid"),
                    *("--host", f"unix://{self._folder}/socket"),
                    *("--bridge", "none", "--iptables=false"),
                ],
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._is_ready, START_TIMEOUT_S, "dockerd", seen=self._log.read_text)
            yield
            containers = self.docker("ps", "--all", "--quiet").split()
            if containers:
                self.docker("rm", "--force", *containers)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_TIMEOUT_S)

    def _is_ready(self) -> bool:
        command = ["docker", "version"]
        asked = subprocess.run(command, env=self.environment, check=False, capture_output=True)
        return asked.returncode == 0

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command that talks to the engine; AssertionError shows what a failed one said."""
        ended = subprocess.run(
            command,
            cwd=folder,
            env={**self.environment, **(variables or {})},
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        assert ended.returncode == 0, f"{' '.join(command)}: {ended.stdout}"
        return ended.stdout

    def docker(self, *words: str) -> str:
        """Run docker and return what it said."""
        return self.run(["docker", *words])

    def import_debian(self, suite: str, tag: str) -> None:
        """Make a base image as Debian's own is made, under the name that a Dockerfile expects."""
        root = self._folder / "debian"
        self.run(["debootstrap", "--variant=minbase", suite, str(root)])
        # As in Debian's image: a package starts no service while an image is built.
        policy = root / "usr" / "sbin" / "policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        archive = self._folder / "debian.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        shutil.rmtree(root)
        self.docker("import", str(archive), tag)
        archive.unlink()
