"""From start to end: intervals, signals, readers that go away, disks that are full."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import ethernet, ipv4, send_frames, udp
from tests.support.monitor import COMMAND, END_S, ENVIRONMENT, run_monitor, write_config
from tests.support.netns import Namespace, veth_pair
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.netns import Veth

FRAME = ethernet(ipv4(udp(bytes(50))))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_the_last_partial_interval(
    veth: Veth, tmp_path: Path, number: signal.Signals
) -> None:
    """Of an hour's interval what has passed is measured and printed; nothing else is said."""
    ifname = veth.right.ifname
    with run_monitor(
        veth.right.namespace, tmp_path,
        "-i", ifname, "-t", "3600", "-j", "3600", "--format", "json",
    ) as monitor:  # fmt: skip
        send_frames(veth.left, [FRAME] * 23, delays_s=[0.01] * 23)
        outcome = monitor.end(number)

    assert outcome.status == 0
    assert [row["protocol"] for row in outcome.rows()] == ["TCP", "UDP", "ICMP"]
    row = outcome.total("UDP")
    assert (row["packets"], row["bytes"]) == (23, 23 * len(FRAME))
    assert row["seconds"] >= 0.23  # the frames' pauses
    assert row["throughput_bytes_per_second"] == 23 * len(FRAME) / row["seconds"]
    assert 0 < row["interarrival_mean_seconds"] * 22 < row["seconds"]
    assert (
        outcome.stderr == f"measuring on {ifname}; Ctrl-C ends it\n{ifname}: 23 packets counted\n"
    )


def test_more_signals_during_the_end_do_no_harm(veth: Veth, tmp_path: Path) -> None:
    """Ctrl-C held down: status 0, all of the output, no traceback."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "--format", "json",
        config={"MONITOR_SERVER": True},
    ) as monitor:  # fmt: skip
        send_frames(veth.left, [FRAME] * 23)

        def is_over() -> bool:
            if monitor.process.poll() is None:
                monitor.process.send_signal(signal.SIGINT)
                monitor.process.send_signal(signal.SIGTERM)
            return monitor.process.poll() is not None

        while not is_over():
            pass
        outcome = monitor.wait()

    assert outcome.status == 0
    assert outcome.counts("UDP")[0] == 23
    assert len(outcome.stderr.splitlines()) == 2


def test_the_duration_ends_the_run(veth: Veth, tmp_path: Path) -> None:
    """Two seconds of half a second and of a second: four intervals, two of them of jitter too."""
    ifname = veth.right.ifname
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", ifname, "-t", "0.5", "-j", "1", "--duration", "2"
    ) as monitor:
        outcome = monitor.wait()

    blocks = re.findall("^(Jitter|THROUGHPUT).*TCP:|^(THROUGHPUT)", outcome.stdout, re.MULTILINE)
    order = [first or second for first, second in blocks]
    assert order == ["THROUGHPUT", "Jitter", "THROUGHPUT"] * 2
    assert outcome.stdout.count(f"THROUGHPUT measurement on {ifname} each 0.5 seconds:\n") == 4
    assert outcome.status == 0
    assert " for 2 s" in outcome.stderr


def test_bits_are_eight_times_the_bytes(veth: Veth, tmp_path: Path) -> None:
    """-b changes the console's rates and their unit; the log keeps its bytes."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "-b", config={"LOG_DATA": True}
    ) as monitor:
        send_frames(veth.left, [FRAME] * 23)
        outcome = monitor.end()

    shown = re.findall(r"^UDP bitrate \[Mbits/sec\]: (\d+\.\d{4})$", outcome.stdout, re.MULTILINE)
    (log,) = tmp_path.glob("monitor_*.log")
    logged = [row.split(" | ")[11:13] for row in log.read_text().splitlines()[2:]]
    assert len(shown) == 2 * len(logged)
    for (throughput, goodput), values in zip(zip(shown[::2], shown[1::2]), logged):
        # Half of the last decimal, and eight times what the log rounded.
        assert float(throughput) == pytest.approx(float(values[0]) * 8e-6, abs=0.000051)
        assert float(goodput) == pytest.approx(float(values[1]) * 8e-6, abs=0.000051)
    assert any(float(value) > 0 for value in shown)
    assert "MBytes" not in outcome.stdout


@pytest.mark.parametrize(
    ("option", "word"), [("-test_throughput", "bitrate"), ("-test_jitter", "Jitter[STDDEV]")]
)
def test_a_reader_that_goes_away_ends_the_run(
    veth: Veth, tmp_path: Path, option: str, word: str
) -> None:
    """As with `| head -1`: status 0, no traceback, and lines came while it ran."""
    write_config(tmp_path, {})
    with (tmp_path / "stderr").open("w") as errors:
        process = veth.right.namespace.popen(
            [*COMMAND, "-i", veth.right.ifname, "-t", "0.1", "-j", "0.1", option],
            stdout=subprocess.PIPE, stderr=errors, env=ENVIRONMENT, cwd=tmp_path,
        )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.stdout.close()

    assert process.wait(END_S) == 0
    assert any(line.split()[:1] and word in line for line in lines)
    said = (tmp_path / "stderr").read_text()
    assert len(said.splitlines()) == 2, said


def test_a_console_on_a_full_disk_costs_the_console_only(veth: Veth, tmp_path: Path) -> None:
    """It is said once; the endpoint and the log go on, and the end is clean."""
    ifname = veth.right.ifname
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", ifname, "-t", "0.05",
        config={"MONITOR_SERVER": True, "LOG_DATA": True}, stdout=Path("/dev/full"),
    ) as monitor:  # fmt: skip
        monitor.wait_for_message("cannot write to the console")
        send_frames(veth.left, [FRAME] * 23)
        monitor.wait_for_sample(
            f'vtap_packets_total{{interface="{ifname}",protocol="UDP",rule="all"}}', 23
        )
        monitor.process.send_signal(signal.SIGINT)
        status = monitor.process.wait(END_S)

    assert status == 0
    said = monitor.stderr.splitlines()[1:]
    assert said == [
        "cannot write to the console: no space left on device; measuring goes on",
        f"{ifname}: 23 packets counted",
    ]
    (log,) = tmp_path.glob("monitor_*.log")
    assert log.read_text().splitlines()[-1].split(" | ")[16] == "23"  # UDP's count


def test_a_full_disk_costs_the_log_only(veth: Veth, tmp_path: Path) -> None:
    """It is said once; the measuring goes on. The disk is a limit of 2000 bytes a file."""
    ifname = veth.right.ifname
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", ifname, "-t", "0.02", "-j", "0.02",
        config={"MONITOR_SERVER": True, "LOG_DATA": True}, stdout=Path("/dev/null"),
        prefix=["prlimit", "--fsize=2000"],
    ) as monitor:  # fmt: skip
        monitor.wait_for_message("cannot write log")
        send_frames(veth.left, [FRAME] * 23)
        monitor.wait_for_sample(
            f'vtap_packets_total{{interface="{ifname}",protocol="UDP",rule="all"}}', 23
        )
        monitor.process.send_signal(signal.SIGINT)
        status = monitor.process.wait(END_S)

    assert status == 0
    (log,) = tmp_path.glob("monitor_*.log")
    assert monitor.stderr.splitlines()[1:] == [
        f"cannot write log {log.name}: file too large; measuring goes on, the log is tried again",
        f"{ifname}: 23 packets counted",
    ]


def test_each_of_several_interfaces_has_its_log(namespace: Namespace, tmp_path: Path) -> None:
    """A file an interface in --log-dir, named after it, with its own counts."""
    logs = tmp_path / "logs"
    logs.mkdir()
    with veth_pair("one", namespace) as one, veth_pair("two", namespace) as two, run_monitor(
        namespace, tmp_path, "-i", one.right.ifname, two.right.ifname,
        "--log-dir", str(logs), config={"LOG_DATA": True, "OFFSET": 0},
    ) as monitor:  # fmt: skip
        send_frames(one.left, [FRAME] * 23)
        send_frames(two.left, [FRAME] * 29)
        monitor.end()

    for ifname, count in ((one.right.ifname, 23), (two.right.ifname, 29)):
        (path,) = logs.glob(f"*_{ifname}.log")
        pattern = rf"monitor_{monitor.pid}_\d{{4}}-\d\d-\d\d_\d\d:\d\d_{ifname}\.log"
        assert re.fullmatch(pattern, path.name)
        udp_columns = path.read_text().splitlines()[-1].split(" | ")[11:21]
        # seq_num, count, reverse_error, small_err, big_err, total_err
        assert udp_columns[4:] == ["0", str(count), "0", str(count - 1), "0", str(count - 1)]
    assert list(tmp_path.glob("*.log")) == []


def test_it_measures_until_it_is_told_to_stop(veth: Veth, tmp_path: Path) -> None:
    """Intervals are printed when they end, not at the end."""
    with run_monitor(
        veth.right.namespace, tmp_path, "-i", veth.right.ifname, "-t", "0.05", "--format", "json"
    ) as monitor:
        for total in (23, 46, 69):
            send_frames(veth.left, [FRAME] * 23)
            monitor.wait_for_packets(total)
        wait_until(lambda: monitor.process.poll() is None, 0, "it still runs")
        assert monitor.end().counts("UDP")[0] == 69
