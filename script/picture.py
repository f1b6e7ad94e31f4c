"""A run of script/demo -> an SVG picture of the terminal, as a user sees it."""

from __future__ import annotations

import subprocess
import sys
from html import escape
from pathlib import Path

COMMAND = ("script/demo", "--duration", "1")
SHOWN = f"sudo {' '.join(COMMAND)}"

CHARACTER_WIDTH = 7.8  # of a monospace font of 13 pixels
LINE_HEIGHT = 17
MARGIN = 18
TITLE_BAR = 34

COLOURS = {"back": "#1d2433", "bar": "#2b3448", "text": "#d8dee9"}


def run_demo() -> list[str]:
    """Return the lines of a terminal: the command and all that it wrote, in its order."""
    done = subprocess.run(
        COMMAND,
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return [f"$ {SHOWN}", *done.stdout.splitlines()]


def draw(lines: list[str]) -> str:
    """Return an SVG of the lines in a terminal's window; needs no font of its own."""
    width = round(max(len(line) for line in lines) * CHARACTER_WIDTH) + 2 * MARGIN
    height = TITLE_BAR + len(lines) * LINE_HEIGHT + 2 * MARGIN
    dots = "".join(
        f'<circle cx="{20 + 18 * index}" cy="{TITLE_BAR // 2}" r="5.5" fill="{colour}"/>'
        for index, colour in enumerate(("#ec6a5e", "#f4bf4f", "#61c554"))
    )
    texts = "\n".join(
        _draw_line(line, TITLE_BAR + MARGIN + (index + 0.75) * LINE_HEIGHT)
        for index, line in enumerate(lines)
        if line
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" role="img" aria-label="{SHOWN} in a terminal">
<rect width="{width}" height="{height}" rx="8" fill="{COLOURS["back"]}"/>
<path d="M0 {TITLE_BAR}V8a8 8 0 0 1 8-8H{width - 8}a8 8 0 0 1 8 8V{TITLE_BAR}Z" \
fill="{COLOURS["bar"]}"/>
{dots}
<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="13" \
fill="{COLOURS["text"]}" xml:space="preserve">
{texts}
</g>
</svg>
"""


def _draw_line(line: str, y: float) -> str:
    """Draw one line; textLength keeps the columns whatever the font."""
    length = f'textLength="{len(line) * CHARACTER_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{MARGIN}" y="{y:g}" {length}>{escape(line, quote=False)}</text>'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(run_demo()), encoding="utf-8")
