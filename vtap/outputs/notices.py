"""Samples -> the few lines on standard error that a user must see to trust the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from vtap.rules import ALL_RULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vtap.reports import Report
    from vtap.samples import InterfaceSample, Sample


class Notices:
    """Says when an interface goes or merges packets, and at the end what was not counted."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """Call warn with each line."""
        self._warn = warn
        self._down: set[str] = set()
        self._merging: set[str] = set()
        self._last: Sample | None = None

    def emit(self, _reports: Sequence[Report], sample: Sample) -> None:
        """Say what has changed."""
        self._last = sample
        for name, interface in sample.interfaces.items():
            if not interface.up and name not in self._down:
                self._down.add(name)
                self._warn(f"{name}: gone, down or without a carrier; waiting for it")
            elif interface.up and name in self._down:
                self._down.remove(name)
                self._warn(f"{name}: up again")
            if interface.merged and name not in self._merging:
                self._merging.add(name)
                self._warn(
                    f"{name}: the kernel merges packets, so times and sequence numbers of some "
                    f"are lost; ethtool -K {name} gro off lro off"
                )

    def close(self) -> None:
        """Say what was counted in all, and what was not."""
        if self._last is None:
            return
        for name, interface in self._last.interfaces.items():
            counted = sum(
                stream.counters["packets"]
                for key, stream in self._last.streams.items()
                if key.interface == name and key.rule == ALL_RULES
            )
            self._warn(f"{name}: {counted} packets counted{_not_counted(interface)}")


def _not_counted(interface: InterfaceSample) -> str:
    parts = {"unmatched": interface.unmatched, **interface.unparsed}
    return "".join(f", {count} {name.replace('_', ' ')}" for name, count in parts.items() if count)
