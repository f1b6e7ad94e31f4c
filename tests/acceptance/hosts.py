"""A client and a server that reach each other over a veth pair on which nobody else sends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.netns import Namespace, ip, veth_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Veth

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
PREFIX_LENGTH = 24
ETHERNET_BYTES = 14  # of header


@contextlib.contextmanager
def connected(name: str, **offloads: bool) -> Iterator[Veth]:
    """Provide a client (left) and a server that reach each other, and nobody else sends."""
    with (
        Namespace(name) as client,
        Namespace(name) as server,
        veth_pair(
            name,
            client,
            server,
            left_addresses=[f"{CLIENT}/{PREFIX_LENGTH}"],
            right_addresses=[f"{SERVER}/{PREFIX_LENGTH}"],
            offloads=offloads,
        ) as veth,
    ):
        for end, address, other in (
            (veth.left, SERVER, veth.right),
            (veth.right, CLIENT, veth.left),
        ):
            ip(
                f"-n {end.namespace.name} neighbour replace {address} lladdr {other.mac} "
                f"dev {end.ifname} nud permanent"
            )
        yield veth
