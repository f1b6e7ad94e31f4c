"""What the kernel says of network interfaces, in the network namespace of this process.

Asks by ioctl, since /sys may be that of another namespace (netdevice(7)).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from typing import NamedTuple

from vtap.errors import AttachError

_SIOCGIFFLAGS = 0x8913
_SIOCGIFHWADDR = 0x8927
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_ARPHRD_WITH_ETHERNET_HEADER = (1, 772)
"""ARPHRD_ETHER and ARPHRD_LOOPBACK of linux/if_arp.h."""
_NAME_BYTES = 16
"""IFNAMSIZ of linux/if.h, the final zero included."""


class Interface(NamedTuple):
    """One network interface.

    up is the administrator's word, running the kernel's: up and with a carrier.
    """

    name: str
    ifindex: int
    up: bool
    running: bool
    has_ethernet_header: bool


def find_interface(name: str) -> Interface | None:
    """Return the interface as it is now, or None if there is none of this name."""
    if not 0 < len(os.fsencode(name)) < _NAME_BYTES:
        return None
    try:
        ifindex = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            flags = _ask(asking, _SIOCGIFFLAGS, name)
            kind = _ask(asking, _SIOCGIFHWADDR, name)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENXIO, None):
            return None
        raise
    return Interface(
        name,
        ifindex,
        bool(flags & _IFF_UP),
        bool(flags & _IFF_RUNNING),
        kind in _ARPHRD_WITH_ETHERNET_HEADER,
    )


def _ask(asking: socket.socket, request: int, name: str) -> int:
    """Return the first 16 bits of the answer: the flags, or the hardware type."""
    answer = fcntl.ioctl(asking, request, struct.pack("16s24x", os.fsencode(name)))
    return int(struct.unpack_from("H", answer, _NAME_BYTES)[0])


def choose_interfaces(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names to monitor: those given, else every Ethernet interface that is up.

    Raises AttachError, one line for each name that cannot be monitored.
    """
    existing = [name for _, name in socket.if_nameindex()]
    if not names:
        found = [find_interface(name) for name in existing]
        chosen = tuple(i.name for i in found if i and i.up and i.has_ethernet_header)
        if not chosen:
            message = "no interface is up; bring one up, for example: ip link set eth0 up"
            raise AttachError(message)
        return chosen
    problems = []
    for name in names:
        interface = find_interface(name)
        if interface is None:
            there = ", ".join(sorted(existing))
            problems.append(f"cannot attach to {name!r}: no such interface; there are {there}")
        elif not interface.has_ethernet_header:
            problems.append(f"cannot attach to '{name}': its frames have no Ethernet header")
        elif not interface.up:
            problems.append(f"cannot attach to '{name}': it is down; ip link set {name} up")
    if problems:
        raise AttachError("\n".join(problems))
    return names
