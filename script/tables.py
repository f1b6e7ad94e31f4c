"""Code -> the tables of README.md: options, keys, lines, columns, fields, metrics, statuses.

Replaces what stands between <!-- begin NAME --> and <!-- end NAME -->; knows where the code says
each fact, and adds none of its own.
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vtap.config import KEYS, Display
from vtap.errors import VtapError
from vtap.measurements import MEASUREMENTS, Block
from vtap.options import make_parser
from vtap.outputs.jsonlines import FIELDS
from vtap.outputs.logfile import sorted_columns
from vtap.outputs.prometheus import Latest, make_families
from vtap.rules import ALL_RULES, Protocol
from vtap.samples import UNPARSED_REASONS, InterfaceSample, ProgramAccount, Sample, StreamKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"

CONSOLE_UNITS = {
    ("bytes per second", 1e-6): "10^6 bytes per second; with `-b` `[Mbits/sec]`, 10^6 bits",
    ("seconds", 1e3): "milliseconds",
}
METRIC_UNITS = {
    "_packets_total": "packets",
    "_seconds": "seconds",
    "_seconds_total": "seconds",
    "_runs_total": "runs",
    "_info": "",
    "_up": "",
}
"""Units of the metrics about vTap itself, by the end of their name."""


def render_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def code(text: str) -> str:
    """Return text as Markdown code; nothing stays nothing."""
    return f"`{text}`" if text else ""


def sentence(text: str) -> str:
    """Return text with a capital and no full stop."""
    return text[:1].upper() + text[1:].rstrip(".")


def render_options() -> str:
    """Tabulate what --help lists."""
    rows = []
    for action in make_parser("monitor.py")._actions:  # noqa: SLF001 - argparse has no other list
        words = ", ".join(code(option) for option in action.option_strings)
        values = [str(action.metavar)] if action.metavar else action.choices or ()
        meaning, _, default = (action.help or "").partition(" (default: ")
        rows.append([words, ", ".join(map(code, values)), sentence(meaning), default.rstrip(")")])
    return render_table(["Option", "Value", "Meaning", "Default"], rows)


def render_keys() -> str:
    """Tabulate the configuration's keys."""
    rows = [[code(key.name), key.values, sentence(key.help), code(key.default)] for key in KEYS]
    return render_table(["Key", "Value", "Meaning", "Default"], rows)


def render_config() -> str:
    """Show config.json as it is."""
    return f"```jsonc\n{(REPOSITORY / 'config.json').read_text(encoding='utf-8')}```"


def render_display() -> str:
    """Tabulate what each switch of DISPLAY has measured."""
    rows = [
        [code(display.value), ", ".join(code(r.name) for r in MEASUREMENTS if r.display is display)]
        for display in Display
    ]
    return render_table(["Switch", "What it has measured (names as in the JSON lines)"], rows)


def render_lines() -> str:
    """Tabulate the lines of the text console, block by block."""
    shown = [(row, row.line) for row in MEASUREMENTS if row.line]
    rows = []
    for row, line in sorted(shown, key=lambda pair: list(Block).index(pair[1].block)):
        before = line.before.format(protocol="TCP", unit="MBytes/sec").strip()
        unit = row.unit if line.scale == 1 else CONSOLE_UNITS[row.unit, line.scale]
        rows.append([line.block.value, code(before), unit, row.help, row.basis.value])
    return render_table(["Block", "Line", "Unit", "Meaning", "Of"], rows)


def render_columns() -> str:
    """Tabulate the columns of the log file that each protocol has."""
    by_name = {row.name: row for row in MEASUREMENTS}
    rows = [
        [code(f"X_{column.title}"), _log_unit(by_name[name].unit, column.title), by_name[name].help]
        for name, column in sorted_columns()
    ]
    return render_table(["Column", "Unit", "Meaning"], rows)


def _log_unit(unit: str, title: str) -> str:
    in_title = re.search(r"\((.*)\)", title)
    return in_title.group(1) if in_title else unit


def render_fields() -> str:
    """Tabulate the members of a JSON line."""
    rows = [[code(field.name), field.unit, field.help, ""] for field in FIELDS]
    rows += [[code(row.name), row.unit, row.help, row.basis.value] for row in MEASUREMENTS]
    return render_table(["Member", "Unit", "Meaning", "Of"], rows)


def render_metrics() -> str:
    """Tabulate every series of an endpoint that has measured one stream."""
    units = {row.metric.name: row.unit for row in MEASUREMENTS if row.metric}
    rows = []
    for family in make_families(_make_latest()):
        sample = family.samples[0]
        unit = units.get(sample.name)
        if unit is None:
            end = max((end for end in METRIC_UNITS if sample.name.endswith(end)), key=len)
            unit = METRIC_UNITS[end]
        labels = ", ".join(code(label) for label in sample.labels)
        rows.append([code(sample.name), family.type, labels, unit, family.documentation])
    return render_table(["Series", "Type", "Labels", "Unit", "Meaning"], rows)


def _make_latest() -> Latest:
    """Return what an endpoint has when everything it can show is there."""
    key = StreamKey("eth0", ALL_RULES, Protocol.TCP)
    interface = InterfaceSample(
        up=True, unmatched=0, merged=0, unparsed=dict.fromkeys(UNPARSED_REASONS, 0)
    )
    sample = Sample(0, 0.0, {}, {"eth0": interface}, ProgramAccount(0.0, 0))
    return Latest({key: {row.name: 1 for row in MEASUREMENTS}}, sample)


def render_reasons() -> str:
    """Tabulate why a frame is in no stream: enum outcome of bpf/packet.h."""
    header = (REPOSITORY / "bpf" / "packet.h").read_text(encoding="utf-8")
    members = re.findall(r"^\t([A-Z_]+), /\* (.*) \*/$", header, re.MULTILINE)
    rows = [(name.lower(), _resolve_numbers(text, header)) for name, text in members]
    if tuple(name for name, _ in rows) != UNPARSED_REASONS:
        message = f"bpf/packet.h explains {[name for name, _ in rows]}, not {UNPARSED_REASONS}"
        raise ValueError(message)
    return render_table(["Reason", "Why"], [[code(name), text] for name, text in rows])


def _resolve_numbers(text: str, header: str) -> str:
    """Put the number that a header gives for each MAX_... into a text."""
    numbers = dict(re.findall(r"^#define (MAX_\w+) (\d+)", header, re.MULTILINE))
    return re.sub(r"MAX_\w+", lambda match: str(numbers[match.group()]), text)


def render_statuses() -> str:
    """Tabulate the exit statuses: those of the errors, by their docstrings."""
    meanings: dict[int, list[str]] = {}
    for error in VtapError.__subclasses__():
        meaning = (error.__doc__ or "").splitlines()[0]
        meanings.setdefault(error.exit_status, []).append(meaning)
    rows = [(0, "Done: `--duration` is over, Ctrl-C, SIGTERM, or nobody reads the pipe any more.")]
    rows += [(1, "Anything else; a traceback only with `--debug`.")]
    rows += [(status, " ".join(texts)) for status, texts in meanings.items()]
    return render_table(
        ["Status", "Meaning"], [[str(status), text] for status, text in sorted(rows)]
    )


def render_accuracy() -> str:
    """Take the summary of the truth table, and when and where it was printed."""
    text = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8")
    printed = re.search(r"^Printed by .*?\n(?=Sequence faults)", text, re.DOTALL | re.MULTILINE)
    summary = re.search(r"^## Summary\n\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    if not (printed and summary):
        message = "docs/accuracy.md: no heading or no summary; run script/accuracy"
        raise ValueError(message)
    return f"{printed[0]}\n{summary[1]}"


TABLES: dict[str, Callable[[], str]] = {
    "options": render_options,
    "config": render_config,
    "keys": render_keys,
    "display": render_display,
    "lines": render_lines,
    "columns": render_columns,
    "fields": render_fields,
    "metrics": render_metrics,
    "reasons": render_reasons,
    "statuses": render_statuses,
    "accuracy": render_accuracy,
}


def fill(text: str) -> str:
    """Return a document with every table made anew; ValueError names one without its place."""
    for name, render in TABLES.items():
        begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            message = f"no <!-- begin {name} --> ... <!-- end {name} -->"
            raise ValueError(message)
        text = before + begin + render() + end + after
    return text


def main(arguments: list[str]) -> int:
    """Write README.md; with --check only say what would change, and return 1 if anything does."""
    old = README.read_text(encoding="utf-8")
    new = fill(old)
    if arguments == ["--check"]:
        sys.stdout.writelines(
            difflib.unified_diff(
                old.splitlines(keepends=True), new.splitlines(keepends=True), "README.md", "code"
            )
        )
        return int(old != new)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
