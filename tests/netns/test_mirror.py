"""The README's mirror of a Linux interface, its commands run as they stand there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.frames import ethernet, ipv4, send_frames, udp
from tests.support.netns import Namespace, unique_name
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.netns import Veth

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 30
ARRIVAL_S = 10


def readme_commands(marker: str, names: Mapping[str, str]) -> list[list[str]]:
    """Take the commands of the block behind a marker, each name of an interface replaced."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"<!-- {marker}\b.*?-->\n```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    commands = [line.removeprefix("sudo ").split() for line in block[1].splitlines()]
    return [[names.get(word, word) for word in command] for command in commands]


class Monitor:
    """monitor.py in a namespace, what it wrote, and its last totals."""

    def __init__(self, namespace: Namespace, ifname: str, folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        command = ["/usr/bin/python3", REPOSITORY / "monitor.py", "-i", ifname, "-t", "0.1"]
        command += ["-conf", REPOSITORY / "config.json", "-server_port", "0", "--format", "json"]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.child = namespace.popen([str(word) for word in command], stdout=out, stderr=err)
        wait_until(
            lambda: "measuring on" in self._err.read_text(),
            START_S,
            "the monitor",
            seen=self._err.read_text,
        )

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by protocol, of the last whole line of each."""
        lines = self._out.read_text().split("\n")[:-1]
        objects = [json.loads(line) for line in lines]
        return {o["protocol"]: (o["packets_total"], o["bytes_total"]) for o in objects}

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.child.send_signal(signal.SIGINT)
        assert self.child.wait(START_S) == 0


def test_a_mirrored_interface_is_counted_in_both_directions(
    veth: Veth, namespace: Namespace, tmp_path: Path
) -> None:
    """Of 23 frames in and 7 out at the mirrored interface the mirror's end counts 30, and none once
    the mirror is gone.
    """
    names = {"eth1": veth.right.ifname, "mirror0": unique_name("m"), "mirror1": unique_name("m")}
    incoming = ethernet(ipv4(udp(bytes(100))))
    outgoing = ethernet(ipv4(udp(bytes(200))))
    total = (23 + 7, 23 * len(incoming) + 7 * len(outgoing))
    for command in readme_commands("mirror", names):
        namespace.run(command)
    monitor = Monitor(namespace, names["mirror1"], tmp_path)

    send_frames(veth.left, [incoming] * 23)
    send_frames(veth.right, [outgoing] * 7)
    wait_until(
        lambda: monitor.totals().get("UDP") == total, ARRIVAL_S, f"{total}", seen=monitor.totals
    )

    unmirror, *rest = readme_commands("unmirror", names)
    namespace.run(unmirror)
    send_frames(veth.left, [incoming] * 5)
    monitor.stop()
    assert monitor.totals() == {"TCP": (0, 0), "UDP": total, "ICMP": (0, 0)}

    for command in rest:
        namespace.run(command)
    assert names["mirror0"] not in subprocess.check_output(
        ["ip", "-n", namespace.name, "link"], text=True
    )
