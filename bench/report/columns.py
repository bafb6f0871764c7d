"""Figures in columns, as plain text for a console or a log."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


def columns(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A line of names and one for each row, aligned to the right, as wide as it needs."""
    table = Table(*names, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.justify, column.no_wrap = "right", True
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    # Neither colour nor the terminal's width: the text is also written to files.
    Console(file=text, width=1000, color_system=None, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
