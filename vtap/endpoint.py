"""The port of an instance's endpoint: taken where it is free, else with the name of who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from vtap.errors import InstanceError, PortBusyError
from vtap.options import DEFAULT_PORT, MAX_PORT
from vtap.outputs.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from vtap.records import Record


def open_endpoint(
    address: str, port: int | None, running: Sequence[Record], *, shared: bool
) -> Prometheus:
    """Bind the endpoint; without a port, to the first free one. InstanceError says why it cannot.

    running are the instances whose ports count as taken, on whatever address or in whatever
    network namespace they are, unless shared says that only the kernel decides. Binding is the
    reservation: of two that try one port, one gets it.
    """
    taken = {} if shared else {record.port: record for record in running}
    if port is None:
        return _open_first_free(address, taken)
    if port in taken:
        raise PortBusyError(address, port, _name(taken[port]))
    try:
        return Prometheus(address, port)
    except PortBusyError:
        raise PortBusyError(address, port, find_owner(port, running)) from None


def _open_first_free(address: str, taken: Container[int | None]) -> Prometheus:
    for port in range(DEFAULT_PORT, MAX_PORT + 1):
        if port not in taken:
            try:
                return Prometheus(address, port)
            except PortBusyError:
                continue
    message = f"cannot serve metrics on {address}: no port from {DEFAULT_PORT} up is free"
    raise InstanceError(message)


def find_owner(port: int, running: Sequence[Record]) -> str | None:
    """Say who listens on a port: an instance, or another program as far as the kernel tells."""
    for record in running:
        if record.port == port:
            return _name(record)
    try:
        sockets = psutil.net_connections(kind="tcp")
        pids = [
            one.pid
            for one in sockets
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
        ]
        # Without privilege the kernel does not say whose a socket is.
        return f"{psutil.Process(pids[0]).name()} (pid {pids[0]})" if pids and pids[0] else None
    except (psutil.Error, OSError):
        return None


def _name(record: Record) -> str:
    return f"instance {record.pid} ({record.config})"
