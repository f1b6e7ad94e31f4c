"""The instance that this process is: its port and its record, taken together and given back.

Every monitor is recorded, also one that was started by hand, so that controller.py sees it; only
one that controller.py starts must be.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from vtap.errors import VtapError
from vtap.instances import Instances, own_folder
from vtap.records import Record

if TYPE_CHECKING:
    from vtap.instances import Registration
    from vtap.options import Options
    from vtap.outputs.prometheus import Prometheus


@dataclass(frozen=True)
class Launch:
    """How the instance was started.

    Attributes:
        arguments: its options as given.
        controlled: by controller.py: no port is shared with another instance, and the instance
            does not run where it cannot be recorded.
        detach: None with a terminal; else called once with the record and the log when the
            instance measures.
    """

    arguments: tuple[str, ...]
    controlled: bool = False
    detach: Callable[[Record, Path], None] | None = None


class Enlisted:
    """Port and record of this process, until close()."""

    def __init__(
        self,
        options: Options,
        interfaces: tuple[str, ...],
        launch: Launch,
        warn: Callable[[str], None],
        *,
        serve: bool,
    ) -> None:
        """Take both; InstanceError or another VtapError says why one cannot be had."""
        self._launch = launch
        self._warn = warn
        self.server: Prometheus | None = None
        self._instances: Instances | None = None
        self._registration: Registration | None = None
        # The lock keeps others from judging or taking what is half done.
        with ExitStack() as lock:
            try:
                instances = Instances(own_folder(os.environ, os.geteuid()))
                lock.enter_context(instances.locked())
                self._instances = instances
            except VtapError as error:
                self._cannot_record(error)
            if serve:
                self.server = self._open_endpoint(options)
            self._record = _make_record(options, interfaces, launch, self.server)
            self._register()

    def _open_endpoint(self, options: Options) -> Prometheus:
        from vtap.endpoint import open_endpoint  # noqa: PLC0415 - only where the server is on

        running = self._instances.find_running() if self._instances else ()
        return open_endpoint(
            options.server_address,
            options.server_port,
            running,
            shared=not self._launch.controlled,
        )

    def _register(self) -> None:
        if self._instances is None:
            return
        try:
            self._registration = self._instances.register(self._record)
        except VtapError as error:
            self._cannot_record(error)

    def announce(self) -> None:
        """Say that the instance measures and serves: in its record, and to who waits for it."""
        self._record = replace(self._record, measuring=True)
        if self._registration and self._instances:
            try:
                with self._instances.locked():
                    self._registration.write(self._record)
            except VtapError as error:
                self._cannot_record(error)
        if self._launch.detach and self._instances:
            self._launch.detach(self._record, self._instances.log_path(self._record.pid))
        _notify_systemd()

    def close(self) -> None:
        """Give the record back."""
        if self._registration:
            try:
                self._registration.close()
            except VtapError as error:
                self._warn(str(error))

    def _cannot_record(self, error: VtapError) -> None:
        if self._launch.controlled:
            raise error
        self._warn(f"{error}; controller.py will not know this instance")


def _make_record(
    options: Options, interfaces: tuple[str, ...], launch: Launch, server: Prometheus | None
) -> Record:
    return Record(
        pid=os.getpid(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        address=server.address if server else options.server_address,
        port=server.port if server else None,
        interfaces=interfaces,
        config=str(Path(options.config).absolute()),
        interval_s=options.interval_s,
        arguments=launch.arguments,
        folder=str(Path.cwd()),
        detached=launch.detach is not None,
    )


def _notify_systemd() -> None:
    """Tell systemd that the service is ready, where it waits for that (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", address)
