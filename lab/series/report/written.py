"""The report's files: the data, and what is made of it, and what a terminal shows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nvscope.lab.series.execution.store import Store
from nvscope.lab.series.report.junit import junit
from nvscope.lab.series.report.markdown import rows, table
from nvscope.lab.series.report.page import page

WIDE = 200  # columns
JSON, HTML, JUNIT, TABLE = "report.json", "report.html", "junit.xml", "table.md"


def write(store: Store, data: Mapping[str, Any]) -> None:
    """Write all. Raises LackError."""
    store.write(store.folder / JSON, json.dumps(data, indent=1) + "\n")
    store.write(store.folder / JUNIT, junit(data))
    store.write(store.folder / TABLE, table(data))
    store.write(store.folder / HTML, page(data))


def show(data: Mapping[str, Any]) -> None:
    """Print the one table, and what is wrong in a line each."""
    head, *others = rows(data)
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for cell in head:
        shown.add_column(Text(cell), overflow="fold")
    for row in others:
        shown.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        # In a file a wide table is read better than one whose numbers are folded.
        console.width = WIDE
    console.print(shown)
    for wrong in data["wrong"]:
        first = wrong["problems"][0]
        where = f"{wrong['subject']}: {wrong['check']}, {wrong['item']}"
        console.print(Text(f"WRONG {where}: {first['kind']}: {first['said']}"), soft_wrap=True)
