"""The endpoint on real traffic, and what the process is allowed once it measures."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vtap
from tests.support.frames import ethernet, ipv4, send_frames, tcp, udp
from tests.support.injector import Injector, compile_program
from tests.support.monitor import call_monitor, run_monitor, time_first_packet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Veth

FRAME = ethernet(ipv4(udp(bytes(50))))
N = 2_000_000
BPF_STATS_ENABLED = Path("/proc/sys/kernel/bpf_stats_enabled")


def packets_sample(ifname: str, protocol: str) -> str:
    """Name the sample of all packets of a stream."""
    return f'vtap_packets_total{{interface="{ifname}",protocol="{protocol}",rule="all"}}'


def test_scrapes_under_full_load_only_grow(veth: Veth, tmp_path: Path) -> None:
    """While millions arrive on every CPU no counter ever steps back, each scrape is one sample, and
    the last shows every packet.
    """
    ifname = veth.right.ifname
    frames = [FRAME, ethernet(ipv4(tcp(bytes(60))))]
    counters = [packets_sample(ifname, protocol) for protocol in ("UDP", "TCP")]
    with (
        run_monitor(
            veth.right.namespace, tmp_path, "-i", ifname, "-t", "0.02", "--format", "json",
            config={"MONITOR_SERVER": True},
        ) as monitor,
        Injector(veth.right) as injector,
    ):  # fmt: skip
        cpus = sorted(os.sched_getaffinity(0))[:2]
        running = [injector.start(frame, N, cpu=cpu) for cpu, frame in zip(cpus, frames)]
        scrapes = [monitor.scrape()]
        while any(injection.is_running() for injection in running):
            scrapes.append(monitor.scrape())
        for injection in running:
            injection.wait()
        scrapes += [monitor.wait_for_sample(name, N) for name in counters[: len(running)]]
        outcome = monitor.end()

    grown = [name for name in scrapes[-1] if "_total" in name or "timestamp" in name]
    assert len(grown) > 20
    scrapes = [scrape for scrape in scrapes if scrape.get(counters[0]) is not None]
    for before, after in zip(scrapes, scrapes[1:]):
        assert [name for name in grown if after[name] < before[name]] == []
    assert sum(0 < scrape[counters[0]] < N for scrape in scrapes) > 0
    shown = {(row["protocol"], row["packets_total"]) for row in outcome.rows()}
    for scrape in scrapes:
        assert {("UDP", scrape[counters[0]]), ("TCP", scrape[counters[1]])} <= shown
    assert outcome.counts("UDP") == (N, N * len(FRAME), N * 50)


@pytest.fixture
def bpf_stats() -> Iterator[Path]:
    """Provide the switch of the kernel's account, and put it back."""
    before = BPF_STATS_ENABLED.read_text()
    yield BPF_STATS_ENABLED
    BPF_STATS_ENABLED.write_text(before)


def test_the_kernels_account_is_shown_where_it_is_on(
    veth: Veth, tmp_path: Path, bpf_stats: Path
) -> None:
    """Off: no sample, not a 0. On: a run for every frame that comes, whatever became of it, and its
    time; none for what the interface sends, which --direction in does not ask for.
    """
    ifname = veth.right.ifname
    arp = ethernet(bytes(46), ethertype=0x0806)
    bpf_stats.write_text("0")
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", ifname, "-t", "0.05", config={"MONITOR_SERVER": True}
    ) as monitor:
        send_frames(veth.left, [FRAME] * 23)
        samples = monitor.wait_for_sample(packets_sample(ifname, "UDP"), 23)
        assert not [name for name in samples if name.startswith("vtap_program_")]

        bpf_stats.write_text("1")
        send_frames(veth.right, [FRAME] * 7)
        send_frames(veth.left, [FRAME, arp, FRAME] * 10)
        samples = monitor.wait_for_sample(packets_sample(ifname, "UDP"), 43)
        assert samples["vtap_program_runs_total"] == 30
        assert 0 < samples["vtap_program_run_seconds_total"] < 0.1
        monitor.end()


def test_no_capability_is_left(veth: Veth, tmp_path: Path) -> None:
    """Once it measures, in promiscuous mode, no thread has any or can gain one."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, config={"MONITOR_SERVER": True}
    ) as monitor:
        monitor.scrape()
        threads = list(Path(f"/proc/{monitor.pid}/task").iterdir())
        assert len(threads) > 1
        for thread in threads:
            status = (thread / "status").read_text()
            for kind in ("CapEff", "CapPrm"):
                (capabilities,) = re.findall(rf"^{kind}:\s*(\w+)$", status, re.MULTILINE)
                assert int(capabilities, 16) == 0
            assert "\nNoNewPrivs:\t1\n" in status
        monitor.end()


@pytest.mark.parametrize(
    ("config", "listening"), [({"MONITOR_SERVER": True}, ["127.0.0.1"]), ({}, [])]
)
def test_the_endpoint_is_open_to_this_host_only(
    veth: Veth, tmp_path: Path, config: dict[str, bool], listening: list[str]
) -> None:
    """It listens on 127.0.0.1 and nowhere else; where it is off, nowhere at all."""
    namespace = veth.right.namespace
    with run_monitor(namespace, tmp_path, "-i", veth.right.ifname, config=config) as monitor:
        sockets = namespace.run(["ss", "-H", "-l", "-n", "-t", "-u"]).stdout.splitlines()
        assert [line.split()[4] for line in sockets] == [
            f"{address}:{monitor.port}" for address in listening
        ]
        monitor.end()


def test_check_loads_and_leaves(veth: Veth, tmp_path: Path) -> None:
    """The rules are shown as written, with their names; nothing is attached or served."""
    outcome = call_monitor(
        tmp_path, "-i", veth.right.ifname, "--check", namespace=veth.right.namespace,
        config={
            "RULES": [
                "10.0.0.0/8 - - 80 TCP",
                {"name": "voice", "match": "- 2001:db8::1 - !5060-5061 UDP"},
            ],
            "PATTERN": "0xE7A5C318",
            "MONITOR_SERVER": True,
        },
    )  # fmt: skip

    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines() == [
        f"config.json: good; the kernel accepts the program for {veth.right.ifname}",
        "  RULES[0]: 10.0.0.0/8 - - 80 TCP",
        "  RULES[1] (voice): - 2001:db8::1 - !5060-5061 UDP",
    ]


def test_the_c_that_is_shown_compiles_as_it_is(tmp_path: Path) -> None:
    """--show-bpf needs neither root nor an interface, and prints all that the compiler gets."""
    outcome = call_monitor(
        tmp_path, "-i", "eth0", "eth1", "--show-bpf",
        config={"RULES": ["- - - 80 TCP"], "PATTERN": "0xE7A5C318"},
        prefix=["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
    )  # fmt: skip

    assert (outcome.status, outcome.stderr) == (0, "")
    program = compile_program(outcome.stdout.encode())
    assert program.load_func(b"monitor", program.SOCKET_FILTER).fd > 0
    program.cleanup()


def test_version_and_help(tmp_path: Path) -> None:
    """Both go to standard output, need nothing, and end with status 0."""
    version = call_monitor(tmp_path, "--version")
    explained = call_monitor(tmp_path, "--help")

    assert version == (0, f"vTap {vtap.__version__}\n", "")
    assert (explained.status, explained.stderr) == (0, "")
    for option in (
        "-i", "-t", "-j", "-server_port", "-conf", "-b", "-test_throughput", "-test_jitter",
        "--server-address", "--direction", "--no-promiscuous", "--duration", "--format",
        "--check", "--show-bpf", "--version", "--log-dir",
    ):  # fmt: skip
        assert re.search(rf"(^|[ ,]){option}\b", explained.stdout, re.MULTILINE), option


def test_how_fast_it_starts_and_how_big_it_is(
    veth: Veth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shown, not asserted: machines are shared. From the command to the first counted packet 1.5 s
    are wanted.
    """
    arguments = (veth.right.namespace, tmp_path, veth.right.ifname)
    with trickle(veth):
        seconds = sorted(time_first_packet(*arguments) for _ in range(3))
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, config={"MONITOR_SERVER": True}
    ) as monitor:
        status = Path(f"/proc/{monitor.pid}/status").read_text()
        monitor.end()
    (kilobytes,) = re.findall(r"^VmRSS:\s*(\d+) kB$", status, re.MULTILINE)

    with capsys.disabled():
        sys.stdout.write(
            f"\n  first counted packet after {seconds[1]:.2f} s (best {seconds[0]:.2f} s of 3)"
            f"\n  resident memory while measuring {int(kilobytes) / 1e3:.0f} MB\n"
        )


@contextlib.contextmanager
def trickle(veth: Veth) -> Iterator[None]:
    """Send a thousand frames a second while the context lasts."""
    stopped = threading.Event()
    frames = iter(lambda: b"" if stopped.is_set() else FRAME, b"")
    thread = threading.Thread(
        target=send_frames, args=(veth.left, frames), kwargs={"delays_s": itertools.repeat(0.001)}
    )
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
