"""Run a command under a service's system call filter: what systemd would do, without systemd.

usage: confined.py FAMILIES SYSTEM_CALLS COMMAND...

FAMILIES are the address families and SYSTEM_CALLS the system calls that are allowed, separated by
commas; memory is never writable and executable. Other calls fail with EPERM. Needs
python3-seccomp.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress

import seccomp

PROT_WRITE, PROT_EXEC = 2, 4  # asm-generic/mman-common.h


def confine(families: list[str], system_calls: list[str]) -> None:
    """Load the filter, for this process and what it executes."""
    allowed = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for name in system_calls:
        if name not in ("socket", "mmap", "mprotect"):
            with suppress(RuntimeError, ValueError):  # another architecture's
                allowed.add_rule(seccomp.ALLOW, name)
    for family in families:
        number = int(getattr(socket, family))
        allowed.add_rule(seccomp.ALLOW, "socket", seccomp.Arg(0, seccomp.EQ, number))
    both = PROT_WRITE | PROT_EXEC
    for protection in (0, PROT_WRITE, PROT_EXEC):
        argument = seccomp.Arg(2, seccomp.MASKED_EQ, both, protection)
        allowed.add_rule(seccomp.ALLOW, "mmap", argument)
    # What was written must not be made executable afterwards.
    argument = seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, 0)
    allowed.add_rule(seccomp.ALLOW, "mprotect", argument)
    allowed.load()


if __name__ == "__main__":
    confine(sys.argv[1].split(","), sys.argv[2].split(","))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606
