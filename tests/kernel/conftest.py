"""Programs are compiled once a configuration; each test gets them with nothing counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import pytest

from tests.support.kernel import Kernel

if TYPE_CHECKING:
    from vtap.config import Config

Load = Callable[..., Kernel]


@pytest.fixture(scope="session")
def loaded() -> dict[object, Kernel]:
    """Keep every program of the session."""
    return {}


@pytest.fixture
def load(loaded: dict[object, Kernel]) -> Load:
    """Provide load(config, interfaces=1, direction="in"): a program that has seen no packet."""

    def load_kernel(config: Config, interfaces: int = 1, direction: str = "in") -> Kernel:
        key = (config, interfaces, direction)
        if key not in loaded:
            loaded[key] = Kernel(config, interfaces=interfaces, direction=direction)
        loaded[key].reset()
        return loaded[key]

    return load_kernel
