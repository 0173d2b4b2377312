"""What a session shows of itself in a console or notebook: a label and a text on each line."""

from __future__ import annotations

import html
import textwrap

Lines = list[tuple[str, str]]


def as_text(lines: Lines) -> str:
    """Return the lines for a console."""
    shown = ["EcephysSession"]
    for label, text in lines:
        first, rest = f"  {label:<11} ", " " * 14
        shown += textwrap.wrap(text, 80, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return "\n".join(shown)


def as_html(lines: Lines) -> str:
    """Return the lines as a table for a notebook."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>"
        for label, text in lines
    )
    return f"<div><b>EcephysSession</b><table>{rows}</table></div>"


def ending(text: str, length: int) -> str:
    """Return the end of a text, at most so long."""
    return text if len(text) <= length else f"...{text[3 - length :]}"
