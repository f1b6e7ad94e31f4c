"""bpf(2), for which libc has no function; knows no map and no program."""

from __future__ import annotations

import ctypes
import errno
import os
import platform

_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "s390x": 351,
}
"""Of the system call, in asm/unistd.h of each architecture."""
_LIBC = ctypes.CDLL(None, use_errno=True)


def call_bpf(command: int, attributes: ctypes.Structure) -> None:
    """Carry out a command (enum bpf_cmd) on its part of union bpf_attr; raises OSError.

    ENOSYS on an architecture whose number of the call is not known here.
    """
    number = _NUMBERS.get(platform.machine())
    if number is None:
        message = f"no number of bpf(2) is known for {platform.machine()}"
        raise OSError(errno.ENOSYS, message)
    if _LIBC.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes)) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
