"""Run every scenario and print the truth table as Markdown; script/accuracy starts it.

The scenarios are those of the tests, which fail where a line of this table is wrong.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance import applications, jitter, sequence, throughput, transfer
from tests.acceptance.faults import SEED
from tests.acceptance.rows import Row, in_order, render_summary, render_table, wrong_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

HEADING = """\
# How exact vTap is

Printed by `script/accuracy >docs/accuracy.md` on {date}:
{cpus} CPUs ({cpu}), Linux {kernel}, {distribution};
{tools}.
Sequence faults were drawn from VTAP_SEED={seed}, which repeats them.

`tests/acceptance` runs the same scenarios and fails where vTap is not exact: totals and sequence
errors must be equal, times agree within 50 us or 1 %. Truth is what was sent, as the sender and
the interface's own counters have it; for times between packets it is tcpdump's nanosecond time of
the same packets. The floor of these times here, the most by which the two differ: {mean_us:.1f} us
for means, {deviation_us:.1f} us for deviations.

## Summary

"""

NOTES = """
## Notes

* Printed rates, vTap's by `-test_throughput` and bmon's, each of a second, add up to the run within
  1 %: an interval is some milliseconds more or less, and its line does not say so.
* `bmon as printed`: bmon prints a moving average, y = (3 x + y') / 4, but the first rate whole.
  A start of traffic therefore adds a third of its first interval to the sum: up to 1/3 s of 10 s.
  Undone (x = (4 y - y') / 3), bmon and vTap agree. While an interface's counter is still 0, bmon
  also leaves out what comes before its next reading.
* bmon has no rules: beside a rule set stands its sum times the set's share of what was sent.
* An interface's own counters are not always those of the wire: merged frames (TSO) count once, with
  one header, and a veth whose receiver merges (GRO) counts without the 14 bytes of Ethernet header.
* iperf3's server stops reading when the client says that it is over: bytes and losses among what is
  then still on its way are in its client's and in vTap's figures alone.
"""


def scenarios() -> Iterator[Callable[[Path], list[Row]]]:
    """Yield what makes rows in an empty folder, in the order of the table."""
    for pace in throughput.PACES:
        yield partial(_measure, throughput.run_throughput, throughput.make_rows, pace)
    for gap in jitter.GAPS:
        yield partial(_measure, jitter.run_jitter, jitter.make_rows, gap)
    for carrier in sequence.CARRIERS:
        yield partial(_measure, sequence.run_sequence, sequence.make_rows, carrier)
    yield sequence.run_trafgen_counters
    yield applications.iperf3_tcp_rows
    yield applications.iperf3_udp_rows
    yield partial(applications.iperf3_udp_rows, shaped_to=applications.BUCKET)
    yield applications.ping_rows
    for offloads in transfer.OFFLOADS:
        yield partial(transfer.file_rows, offloads=offloads)


def _measure(
    run: Callable[[Any, Path], Any], make_rows: Callable[[Any], list[Row]], what: Any, folder: Path
) -> list[Row]:
    return make_rows(run(what, folder))


def main() -> int:
    """Print the table; 1 if a line is wrong."""
    rows: list[Row] = []
    for number, scenario in enumerate(scenarios(), 1):
        with tempfile.TemporaryDirectory() as folder:
            rows += scenario(Path(folder))
        sys.stderr.write(f"script/accuracy: scenario {number} done\n")
    rows = in_order(rows)
    sys.stdout.write(render_heading(rows) + render_summary(rows) + NOTES)
    sys.stdout.write("\n## Every figure\n\n" + render_table(rows))
    wrong = wrong_rows(rows)
    for row in wrong:
        sys.stderr.write(f"script/accuracy: wrong: {row}\n")
    return 1 if wrong else 0


def render_heading(rows: list[Row]) -> str:
    """Say where and when, and what floor the times have."""
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    release = Path("/etc/os-release").read_text()
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.MULTILINE)
    return HEADING.format(
        date=datetime.now(timezone.utc).date(),
        cpu=cpus[0] if cpus else platform.machine(),
        cpus=os.cpu_count(),
        kernel=platform.release(),
        distribution=system[1] if system else platform.system(),
        tools=", ".join(_versions()),
        seed=SEED,
        mean_us=_largest_error(rows, jitter.MEAN) * 1e3,
        deviation_us=_largest_error(rows, jitter.DEVIATION) * 1e3,
    )


def _largest_error(rows: list[Row], measurement: str) -> float:
    return max(
        abs(row.error()) for row in rows if row.measurement == measurement and row.truth is not None
    )


def _versions() -> Iterator[str]:
    for command in ("trafgen -v", "bmon -V", "tcpdump --version", "tshark -v", "iperf3 -v"):
        words = command.split()
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        yield f"{words[0]} {found[0] if found else ''}".strip()


if __name__ == "__main__":
    sys.exit(main())
