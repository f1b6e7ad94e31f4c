"""What can go wrong, each with its exit status; the scripts catch VtapError once and print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def show(text: str) -> str:
    """Return what a user typed as part of a message's one line: control characters escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class VtapError(Exception):
    """Something failed that the user can mend; its text is one line a problem."""

    exit_status = 1


class ConfigError(VtapError):
    """The configuration or an option cannot be used."""

    exit_status = 2

    def __init__(self, problems: Iterable[str]) -> None:
        """Take every problem found, each with its place."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class PrivilegeError(VtapError):
    """The process lacks a capability."""

    exit_status = 3


class CompileError(VtapError):
    """BCC did not compile the program."""

    exit_status = 3


class LoadError(VtapError):
    """The kernel refused the program."""

    exit_status = 3


class AttachError(VtapError):
    """An interface cannot be monitored."""

    exit_status = 3


class InstanceError(VtapError):
    """Another program or instance stands in the way."""

    exit_status = 4


class PortBusyError(InstanceError):
    """The endpoint's port is taken."""

    def __init__(self, address: str, port: int, owner: str | None = None) -> None:
        """Take the owner in words, where it is known."""
        by = f" by {owner}" if owner else ""
        cure = "choose another with -server_port or --server-address"
        super().__init__(
            f"cannot serve metrics on {address} port {port}: address already in use{by}; {cure}"
        )
