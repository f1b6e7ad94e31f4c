"""A virtual machine in QEMU with two network cards whose other ends are in a namespace.

Knows nothing of vTap; the disk is never written, its console is the serial one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pexpect

from tests.support.netns import Interface, Namespace, ip, unique_name
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

BOOT_TIMEOUT_S = 600  # emulated, on a machine that has other work: 40 s where it has none
COMMAND_TIMEOUT_S = 120
MGMT_HOST = "192.0.2.1"  # RFC 5737
MGMT_GUEST = "192.0.2.2"
QUEUE_FRAMES = 20_000
"""What a network card that is busy leaves in its tap device instead of losing it."""

PROMPT = "vtap-test-prompt# "


class Hardware(NamedTuple):
    """What a hypervisor offers: QEMU's arguments for the disk, and a model of network card."""

    disk: tuple[str, ...]
    card: str


# The descriptor's network cards. Its disk controller, LSI Logic, is one that QEMU does not have.
AHCI = Hardware(("-device", "ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0"), "e1000")
VIRTIO = Hardware(("-device", "virtio-blk-pci,drive=disk"), "virtio-net-pci")


class Machine:
    """A booting machine; a context manager.

    Its first card is served by DHCP, and reached at MGMT_GUEST from the namespace; the second
    receives what is sent from `tap`.
    """

    def __init__(
        self,
        namespace: Namespace,
        disk: Path,
        folder: Path,
        hardware: Hardware,
        arguments: Sequence[str] = (),
    ) -> None:
        """Take a VMDK, a folder for what the machine writes, and further arguments of QEMU."""
        self.namespace = namespace
        self._disk = disk
        self._folder = folder
        self._hardware = hardware
        self._arguments = arguments
        self.log = folder / "console.log"

    def __enter__(self) -> Self:
        """Switch the machine on; QEMU ends with the context."""
        folder, name = self._folder, self.namespace.name
        overlay = folder / "overlay.qcow2"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "vmdk", "-b", self._disk, overlay],
            check=True,
        )
        self._mgmt = self._add_tap_device()
        ip(f"-n {name} address add {MGMT_HOST}/24 dev {self._mgmt.ifname}")
        self._serve_dhcp()
        self.tap = self._add_tap_device()
        cards = [
            argument
            for number, interface in enumerate((self._mgmt, self.tap))
            for argument in (
                *(
                    "-netdev",
                    f"tap,id=net{number},ifname={interface.ifname},script=no,downscript=no",
                ),
                *("-device", f"{self._hardware.card},netdev=net{number}"),
            )
        ]
        self._console_log = self.log.open("w", encoding="utf-8")
        self.console = pexpect.spawn(
            "ip",
            [
                *("netns", "exec", name, "qemu-system-x86_64"),
                *("-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048"),
                *("-nodefaults", "-display", "none", "-vga", "std", "-serial", "stdio"),
                *("-drive", f"if=none,id=disk,file={overlay},cache=unsafe"),
                *self._hardware.disk,
                *cards,
                *self._arguments,
            ],
            encoding="utf-8",
            codec_errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            logfile=self._console_log,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Switch it off; of a machine that failed, show what it said last."""
        self.console.close(force=True)
        self._console_log.close()
        if error is not None:
            sys.stderr.write(self.log.read_text(encoding="utf-8")[-4000:])
        for interface in (self._mgmt, self.tap):
            ip(f"-n {self.namespace.name} link delete dev {interface.ifname}")

    def _add_tap_device(self) -> Interface:
        name, ifname = self.namespace.name, unique_name("tap")
        ip(f"-n {name} tuntap add dev {ifname} mode tap")
        ip(f"-n {name} link set dev {ifname} txqueuelen {QUEUE_FRAMES} up")
        link = json.loads(ip(f"-n {name} -j link show dev {ifname}"))[0]
        return Interface(self.namespace, ifname, link["ifindex"], link["address"])

    def _serve_dhcp(self) -> None:
        self.namespace.popen(
            [
                *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
                *("--pid-file=", f"--dhcp-leasefile={self._folder / 'leases'}", "--user=root"),
                *(f"--interface={self._mgmt.ifname}", "--bind-interfaces"),
                f"--dhcp-range={MGMT_GUEST},{MGMT_GUEST},1h",
            ],
            stderr=subprocess.DEVNULL,
        )

    def expect(self, pattern: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Wait until the console says something; returns what came before and it."""
        self.console.expect(pattern, timeout=timeout_s)
        return f"{self.console.before}{self.console.after}"

    def log_in(self, user: str, password: str) -> None:
        """Log in at the console's prompt, and make its shell say where an output ends."""
        self.expect("login: ", BOOT_TIMEOUT_S)
        self.console.sendline(user)
        self.expect("Password: ")
        self.console.sendline(password)
        self.expect(rf"{user}@\S+:~\$ ")
        self.console.sendline("stty cols 1000; TERM=dumb exec sh")  # no colours, no editing
        self.expect(r"[\r\n]\$ ")
        # In two parts, so that the echo of this line is not taken for the prompt.
        self.console.sendline(f"PS1='{PROMPT[:4]}''{PROMPT[4:]}'")
        self.expect(PROMPT)

    def run(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a command in the console's shell; AssertionError if it fails."""
        self.console.sendline(f"{command}; echo exit:$?")
        said = self.expect(rf"exit:\d+\s+{PROMPT}", timeout_s).replace("\r", "")
        output, status = re.fullmatch(r"(.*)exit:(\d+)\s.*", said, re.DOTALL).groups()
        assert status == "0", f"{command} exited {status}: {output}"
        return output.partition("\n")[2]

    def ssh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ssh against the management address, which has to be reached within the boot."""
        command = [
            *("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
            *("-o", "ConnectTimeout=20", *arguments),
        ]
        return self.namespace.run(command, check=False, timeout_s=COMMAND_TIMEOUT_S)

    def ssh_with_password(self, user: str, password: str, *arguments: str) -> str:
        """Try to log in by ssh with a password; returns everything that ssh said."""
        command = ["netns", "exec", self.namespace.name, "ssh", *arguments]
        command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        ssh = pexpect.spawn(
            "ip", [*command, f"{user}@{MGMT_GUEST}", "true"], encoding="utf-8",
            timeout=COMMAND_TIMEOUT_S,
        )  # fmt: skip
        said = ""
        if ssh.expect(["password: ", pexpect.EOF]) == 0:
            said = ssh.before
            ssh.sendline(password)
            ssh.expect(pexpect.EOF)
        said += ssh.before
        ssh.close()
        return said

    def wait_for_ssh(self) -> None:
        """Wait until somebody answers at port 22, with whatever answer."""
        wait_until(
            lambda: "Permission denied" in self.ssh(f"nobody@{MGMT_GUEST}").stderr,
            BOOT_TIMEOUT_S,
            "ssh to answer",
            seen=lambda: self.log.read_text(encoding="utf-8")[-2000:],
        )
