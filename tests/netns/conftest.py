"""Interfaces that several tests of this tier need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.netns import Namespace, veth_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Veth


@pytest.fixture
def veth_9000(request: pytest.FixtureRequest, namespace: Namespace) -> Iterator[Veth]:
    """Provide a silent pair for jumbo frames, both ends in `namespace`."""
    with veth_pair(request.node.name, namespace, mtu=9200) as pair:
        yield pair
