"""Which interfaces are monitored, and why one cannot be."""

from __future__ import annotations

import socket

import pytest

from vtap import interfaces
from vtap.errors import AttachError
from vtap.interfaces import Interface, choose_interfaces, find_interface

KNOWN = {
    "lo": Interface("lo", 1, up=True, running=True, has_ethernet_header=True),
    "eth0": Interface("eth0", 2, up=True, running=False, has_ethernet_header=True),
    "eth1": Interface("eth1", 3, up=False, running=False, has_ethernet_header=True),
    "tun0": Interface("tun0", 4, up=True, running=True, has_ethernet_header=False),
}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel know the interfaces above."""
    monkeypatch.setattr(interfaces, "find_interface", KNOWN.get)
    monkeypatch.setattr(
        socket, "if_nameindex", lambda: [(i.ifindex, i.name) for i in KNOWN.values()]
    )


@pytest.mark.usefixtures("known")
def test_by_default_every_ethernet_interface_that_is_up_is_monitored() -> None:
    """A carrier is not needed, an Ethernet header is."""
    assert choose_interfaces(()) == ("lo", "eth0")


@pytest.mark.usefixtures("known")
def test_named_interfaces_are_monitored_in_the_order_given() -> None:
    """The order is that of the output."""
    assert choose_interfaces(("eth0", "lo")) == ("eth0", "lo")


@pytest.mark.usefixtures("known")
def test_every_interface_that_cannot_be_is_said() -> None:
    """One line each, with the reason and what helps."""
    with pytest.raises(AttachError) as caught:
        choose_interfaces(("eth0", "eth9", "eth1", "tun0", "a\nb", "\udcff"))

    there = "there are eth0, eth1, lo, tun0"
    assert str(caught.value).split("\n") == [
        f"cannot attach to 'eth9': no such interface; {there}",
        "cannot attach to 'eth1': it is down; ip link set eth1 up",
        "cannot attach to 'tun0': its frames have no Ethernet header",
        f"cannot attach to 'a\\nb': no such interface; {there}",
        f"cannot attach to '\\udcff': no such interface; {there}",
    ]
    assert caught.value.exit_status == 3


def test_nothing_to_monitor_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without an interface would count nothing for ever."""
    monkeypatch.setattr(socket, "if_nameindex", list)

    with pytest.raises(AttachError, match=r"^no interface is up; bring one up, "):
        choose_interfaces(())


@pytest.mark.parametrize(
    "name", ["", "x" * 15, "x" * 16, "no such", "a/b", "\u00e9", "\udcff", "%"]
)
def test_what_is_no_interface_is_none(name: str) -> None:
    """Too long, odd or not text at all: the kernel has none of that name."""
    assert find_interface(name) is None


def test_the_loopback_interface_has_an_ethernet_header() -> None:
    """It is there in every network namespace."""
    loopback = find_interface("lo")

    assert loopback is not None
    assert (loopback.name, loopback.has_ethernet_header) == ("lo", True)
