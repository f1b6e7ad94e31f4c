"""The very OVA that VTAP_OVA names, unpacked and booted: what a tester does, from the first console
prompt on. Minutes under emulation, so script/appliance --test runs it and script/test does not.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import tarfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, icmp, ipv4, send_frames, tcp, udp
from tests.support.machine import (
    AHCI,
    BOOT_TIMEOUT_S,
    MGMT_GUEST,
    VIRTIO,
    Machine,
)
from tests.support.netns import Namespace
from tests.support.ovf import read_ova
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "correct horse 7"  # noqa: S105 - of a machine that lives for minutes
STATED_PORTS = {22, 9090}  # and 3000 where Grafana is installed
PORTS_AT_ONCE = 8192
ANSWER_TIMEOUT_S = 4.0  # a lost SYN is sent again after 1 s
SCRAPE_TIMEOUT_S = 60
SCRAPE_INTERVAL_S = 5
NOT_ANYBODYS_MAC = "02:aa:aa:aa:aa:02"

UDP_FRAMES, ICMP_FRAMES, TCP_FRAMES = 3001, 701, 1009


def ova_path() -> Path:
    assert "VTAP_OVA" in os.environ, "VTAP_OVA has to name the OVA: script/appliance --test does"
    return Path(os.environ["VTAP_OVA"])


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the OVA as a hypervisor does, and return its disk."""
    folder = tmp_path_factory.mktemp("ova")
    subprocess.run(["tar", "-xf", ova_path(), "-C", folder], check=True)
    (vmdk,) = folder.glob("*.vmdk")
    return vmdk


@pytest.fixture(scope="module")
def machine(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot the disk with the network cards that the descriptor names, up to the first question."""
    with (
        Namespace("boot") as namespace,
        Machine(namespace, disk, tmp_path_factory.mktemp("machine"), AHCI) as booted,
    ):
        booted.expect("No password is set yet", BOOT_TIMEOUT_S)
        booted.expect("New password: ")
        yield booted


@pytest.fixture(scope="module")
def console(machine: Machine) -> Machine:
    """Answer the question, first with two passwords that differ, and log in."""
    machine.console.sendline(PASSWORD)
    machine.expect("Retype new password: ")
    machine.console.sendline("another one")
    machine.expect("do not match")
    machine.expect("New password: ")
    machine.console.sendline(PASSWORD)
    machine.expect("Retype new password: ")
    machine.console.sendline(PASSWORD)
    machine.log_in("vtap", PASSWORD)
    return machine


def get(machine: Machine, url: str) -> bytes:
    """Fetch from the management network."""

    def fetch() -> bytes:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - http alone
            content: bytes = response.read()
            return content

    return machine.namespace.call(fetch)


def ask_prometheus(machine: Machine, query: str) -> dict[str, float]:
    """Ask for a query's values, by protocol (and kind)."""
    quoted = urllib.parse.quote(query)
    answer = json.loads(get(machine, f"http://{MGMT_GUEST}:9090/api/v1/query?query={quoted}"))
    return {
        " ".join(series["metric"].get(label, "") for label in ("protocol", "kind")).strip(): float(
            series["value"][1]
        )
        for series in answer["data"]["result"]
    }


def probe_ports(ports: range) -> dict[int, int | None]:
    """Try to connect to all at once; an error number (0: open) a port, None: no answer."""
    poll = select.poll()
    tried: dict[int, tuple[int, socket.socket]] = {}
    results: dict[int, int | None] = dict.fromkeys(ports)
    try:
        for port in ports:
            tcp_socket = socket.socket()
            tcp_socket.settimeout(0)
            tcp_socket.connect_ex((MGMT_GUEST, port))
            tried[tcp_socket.fileno()] = (port, tcp_socket)
            poll.register(tcp_socket, select.POLLOUT)
        end_s = time.monotonic() + ANSWER_TIMEOUT_S
        while tried and time.monotonic() < end_s:
            for descriptor, _ in poll.poll(100):
                poll.unregister(descriptor)
                port, tcp_socket = tried.pop(descriptor)
                results[port] = tcp_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                tcp_socket.close()
    finally:
        for _, tcp_socket in tried.values():
            tcp_socket.close()
    return results


def test_the_descriptor_and_its_hashes_are_valid() -> None:
    """What a hypervisor reads before anything else: read_ova checks every element and hash."""
    ova = read_ova(ova_path())

    assert ova.networks == ["mgmt", "tap"]
    assert ova.cards == ["mgmt", "tap"]
    assert ova.disk_bytes == 8 << 30
    with tarfile.open(ova_path()) as tar:
        assert [Path(name).suffix for name in tar.getnames()] == [".ovf", ".mf", ".vmdk"]


def test_nobody_can_log_in_before_the_password_is_set(machine: Machine) -> None:
    """ssh answers, and lets neither vtap nor root in."""
    machine.wait_for_ssh()
    tries = ["-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1"]

    for user, password in (("vtap", ""), ("vtap", "vtap"), ("root", "root")):
        refused = machine.ssh_with_password(user, password, *tries)
        assert "Permission denied" in refused, (user, password, refused)


def test_the_console_asks_for_a_password_and_then_lets_in(console: Machine) -> None:
    """Two different answers are asked again; then the user is in, and may use sudo."""
    assert console.run("id --user --name").strip() == "vtap"
    # In two parts, so that the echo of this line is not taken for the question.
    console.console.sendline("sudo --prompt='sudo''-asks' id --user --name; echo exit:$?")
    console.expect("sudo-asks")
    console.console.sendline(PASSWORD)
    assert "root" in console.expect(r"exit:0\s")


def test_the_other_console_no_longer_asks(console: Machine) -> None:
    """tty1 asked too when the password was set; whoever comes there now gets a login."""
    wait_until(
        lambda: "agetty" in console.run("ps -o args= -t tty1 || true"),
        60,
        "tty1 to ask for a login",
    )


def test_the_machine_says_where_it_is_and_what_to_do(console: Machine) -> None:
    """Addresses, state, next steps, at login and whenever vtap-appliance is called."""
    # Ends when every job of the boot has, and fails if a unit has failed.
    console.run("systemctl is-system-running --wait", BOOT_TIMEOUT_S)

    said = console.run("vtap-appliance")

    assert f"management (mgmt)   {MGMT_GUEST}/24" in said
    assert "vTap on tap         active" in said
    assert f"Prometheus          active, http://{MGMT_GUEST}:9090" in said
    assert "add Grafana: sudo vtap-add-grafana" in said or f"http://{MGMT_GUEST}:3000" in said


def test_the_disk_controllers_of_every_hypervisor_are_known(console: Machine) -> None:
    """The initramfs has the drivers of the descriptor's controller (LSI Logic: mptspi) and of what
    else VirtualBox, VMware, Proxmox and Hyper-V offer.
    """
    listed = console.run("lsinitramfs /boot/initrd.img-$(uname -r)")
    drivers = ("mptspi", "mptsas", "vmw_pvscsi", "ahci", "ata_piix", "virtio_blk", "virtio_scsi",
               "nvme", "hv_storvsc")  # fmt: skip

    assert [driver for driver in drivers if f"/{driver}.ko" not in listed] == []


def test_tap_hears_everything_and_says_nothing(console: Machine) -> None:
    """No address, promiscuous, offloads off."""
    link = json.loads(console.run("ip -json -details address show dev tap"))[0]
    assert link["addr_info"] == []
    assert link["promiscuity"] >= 1
    features = console.run("sudo ethtool --show-features tap")
    for feature in ("generic-receive-offload", "large-receive-offload",
                    "tcp-segmentation-offload", "generic-segmentation-offload"):  # fmt: skip
        assert f"{feature}: off" in features
    assert console.run("cat /sys/class/net/tap/statistics/tx_packets").strip() == "0"


def test_only_the_stated_ports_answer(console: Machine) -> None:
    """Of all 65535 TCP ports of mgmt ssh and the dashboards answer; without Grafana its port
    refuses.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    answers: dict[int, int | None] = {}
    for first in range(1, 65536, PORTS_AT_ONCE):
        ports = range(first, min(first + PORTS_AT_ONCE, 65536))
        answers |= console.namespace.call(lambda ports=ports: probe_ports(ports))

    answering = {port for port, error in answers.items() if error is not None}
    assert answering == STATED_PORTS | {3000}
    assert {port for port in answering if answers[port] == 0} - {3000} == STATED_PORTS
    # The endpoint of vTap itself is for this machine's Prometheus alone.
    assert "127.0.0.1:8080" in console.run("ss --no-header --tcp --listening --numeric")


def test_what_is_mirrored_is_counted_exactly(console: Machine) -> None:
    """Known frames from outside the machine: the kernel's count, vTap's and Prometheus' are theirs;
    two of the TCP numbers are left out, one by one.
    """
    assert console.run("cat /sys/class/net/tap/statistics/rx_packets").strip() == "0"
    numbers = [n for n in range(1, TCP_FRAMES + 3) if n not in {100, 500}]
    mac = NOT_ANYBODYS_MAC
    frames = [ethernet(ipv4(tcp(bytes(1000), seq=n)), destination=mac) for n in numbers]
    frames += [ethernet(ipv4(udp(bytes(300))), destination=mac)] * UDP_FRAMES
    frames += [ethernet(ipv4(icmp(bytes(56))), destination=mac)] * ICMP_FRAMES
    sent = {"TCP": TCP_FRAMES, "UDP": UDP_FRAMES, "ICMP": ICMP_FRAMES}
    assert len(frames) == sum(sent.values())

    send_frames(console.tap, frames)

    query = 'vtap_packets_total{interface="tap",rule="all"}'
    wait_until(
        lambda: ask_prometheus(console, query) == sent,
        SCRAPE_TIMEOUT_S,
        "Prometheus to have all frames",
        seen=lambda: ask_prometheus(console, query),
    )
    received = int(console.run("cat /sys/class/net/tap/statistics/rx_packets"))
    assert received == sum(sent.values())
    wire_bytes = {"TCP": 1054 * TCP_FRAMES, "UDP": 342 * UDP_FRAMES, "ICMP": 98 * ICMP_FRAMES}
    bytes_query = query.replace("packets_total", "bytes_total")
    assert ask_prometheus(console, bytes_query) == wire_bytes
    errors = ask_prometheus(
        console, 'vtap_sequence_errors_total{interface="tap",rule="all",protocol="TCP"}'
    )
    assert errors == {"TCP reverse": 0, "TCP small": 2, "TCP big": 0}


def test_after_a_reboot_it_measures_and_asks_no_more(console: Machine) -> None:
    """vTap starts at boot, host keys and password stay, and no unit fails."""
    key = console.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
    console.console.sendline(f"echo '{PASSWORD}' | sudo --stdin reboot")

    assert "No password is set yet" not in console.expect("login: ", BOOT_TIMEOUT_S)
    console.console.sendline("")
    console.log_in("vtap", PASSWORD)

    assert console.run("cat /etc/ssh/ssh_host_ed25519_key.pub") == key
    console.run("systemctl is-system-running --wait", BOOT_TIMEOUT_S)
    send_frames(console.tap, [ethernet(ipv4(udp()), destination=NOT_ANYBODYS_MAC)] * 23)
    wait_until(
        lambda: ask_prometheus(console, "sum(vtap_packets_total)") == {"": 23},
        SCRAPE_TIMEOUT_S,
        "23 frames in Prometheus",
        seen=lambda: ask_prometheus(console, "vtap_packets_total"),
    )


def test_an_ssh_key_opens_the_machine_without_a_password(disk: Path, tmp_path: Path) -> None:
    """A NoCloud volume with a key, virtio hardware: the same interfaces, the key's owner is in and
    may use sudo, while the console still asks.
    """
    key, seed = tmp_path / "key", tmp_path / "seed.img"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "meta-data").write_text("instance-id: test\n")
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "user-data").write_text(f"#cloud-config\nssh_authorized_keys:\n  - {public}")
    for command in (
        ["mformat", "-C", "-i", seed, "-f", "1440", "-v", "CIDATA", "::"],
        ["mcopy", "-i", seed, tmp_path / "meta-data", tmp_path / "user-data", "::"],
    ):
        subprocess.run(command, check=True)
    drive = ("-drive", f"if=virtio,format=raw,readonly=on,file={seed}")
    with (
        Namespace("key") as namespace,
        Machine(namespace, disk, tmp_path, VIRTIO, drive) as machine,
    ):
        machine.expect("No password is set yet", BOOT_TIMEOUT_S)
        wait_until(
            lambda: machine.ssh("-i", str(key), f"vtap@{MGMT_GUEST}", "true").returncode == 0,
            BOOT_TIMEOUT_S,
            "the key to be let in",
        )
        command = "sudo id -un; ls /sys/class/net; systemctl is-active vtap@tap"
        wait_until(
            lambda: (
                machine.ssh("-i", str(key), f"vtap@{MGMT_GUEST}", command).stdout.split()
                == ["root", "lo", "mgmt", "tap", "active"]
            ),
            BOOT_TIMEOUT_S,
            "vTap to measure",
            seen=lambda: machine.ssh("-i", str(key), f"vtap@{MGMT_GUEST}", command),
        )
        assert "Permission denied" in machine.ssh(f"vtap@{MGMT_GUEST}", "true").stderr
