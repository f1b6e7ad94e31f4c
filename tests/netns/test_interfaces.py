"""One monitor on several interfaces, which may go and come back while it runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, ipv4, send_frames, tcp, udp
from tests.support.monitor import END_S, Monitor, run_monitor
from tests.support.netns import (
    LEFT_MAC,
    RIGHT_MAC,
    Interface,
    Namespace,
    Veth,
    ip,
    veth_pair,
    wait_until_running,
)
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UDP_FRAME = ethernet(ipv4(udp(bytes(50))))
TCP_FRAME = ethernet(ipv4(tcp(bytes(60))))


@contextlib.contextmanager
def pairs(test_name: str, namespace: Namespace, count: int) -> Iterator[list[Veth]]:
    """Provide pairs with all ends in one namespace."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(veth_pair(test_name, namespace)) for _ in range(count)]


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda a, b, c: ["-i", a, b, c], id="words"),
        pytest.param(lambda a, b, c: ["-i", f"{a},{b},{c}"], id="comma"),
        pytest.param(lambda a, b, c: ["-i", a, "--interface", f"{b},", c, "-i", a], id="repeated"),
    ],
)
def test_each_interface_has_its_own_counts(
    namespace: Namespace, tmp_path: Path, spell: object
) -> None:
    """Three interfaces, other packets on each: each line of output has its own truth."""
    assert callable(spell)
    with pairs("several", namespace, 3) as veths:
        names = [veth.right.ifname for veth in veths]
        with run_monitor(namespace, tmp_path, *spell(*names), "--format", "json") as monitor:
            for count, veth in enumerate(veths, 1):
                send_frames(veth.left, [UDP_FRAME] * 10 * count + [TCP_FRAME] * count)
            outcome = monitor.end()

    assert [row["interface"] for row in outcome.rows(protocol="UDP")][-3:] == names
    for count, name in enumerate(names, 1):
        expected = (10 * count, 10 * count * len(UDP_FRAME), 10 * count * 50)
        assert outcome.counts("UDP", interface=name) == expected
        assert outcome.counts("TCP", interface=name) == (
            count, count * len(TCP_FRAME), count * 60
        )  # fmt: skip
        assert f"{name}: {11 * count} packets counted\n" in outcome.stderr


def test_the_text_console_names_each_interface(namespace: Namespace, tmp_path: Path) -> None:
    """Every block says whose it is."""
    with pairs("several", namespace, 2) as veths:
        names = [veth.right.ifname for veth in veths]
        with run_monitor(namespace, tmp_path, "-i", *names) as monitor:
            outcome = monitor.end()

    for words in ("JITTER", "THROUGHPUT", "GOODPUT", "SEQUENCE ERRORS"):
        lines = [line for line in outcome.stdout.splitlines() if line.startswith(words)]
        assert [line.split(" on ")[1].split()[0].rstrip(":") for line in lines] == names


def test_without_names_every_interface_that_is_up_is_monitored(
    namespace: Namespace, tmp_path: Path
) -> None:
    """Loopback and both ends of a pair that is up; not the pair that is down, nor what has no
    Ethernet header.
    """
    ip(f"-n {namespace.name} tuntap add mode tun name tunnel")
    ip(f"-n {namespace.name} link set dev tunnel up")
    with pairs("default", namespace, 2) as (up, down):
        for end in down:
            ip(f"-n {namespace.name} link set dev {end.ifname} down")
        with run_monitor(namespace, tmp_path, "--format", "json") as monitor:
            send_frames(up.left, [UDP_FRAME] * 23)
            outcome = monitor.end()

    interfaces = {row["interface"] for row in outcome.rows()}
    assert interfaces == {"lo", up.left.ifname, up.right.ifname}
    assert outcome.counts("UDP", interface=up.right.ifname)[0] == 23
    assert outcome.counts("UDP", interface=up.left.ifname)[0] == 0


def up_sample(ifname: str) -> str:
    """Name the sample that says whether an interface is up."""
    return f'vtap_interface_up{{interface="{ifname}"}}'


def start(
    namespace: Namespace, folder: Path, *ifnames: str
) -> contextlib.AbstractContextManager[Monitor]:
    """Run a monitor that looks often."""
    return run_monitor(
        namespace, folder, "-i", *ifnames, "-t", "0.05", "--format", "json",
        config={"MONITOR_SERVER": True},
    )  # fmt: skip


def test_an_interface_that_was_down_is_counted_again(veth: Veth, tmp_path: Path) -> None:
    """Down is said, shown as 0, and over when it is up again; nothing counted before is lost."""
    namespace, ifname = veth.right.namespace, veth.right.ifname
    with start(namespace, tmp_path, ifname) as monitor:
        send_frames(veth.left, [UDP_FRAME] * 23)
        monitor.wait_for_sample(up_sample(ifname), 1)
        ip(f"-n {namespace.name} link set dev {ifname} down")
        monitor.wait_for_message(f"{ifname}: gone, down or without a carrier")
        monitor.wait_for_sample(up_sample(ifname), 0)
        ip(f"-n {namespace.name} link set dev {ifname} up")
        monitor.wait_for_message(f"{ifname}: up again")
        monitor.wait_for_sample(up_sample(ifname), 1)
        wait_until_running(veth)
        send_frames(veth.left, [UDP_FRAME] * 29)
        outcome = monitor.end()

    assert (outcome.status, outcome.counts("UDP")[0]) == (0, 23 + 29)


def make_pair(namespace: Namespace, left: str, right: str, ifindex: int | None = None) -> Veth:
    """Make a pair of these names, as a virtual machine that is started again does."""
    index = f"index {ifindex}" if ifindex else ""
    ip(
        f"-n {namespace.name} link add {right} address {RIGHT_MAC} {index} type veth"
        f" peer name {left} address {LEFT_MAC}"
    )
    for name in (left, right):
        ip(f"-n {namespace.name} link set dev {name} arp off up")
    veth = Veth(Interface(namespace, left, 0, LEFT_MAC), Interface(namespace, right, 0, RIGHT_MAC))
    wait_until_running(veth)
    return veth


def is_promiscuous(namespace: Namespace, ifname: str) -> bool:
    return "promiscuity 1" in ip(f"-n {namespace.name} -d link show dev {ifname}")


def wait_until_let_go(namespace: Namespace, ifname: str) -> None:
    """Wait until the monitor has left an interface that it had in promiscuous mode."""
    wait_until(lambda: not is_promiscuous(namespace, ifname), END_S, f"letting go of {ifname}")


@pytest.mark.parametrize("neighbours", [0, 1], ids=["alone", "one of two"])
def test_an_interface_made_again_is_attached_again(
    namespace: Namespace, tmp_path: Path, neighbours: int
) -> None:
    """Deleted and made anew under its name, twice, it is found and counted on, each time; the
    promiscuous mode comes back too.
    """
    veth = make_pair(namespace, "left", "right")
    with pairs("neighbour", namespace, neighbours) as others:
        names = [other.right.ifname for other in others]
        with start(namespace, tmp_path, "right", *names) as monitor:
            send_frames(veth.left, [UDP_FRAME] * 23)
            for again in (1, 2):
                ip(f"-n {namespace.name} link delete dev left")
                monitor.wait_for_message("right: gone, down or", times=again)
                monitor.wait_for_sample(up_sample("right"), 0)
                veth = make_pair(namespace, "left", "right")
                monitor.wait_for_message("right: up again", times=again)
                assert is_promiscuous(namespace, "right")
                send_frames(veth.left, [UDP_FRAME] * 29)
                monitor.wait_for_sample(up_sample("right"), 1)
            for other in others:
                send_frames(other.left, [UDP_FRAME] * 31)
            outcome = monitor.end()

    assert (outcome.status, outcome.counts("UDP", interface="right")[0]) == (0, 23 + 29 + 29)
    for name in names:
        assert outcome.counts("UDP", interface=name)[0] == 31
    assert outcome.stderr.count("\n") == 1 + 4 + 1 + neighbours


# 16384 is NEAR_INTERFACES of bpf/monitor.c.
@pytest.mark.parametrize(
    ("ifindex", "neighbours"),
    [(77, 0), (77, 1), (16383, 1), (16384, 1)],
    ids=["alone", "one of two", "the last near one", "the first far one"],
)
def test_an_interface_made_again_unnoticed_is_attached_again(
    namespace: Namespace, tmp_path: Path, ifindex: int, neighbours: int
) -> None:
    """Gone and back between two samples, with the same name and number, it is still counted."""
    veth = make_pair(namespace, "left", "right", ifindex)
    with pairs("neighbour", namespace, neighbours) as others:
        names = [other.right.ifname for other in others]
        options = ["-i", "right", *names, "--format", "json"]  # a sample a second
        with run_monitor(namespace, tmp_path, *options) as monitor:
            send_frames(veth.left, [UDP_FRAME] * 23)
            ip(f"-n {namespace.name} link delete dev left")
            veth = make_pair(namespace, "left", "right", ifindex)
            monitor.wait_for_rows(len(monitor.rows(interface="right")) + 3, interface="right")
            send_frames(veth.left, [UDP_FRAME] * 29)
            outcome = monitor.end()

    assert outcome.counts("UDP", interface="right")[0] == 23 + 29


def rename(veth: Veth, ifname: str) -> Veth:
    """Rename the right end, which older kernels do only while it is down."""
    namespace = veth.right.namespace
    ip(f"-n {namespace.name} link set dev {veth.right.ifname} down")
    ip(f"-n {namespace.name} link set dev {veth.right.ifname} name {ifname} up")
    renamed = Veth(veth.left, veth.right._replace(ifname=ifname))
    wait_until_running(renamed)
    return renamed


@pytest.mark.parametrize("neighbours", [0, 1], ids=["alone", "one of two"])
def test_a_renamed_interface_is_not_ours_any_more(
    namespace: Namespace, tmp_path: Path, neighbours: int
) -> None:
    """Nothing of it is counted until it has its name again, nor while another one has that name."""
    veth = make_pair(namespace, "left", "right")
    with pairs("neighbour", namespace, neighbours) as others:
        names = [other.right.ifname for other in others]
        with start(namespace, tmp_path, "right", *names) as monitor:
            for again, count in ((1, 23), (2, 29)):
                send_frames(veth.left, [UDP_FRAME] * count)
                veth = rename(veth, "other")
                monitor.wait_for_message("right: gone, down or", times=again)
                wait_until_let_go(namespace, "other")
                send_frames(veth.left, [UDP_FRAME] * 31)
                veth = rename(veth, "right")
                monitor.wait_for_message("right: up again", times=again)
                monitor.wait_for_sample(up_sample("right"), 1)
                assert is_promiscuous(namespace, "right")
            veth = rename(veth, "other")
            monitor.wait_for_message("right: gone, down or", times=3)
            wait_until_let_go(namespace, "other")
            new = make_pair(namespace, "new", "right")
            monitor.wait_for_message("right: up again", times=3)
            send_frames(veth.left, [UDP_FRAME] * 37)
            send_frames(new.left, [UDP_FRAME] * 41)
            outcome = monitor.end()

    assert (outcome.status, outcome.counts("UDP", interface="right")[0]) == (0, 23 + 29 + 41)
