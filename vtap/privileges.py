"""Capabilities of this process: what it lacks before it starts, what it gives away after.

Source: capabilities(7), linux/capability.h.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

from vtap.errors import PrivilegeError

CAP_NET_RAW = 13
CAP_SYS_ADMIN = 21
CAP_PERFMON = 38
CAP_BPF = 39

_NAMES = {
    CAP_NET_RAW: "CAP_NET_RAW",
    CAP_PERFMON: "CAP_PERFMON",
    CAP_BPF: "CAP_BPF",
}
_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38
_MAPS_READABLE_WITHOUT_CAP_BPF = (5, 19)
"""Kernel from which unprivileged_bpf_disabled no longer keeps a process from maps it has open."""


def _effective() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("CapEff:")[1].split()[0], 16)


def require_capabilities(*, attach: bool) -> None:
    """Raise PrivilegeError, naming what is missing to load the program and to attach it."""
    effective = _effective()
    needed = [] if effective >> CAP_SYS_ADMIN & 1 else [CAP_BPF, CAP_PERFMON]
    if attach:
        needed.append(CAP_NET_RAW)
    missing = [_NAMES[capability] for capability in needed if not effective >> capability & 1]
    if missing:
        message = f"cannot load the program: {' '.join(missing)} missing; run as root, with sudo"
        raise PrivilegeError(message)


def drop_capabilities() -> None:
    """Keep none in this thread, on a kernel that lets the maps be read without.

    Threads started later inherit that; nothing that is executed can get more.
    """
    effective = _effective()
    kept = 0
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release and tuple(map(int, release.groups())) < _MAPS_READABLE_WITHOUT_CAP_BPF:
        kept = effective & 1 << (CAP_BPF if effective >> CAP_BPF & 1 else CAP_SYS_ADMIN)
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(header, data):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
