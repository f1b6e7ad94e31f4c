"""A fresh Debian in a folder, with layers over it, to install packages in and throw away.

Stands on mmdebstrap and overlayfs; every mount is made in a mount namespace of its command alone,
so that none outlives it.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DEBOOTSTRAP_TIMEOUT_S = 600
COMMAND_TIMEOUT_S = 300

# Mounts the layers, then becomes the command, so that its pid is the one that was started.
_ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount -t sysfs sysfs "$2/root/sys"
root=$2/root
shift 2
exec chroot "$root" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""


class Chroot:
    """A Debian root file system: what is below it, and what its own commands changed."""

    def __init__(self, folder: Path, below: tuple[Path, ...]) -> None:
        """Make an empty layer in `folder` over the folders `below`, topmost first."""
        self._folder = folder
        self._below = below
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(parents=True)

    @property
    def upper(self) -> Path:
        """What commands changed; a file that is put here appears in the root (before it runs)."""
        return self._folder / "upper"

    def layer(self, folder: Path) -> Chroot:
        """Return a new root that starts as this one is, which must not change any more."""
        return Chroot(folder, (self.upper, *self._below))

    def command(self, *command: str) -> list[str]:
        """Return what to execute to have the command run inside, as the very same process."""
        below = ":".join(map(str, self._below))
        return [
            *("unshare", "--mount", "sh", "-c", _ENTER, "sh", below, str(self._folder)),
            *command,
        ]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run inside, output captured; raises AssertionError with what it said if it fails."""
        done = subprocess.run(
            self.command(*command),
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        if done.returncode != 0:
            message = f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}"
            raise AssertionError(message)
        return done

    def paths(self) -> set[str]:
        """List every path but those of /proc and /sys."""
        found = self.run("find", "/", "-path", "/proc", "-prune", "-o", "-path", "/sys", "-prune",
                         "-o", "-print")  # fmt: skip
        return set(found.stdout.splitlines())


def debootstrap(folder: Path, suite: str) -> Chroot:
    """Make a minimal Debian of this release, with its package lists and the host's resolver."""
    base = folder / "debian"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt/lists"]
    made = subprocess.run(
        [*command, suite, str(base)],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEBOOTSTRAP_TIMEOUT_S,
    )
    if made.returncode != 0:
        message = f"mmdebstrap {suite} exited {made.returncode}:\n{made.stderr}"
        raise AssertionError(message)
    shutil.copy("/etc/resolv.conf", base / "etc/resolv.conf")
    return Chroot(folder / "fresh", (base,))
