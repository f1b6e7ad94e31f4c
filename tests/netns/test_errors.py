"""What is refused: one line a problem on standard error, the exit status of its kind, nothing
attached.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.monitor import Outcome, call_monitor, run_monitor
from tests.support.netns import Namespace, ip, unique_name

if TYPE_CHECKING:
    from tests.support.netns import Veth

WITHOUT_CAPABILITIES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def packet_sockets(namespace: Namespace) -> list[str]:
    """List the packet sockets of a namespace: what a monitor is attached with."""
    path = Path("/proc/thread-self/net/packet")
    return namespace.call(lambda: path.read_text().splitlines()[1:])


def assert_refused(outcome: Outcome, status: int, *lines: str) -> None:
    """It said this, did nothing, and left with this status."""
    assert outcome.stderr.splitlines() == list(lines)
    assert (outcome.status, outcome.stdout) == (status, "")


def test_a_running_monitor_has_a_packet_socket(veth: Veth, tmp_path: Path) -> None:
    """What the other tests look for is there while attached, and gone afterwards."""
    with run_monitor(veth.right.namespace, tmp_path, "-i", veth.right.ifname) as monitor:
        assert len(packet_sockets(veth.right.namespace)) == 1
        monitor.end()
    assert packet_sockets(veth.right.namespace) == []


def test_without_root_the_missing_capabilities_are_named(veth: Veth, tmp_path: Path) -> None:
    """Status 3, before the compiler is even loaded."""
    outcome = call_monitor(
        tmp_path, "-i", veth.right.ifname, config={}, namespace=veth.right.namespace,
        prefix=WITHOUT_CAPABILITIES, environment={"PYTHONPROFILEIMPORTTIME": "1"},
    )  # fmt: skip

    imports = [line for line in outcome.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in outcome.stderr.splitlines() if line not in imports]
    assert said == [
        "cannot load the program: CAP_BPF CAP_PERFMON CAP_NET_RAW missing; run as root, with sudo"
    ]
    assert outcome.status == 3
    assert len(imports) > 50
    assert not [line for line in imports if line.endswith((" bcc", " vtap.program"))]


@pytest.mark.parametrize(
    ("lacking", "options", "missing"),
    [
        (["net_raw"], [], "CAP_NET_RAW"),
        (["sys_admin", "bpf"], [], "CAP_BPF"),
        (["sys_admin", "bpf", "perfmon", "net_raw"], ["--check"], "CAP_BPF CAP_PERFMON"),
    ],
)
def test_only_what_is_missing_is_named(
    veth: Veth, tmp_path: Path, lacking: list[str], options: list[str], missing: str
) -> None:
    """Each capability by its own name, those that the run needs."""
    outcome = call_monitor(
        tmp_path, "-i", veth.right.ifname, *options, config={}, namespace=veth.right.namespace,
        prefix=["setpriv", f"--bounding-set={','.join('-' + name for name in lacking)}"],
    )  # fmt: skip

    assert_refused(
        outcome, 3, f"cannot load the program: {missing} missing; run as root, with sudo"
    )


@pytest.mark.parametrize(
    ("enough", "options"),
    [
        ("+bpf,+perfmon,+net_raw", ["--duration", "0.1"]),
        ("+bpf,+perfmon", ["--check"]),
        ("-all", ["--show-bpf"]),
    ],
)
def test_what_is_asked_for_is_enough(
    veth: Veth, tmp_path: Path, enough: str, options: list[str]
) -> None:
    """No more than the capabilities that the messages name is needed."""
    outcome = call_monitor(
        tmp_path, "-i", veth.right.ifname, *options, config={}, namespace=veth.right.namespace,
        prefix=["setpriv", f"--bounding-set=-all,{enough}"],
    )  # fmt: skip

    assert (outcome.status, outcome.stderr.count("cannot")) == (0, 0), outcome.stderr


def test_what_cannot_be_monitored_is_named(namespace: Namespace, tmp_path: Path) -> None:
    """None of this name, no Ethernet header, down: a line each, all at once, status 3."""
    left, right, tunnel = (unique_name("refused") for _ in range(3))
    ip(f"-n {namespace.name} link add {left} type veth peer name {right}")
    ip(f"-n {namespace.name} tuntap add mode tun name {tunnel}")
    ip(f"-n {namespace.name} link set dev {tunnel} up")
    outcome = call_monitor(
        tmp_path, "-i", "lo", "nosuch", tunnel, left, "a-name-of-17-chars", config={},
        namespace=namespace,
    )  # fmt: skip

    there = f"there are {', '.join(sorted(['lo', left, right, tunnel]))}"
    assert_refused(
        outcome,
        3,
        f"cannot attach to 'nosuch': no such interface; {there}",
        f"cannot attach to '{tunnel}': its frames have no Ethernet header",
        f"cannot attach to '{left}': it is down; ip link set {left} up",
        f"cannot attach to 'a-name-of-17-chars': no such interface; {there}",
    )
    assert packet_sockets(namespace) == []


def test_without_an_interface_that_is_up_there_is_nothing_to_monitor(
    namespace: Namespace, tmp_path: Path
) -> None:
    """It says how one is brought up, status 3."""
    ip(f"-n {namespace.name} link set dev lo down")
    outcome = call_monitor(tmp_path, config={}, namespace=namespace)

    assert_refused(outcome, 3, "no interface is up; bring one up, for example: ip link set eth0 up")


def test_a_port_that_is_taken_is_refused(veth: Veth, tmp_path: Path) -> None:
    """Status 4, the owner's name, and nothing is attached."""
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    namespace = veth.right.namespace
    with namespace.call(lambda: socket.create_server(("127.0.0.1", 8080))):
        outcome = call_monitor(
            tmp_path, "-i", veth.right.ifname, config={"MONITOR_SERVER": True}, namespace=namespace
        )

        assert packet_sockets(namespace) == []
    assert_refused(
        outcome,
        4,
        f"cannot serve metrics on 127.0.0.1 port 8080: address already in use by {name} "
        f"(pid {os.getpid()}); choose another with -server_port or --server-address",
    )


def test_a_second_monitor_needs_another_port(veth: Veth, tmp_path: Path) -> None:
    """The first goes on undisturbed."""
    namespace = veth.right.namespace
    config = {"MONITOR_SERVER": True}
    with run_monitor(namespace, tmp_path, "-i", veth.right.ifname, config=config) as monitor:
        port = str(monitor.port)
        outcome = call_monitor(
            tmp_path, "-i", veth.right.ifname, "-server_port", port, namespace=namespace
        )
        assert (outcome.status, outcome.stderr.count("\n")) == (4, 1)
        assert len(packet_sockets(namespace)) == 1
        assert monitor.scrape()
        assert monitor.end().status == 0


def test_every_problem_of_a_configuration_is_said(namespace: Namespace, tmp_path: Path) -> None:
    """A line each with its place, status 2; nothing else is tried, not even the interface."""
    (tmp_path / "bad.json").write_text(
        '{"RULES": ["- - - - TCP", "- - - 70000 TCP", "- - - -"], "PATERN": 1, "OFFSET": "4x"}'
    )
    outcome = call_monitor(tmp_path, "-i", "nosuch", "-conf", "bad.json", namespace=namespace)

    lines = outcome.stderr.splitlines()
    places = ["RULES[1]: destination port", "RULES[2]: ", "unknown key 'PATERN'", "OFFSET: "]
    assert len(lines) == len(places)
    assert all(line.startswith(f"bad.json: {place}") for line, place in zip(lines, places))
    assert (outcome.status, outcome.stdout) == (2, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--intervall", "1"], "unknown option --intervall, did you mean --interval?"),
        (["-t", "0"], "argument -t/--interval: 0 is not in 0.01..86400 seconds"),
        (["-t", "nan"], "argument -t/--interval: nan is not in 0.01..86400 seconds"),
        (["-server_port", "65536"], "argument -server_port/--server-port: 65536 is not in 0-65535"),
        (["-i"], "argument -i/--interface: expected at least one argument"),
        (["--server-address", "::g"], "argument --server-address: ::g is not an IP address"),
    ],
)
def test_a_bad_option_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    """One line, where to look, status 2; before the configuration, which is not even there."""
    outcome = call_monitor(tmp_path, *options)

    assert_refused(outcome, 2, f"monitor.py: {message}; see monitor.py --help")


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Status 2."""
    assert_refused(
        call_monitor(tmp_path),
        2,
        "cannot read configuration config.json: no such file or directory; "
        "name a readable file with -conf",
    )


def test_a_log_that_cannot_be_opened_is_named(veth: Veth, tmp_path: Path) -> None:
    """Status 1, the path and why; nothing is attached."""
    outcome = call_monitor(
        tmp_path, "-i", veth.right.ifname, "--log-dir", "nosuch", config={"LOG_DATA": True},
        namespace=veth.right.namespace,
    )  # fmt: skip

    (line,) = outcome.stderr.splitlines()
    assert line.startswith("cannot write log nosuch/monitor_")
    assert line.endswith(": no such file or directory; name another folder with --log-dir")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert packet_sockets(veth.right.namespace) == []


def test_an_address_of_another_host_is_refused(veth: Veth, tmp_path: Path) -> None:
    """The endpoint's address must be one of this host's: status 4."""
    outcome = call_monitor(
        tmp_path, "-i", veth.right.ifname, "--server-address", "192.0.2.1",
        config={"MONITOR_SERVER": True}, namespace=veth.right.namespace,
    )  # fmt: skip

    assert_refused(
        outcome,
        4,
        "cannot serve metrics on 192.0.2.1 port 8080: cannot assign requested address; choose "
        "another with -server_port or --server-address",
    )
