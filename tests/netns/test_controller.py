"""controller.py: instances are kept apart, told truly, and ended without touching anything else."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.controller import Controller, finish, is_alive, make_controller
from tests.support.frames import ethernet, ipv4, send_frames, udp
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Veth

BOUND_S = 30
READ_EVERYTHING = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


@pytest.fixture
def controller(veth: Veth, tmp_path: Path) -> Controller:
    """Provide a controller in a namespace where every port is free, and an interface is silent."""
    return make_controller(veth.right, tmp_path)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Provide a process that no controller has any business with."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def wait_for_record(controller: Controller) -> int:
    """Return the pid of the one instance, as soon as it is recorded."""
    return int(wait_until(controller.records, BOUND_S, "a record")[0]["pid"])


def test_a_started_instance_measures_and_serves(controller: Controller, veth: Veth) -> None:
    """start prints pid, port and interfaces; status has every fact, and the packets exactly."""
    ifname = controller.ifname

    done = controller.namespace.run(controller.start_command("--detached", "-t", "0.1"))

    found = re.fullmatch(rf"instance (\d+) measures on {ifname}, port 8080\n", done.stdout)
    assert found
    pid = int(found[1])
    send_frames(veth.left, [ethernet(ipv4(udp(bytes(18))))] * 23)
    wait_until(lambda: controller.status()[0]["packets"] == 23, BOUND_S, "23 packets")
    (status,) = controller.status()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", status.pop("started"))
    assert status == {
        "pid": pid,
        "port": 8080,
        "interfaces": [ifname],
        "packets": 23,
        "state": "measuring",
        "config": str(controller.config),
        "log": str(controller.state / "logs" / f"{pid}.log"),
    }
    assert controller.targets() == {
        "127.0.0.1:8080": {
            "host": socket.gethostname(),
            "interfaces": ifname,
            "pid": str(pid),
            "config": "test.json",
        }
    }


def test_the_table_is_aligned(controller: Controller) -> None:
    """Each column starts, or ends if it has numbers, where its title does."""
    started = controller.start()

    title, row = controller.run("status").stdout.splitlines()

    assert title.split() == [
        "PID", "PORT", "INTERFACES", "SINCE", "PACKETS", "STATE", "CONFIGURATION", "LOG",
    ]  # fmt: skip
    for name, value in (("STATE", "measuring"), ("CONFIGURATION", started["config"])):
        assert title.index(name) == row.index(value)
    assert title.index("PORT") + len("PORT") == row.index(" 8080 ") + len(" 8080")


def test_no_instance_is_no_error(controller: Controller) -> None:
    """status and stop say so and succeed, before anything was ever started too."""
    for verb in ("status", "stop"):
        done = controller.run(verb)

        assert (done.returncode, done.stdout, done.stderr) == (0, "no instance is running\n", "")
    assert controller.status() == []


def test_ten_starts_at_once_get_ten_ports(controller: Controller) -> None:
    """8080 to 8089, all of them measuring, all of them known to Prometheus."""
    starts = [controller.popen_command(controller.start_command("--detached")) for _ in range(10)]
    for start in starts:
        assert (start.communicate(timeout=BOUND_S)[1], start.returncode) == ("", 0)

    statuses = controller.status()

    assert sorted(one["port"] for one in statuses) == list(range(8080, 8090))
    assert {one["state"] for one in statuses} == {"measuring"}
    assert set(controller.targets()) == {f"127.0.0.1:{port}" for port in range(8080, 8090)}
    assert controller.run("stop").stdout.count("stopped instance ") == 10
    assert (controller.status(), controller.targets()) == ([], {})


def test_a_port_of_an_instance_is_refused_with_its_name(controller: Controller) -> None:
    """On another address too: Prometheus and stop know an instance by its port."""
    pid = controller.start()["pid"]
    for address in ("127.0.0.1", "127.0.0.2"):
        refused = controller.namespace.run(
            controller.start_command(
                "--detached", "-server_port", "8080", "--server-address", address
            ),
            check=False,
        )

        assert (refused.returncode, refused.stdout, refused.stderr) == (
            4,
            "",
            f"cannot serve metrics on {address} port 8080: address already in use by instance "
            f"{pid} ({controller.config}); choose another with -server_port or --server-address\n",
        )
    assert [one["pid"] for one in controller.status()] == [pid]


def test_a_port_of_another_program_is_refused_with_its_name(controller: Controller) -> None:
    """And passed over where none was asked for."""
    name = Path("/proc/self/comm").read_text().strip()
    with controller.namespace.call(lambda: socket.create_server(("127.0.0.1", 8080))):
        refused = controller.namespace.run(
            controller.start_command("--detached", "-server_port", "8080"), check=False
        )

        assert (refused.returncode, refused.stderr) == (
            4,
            "cannot serve metrics on 127.0.0.1 port 8080: address already in use by "
            f"{name} (pid {os.getpid()}); choose another with -server_port or --server-address\n",
        )
        assert controller.start()["port"] == 8081


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-i", "nosuch"], 3, "cannot attach to 'nosuch': no such interface; "),
        (
            ["-conf", "/nosuch"],
            2,
            "cannot read configuration /nosuch: no such file or directory; "
            "name a readable file with -conf\n",
        ),
        (
            ["--durationn", "1"],
            2,
            "controller.py start: unknown option --durationn, did you mean --duration?; "
            "see controller.py start --help\n",
        ),
    ],
)
@pytest.mark.parametrize("detached", [[], ["--detached"]])
def test_a_start_that_fails_passes_on_message_and_status(
    controller: Controller, detached: list[str], words: list[str], status: int, message: str
) -> None:
    """Those of the monitor itself, with --detached as without; nothing is left."""
    done = controller.run("start", *detached, *words)

    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert controller.status() == []


def test_an_instance_in_the_foreground_is_recorded(controller: Controller) -> None:
    """It prints the console's blocks, has no log, and gives its record back at Ctrl-C."""
    process = controller.popen_command(controller.start_command("-t", "0.1", "-test_throughput"))
    assert process.stdout
    assert process.stderr
    assert (
        process.stdout.readline()
        == f"THROUGHPUT measurement on {controller.ifname} each 0.1 seconds:\n"
    )

    (status,) = controller.status()
    logs = controller.run("logs", "8080")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=BOUND_S)

    assert (status["pid"], status["port"], status["log"]) == (process.pid, 8080, None)
    assert (logs.returncode, logs.stdout, logs.stderr) == (
        4,
        "",
        f"instance {process.pid} (port 8080) has no log: it was started without --detached, "
        "look where it was\n",
    )
    assert process.returncode == 0
    assert (controller.records(), controller.targets()) == ([], {})


def test_a_monitor_started_by_hand_is_an_instance(controller: Controller) -> None:
    """status shows it and stop ends it; only its port is its own affair."""
    words = ["-i", controller.ifname, "-conf", str(controller.config), "--format", "json"]
    process = controller.popen_command(controller.command(*words, script="monitor.py"))
    assert process.stdout
    assert json.loads(process.stdout.readline())["interface"] == controller.ifname

    (status,) = controller.status()
    stopped = controller.run("stop", "8080")
    said = process.communicate(timeout=BOUND_S)[1]

    assert (status["pid"], status["state"]) == (process.pid, "measuring")
    assert stopped.stdout == f"stopped instance {process.pid} (port 8080)\n"
    assert said.splitlines()[-1] == f"{controller.ifname}: 0 packets counted"
    assert process.returncode == 0


def test_stop_ends_with_the_final_report(controller: Controller) -> None:
    """It has been written when stop returns, and can be read by the pid afterwards."""
    pid = controller.start()["pid"]

    done = controller.run("stop", str(pid))

    assert (done.returncode, done.stdout, done.stderr) == (
        0, f"stopped instance {pid} (port 8080)\n", "",
    )  # fmt: skip
    assert not is_alive(pid)
    assert controller.run("logs", str(pid)).stdout == (
        f"measuring on {controller.ifname}, metrics at http://127.0.0.1:8080/metrics; "
        f"controller.py stop {pid} ends it\n{controller.ifname}: 0 packets counted\n"
    )


def test_an_unknown_number_does_not_save_the_others(controller: Controller) -> None:
    """Exit status 4, one line for it, and the instances that were named are stopped."""
    by_pid, by_port, kept = (controller.start() for _ in range(3))

    done = controller.run("stop", str(by_pid["pid"]), "99", str(by_port["port"]))

    assert done.returncode == 4
    assert done.stderr == (
        "no instance has pid or port 99; controller.py status shows those that run\n"
    )
    assert done.stdout == (
        f"stopped instance {by_pid['pid']} (port 8080)\n"
        f"stopped instance {by_port['pid']} (port 8081)\n"
    )
    assert [one["pid"] for one in controller.status()] == [kept["pid"]]
    assert list(controller.targets()) == ["127.0.0.1:8082"]


def test_who_may_not_stop_is_told(controller: Controller) -> None:
    """Exit status 3, and the instance runs on."""
    pid = controller.start()["pid"]
    user = ["setpriv", "--reuid=65534", "--clear-groups", *READ_EVERYTHING]

    done = controller.namespace.run([*user, *controller.command("stop")], check=False)

    assert (done.returncode, done.stdout, done.stderr) == (
        3,
        "",
        f"cannot stop instance {pid} (port 8080): it belongs to another user; "
        "run as root, with sudo\n",
    )
    assert [one["state"] for one in controller.status()] == ["measuring"]


def test_a_killed_instance_is_noticed(controller: Controller) -> None:
    """It is not listed, nor a target; said once; and its port is free for the next."""
    killed, kept = controller.start(), controller.start()
    os.kill(killed["pid"], signal.SIGKILL)
    wait_until(lambda: not is_alive(killed["pid"]), BOUND_S, "its end")

    first, second = controller.run("status"), controller.run("status")

    assert first.stderr == (
        f"instance {killed['pid']} died without a farewell, its record is removed; "
        f"its log is {killed['log']}\n"
    )
    assert second.stderr == ""
    for done in (first, second):
        assert [row.split()[0] for row in done.stdout.splitlines()] == ["PID", str(kept["pid"])]
    assert list(controller.targets()) == ["127.0.0.1:8081"]
    assert controller.start("-server_port", "8080")["state"] == "measuring"


def test_the_next_start_cleans_up_too(controller: Controller) -> None:
    """A list for Prometheus is true after each start, whoever died before it."""
    killed = controller.start()["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed), BOUND_S, "its end")

    done = controller.namespace.run(controller.start_command("--detached"))

    pid = done.stdout.split()[1]
    assert [str(record["pid"]) for record in controller.records()] == [pid]
    assert [labels["pid"] for labels in controller.targets().values()] == [pid]


def test_a_reused_pid_is_never_signalled(
    controller: Controller, sleeper: subprocess.Popen[bytes]
) -> None:
    """A record whose pid is now another program's is a leftover; stop finds nothing by it."""
    killed = controller.start()["pid"]
    (record,) = controller.records()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed), BOUND_S, "its end")
    folder = controller.state / "instances"
    (folder / f"{killed}.json").rename(folder / f"{sleeper.pid}.json")
    (folder / f"{sleeper.pid}.json").write_text(json.dumps({**record, "pid": sleeper.pid}))

    by_pid = controller.run("stop", str(sleeper.pid))

    assert by_pid.returncode == 4
    assert f"no instance has pid or port {sleeper.pid}" in by_pid.stderr
    assert controller.run("stop").stdout == "no instance is running\n"
    assert sleeper.poll() is None
    assert controller.records() == []


def test_what_cannot_be_judged_is_left_alone(controller: Controller) -> None:
    """A container with the folder mounted sees no process of the host, and removes no record."""
    pid = controller.start()["pid"]
    container = ["unshare", "--pid", "--fork", "--mount-proc"]

    inside = controller.namespace.run([*container, *controller.command("status")])
    stop = controller.namespace.run([*container, *controller.command("stop", "8080")], check=False)

    assert (inside.stdout, inside.stderr) == ("no instance is running\n", "")
    assert stop.returncode == 4
    assert [one["pid"] for one in controller.status()] == [pid]


def test_states_are_those_of_now(controller: Controller) -> None:
    """A stopped process is unreachable, one without an interface has failed, and back again."""
    pid = controller.start("-t", "0.1")["pid"]

    def state() -> str:
        return str(controller.status()[0]["state"])

    os.kill(pid, signal.SIGSTOP)
    try:
        assert state() == "unreachable"
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: state() == "measuring", BOUND_S, "measuring")
    controller.namespace.run(["ip", "link", "set", controller.ifname, "down"])
    wait_until(lambda: state() == "failed", BOUND_S, "failed")
    controller.namespace.run(["ip", "link", "set", controller.ifname, "up"])
    wait_until(lambda: state() == "measuring", BOUND_S, "measuring again")


def test_an_instance_without_an_endpoint(controller: Controller) -> None:
    """It has neither port nor packets to show, and is no target, but is stopped by its pid."""
    controller.config.write_text('{"MONITOR_SERVER": "False"}')

    status = controller.start()

    assert (status["port"], status["packets"], status["state"]) == (None, None, "measuring")
    assert controller.targets() == {}
    assert controller.run("stop").stdout == f"stopped instance {status['pid']}\n"


def test_stop_during_the_compilation(controller: Controller) -> None:
    """status says starting, no target is told yet, and start fails without having measured."""
    with controller.long_compilation() as fifo:
        start = controller.popen_command(controller.start_command("--detached"))
        pid = wait_for_record(controller)
        assert [one["state"] for one in controller.status()] == ["starting"]
        assert controller.targets() == {}
        stop = controller.popen("stop")
        wchan = Path(f"/proc/{stop.pid}/wchan")
        wait_until(lambda: "poll" in wchan.read_text(), BOUND_S, "SIGTERM sent")
        finish(fifo)

    assert stop.communicate(timeout=BOUND_S) == (f"stopped instance {pid} (port 8080)\n", "")
    assert start.communicate(timeout=BOUND_S) == (
        "",
        f"{controller.ifname}: 0 packets counted\ninstance {pid} was stopped before it measured\n",
    )
    assert (stop.returncode, start.returncode) == (0, 4)
    assert controller.records() == []


def test_a_controller_killed_in_the_middle_of_a_start(controller: Controller) -> None:
    """What it began ends by itself, and nothing of it is left."""
    with controller.long_compilation() as fifo:
        start = controller.popen_command(controller.start_command("--detached"))
        pid = wait_for_record(controller)
        start.kill()
        start.wait()
        finish(fifo)
    wait_until(lambda: not is_alive(pid), BOUND_S, "the end of the instance")

    assert (controller.status(), controller.records(), controller.targets()) == ([], [], {})
    assert "the start was interrupted, nobody waits for the instance: it ends" in (
        controller.run("logs", str(pid)).stdout
    )


def test_an_instance_killed_while_it_compiles(controller: Controller) -> None:
    """start says by what, and does not wait for its bound."""
    with controller.long_compilation():
        start = controller.popen_command(controller.start_command("--detached"))
        pid = wait_for_record(controller)
        os.kill(pid, signal.SIGKILL)

    assert start.communicate(timeout=BOUND_S) == (
        "", f"instance {pid} was ended by SIGKILL before it measured\n",
    )  # fmt: skip
    assert start.returncode == 4


FULL = "mount -t tmpfs -o size=4k none {0} && echo x >{0}/x && exec"
READ_ONLY = "mount -t tmpfs -o ro none {0} && exec"


@pytest.mark.parametrize(
    ("mount", "reason"),
    [(FULL, "no space left on device"), (READ_ONLY, "read-only file system")],
)
def test_a_folder_that_takes_no_record(controller: Controller, mount: str, reason: str) -> None:
    """start fails and says why and what helps; a monitor started by hand says so and measures."""
    controller.state.mkdir()
    shell = ["sh", "-c", mount.format(controller.state) + ' "$@"', "sh"]
    cannot = (
        f"cannot keep records of instances in {controller.state}: {reason}; "
        "mend that or name another folder with VTAP_STATE_DIR"
    )

    start = controller.namespace.run([*shell, *controller.start_command("--detached")], check=False)
    words = ["-i", controller.ifname, "-conf", str(controller.config), "--duration", "0.1"]
    by_hand = controller.namespace.run(
        [*shell, *controller.command(*words, script="monitor.py")], check=False
    )

    assert (start.returncode, start.stdout, start.stderr) == (1, "", f"{cannot}\n")
    assert by_hand.returncode == 0
    assert by_hand.stderr == (
        f"{cannot}; controller.py will not know this instance\n"
        f"measuring on {controller.ifname} for 0.1 s, metrics at http://127.0.0.1:8080/metrics; "
        "Ctrl-C ends it\n"
        f"{controller.ifname}: 0 packets counted\n"
    )


def test_restart_keeps_options_port_and_folder(controller: Controller, tmp_path: Path) -> None:
    """A relative configuration is found again, from wherever restart is run."""
    other = controller.start()
    command = controller.command(
        "start", "--detached", "-i", controller.ifname, "-conf", "test.json", "-t", "0.5"
    )
    controller.namespace.popen(command, cwd=tmp_path, stdout=subprocess.PIPE).communicate(
        timeout=BOUND_S
    )
    controller.run("stop", str(other["pid"]))  # 8080 is free again, and not taken
    (before,) = controller.records()

    done = controller.run("restart", "8081")

    (after,) = controller.records()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"stopped instance {before['pid']} (port 8081)\n"
        f"instance {after['pid']} measures on {controller.ifname}, port 8081\n"
    )
    assert (after["port"], after["interval_s"]) == (8081, 0.5)
    changed = {"pid", "started"}
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }
    assert controller.targets()["127.0.0.1:8081"]["pid"] == str(after["pid"])


def test_restart_takes_a_monitor_from_its_terminal(controller: Controller) -> None:
    """It goes on detached, with a log."""
    words = ["-i", controller.ifname, "-conf", str(controller.config), "-server_port", "8090"]
    process = controller.popen_command(controller.command(*words, script="monitor.py"))
    wait_until(lambda: [one["state"] for one in controller.status()] == ["measuring"], BOUND_S, "")

    done = controller.run("restart", str(process.pid))

    process.communicate(timeout=BOUND_S)
    (status,) = controller.status()
    assert (done.returncode, process.returncode) == (0, 0)
    assert (status["port"], status["state"]) == (8090, "measuring")
    assert status["pid"] != process.pid
    assert status["log"] == str(controller.state / "logs" / f"{status['pid']}.log")


def test_restart_stops_nothing_that_could_not_start_again(controller: Controller) -> None:
    """A configuration that was broken meanwhile costs no measurement."""
    pid = controller.start()["pid"]
    controller.config.write_text('{"RULE": []}')

    done = controller.run("restart", str(pid))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{controller.config}: unknown key 'RULE', did you mean RULES?\n"
    assert [one["pid"] for one in controller.status()] == [pid]


def test_logs_follow_to_the_end(controller: Controller) -> None:
    """-f prints what comes, the final report too, and ends with the instance."""
    pid = controller.start()["pid"]
    follow = controller.popen("logs", "8080", "-f")
    assert follow.stdout
    assert follow.stdout.readline().startswith(f"measuring on {controller.ifname}")

    controller.run("stop", str(pid))

    assert follow.communicate(timeout=BOUND_S)[0] == f"{controller.ifname}: 0 packets counted\n"
    assert follow.returncode == 0
