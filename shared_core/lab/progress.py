"""Progress of long work on standard error: a bar where rich and a terminal are there, else lines.

In: a label. Out: a function that is told (steps done, steps in all).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["shown"]

Progress = Callable[[int, int], None]


@contextmanager
def shown(label: str) -> Iterator[Progress]:
    """Show the progress of what happens inside."""
    try:
        from rich.console import Console
        from rich.progress import Progress as Bar
    except ImportError:
        yield _lines(label)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(label)
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(label: str) -> Progress:
    """Say every tenth, once."""
    said = -1

    def tell(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(1, total)
        if tenth > said:
            said = tenth
            print(f"{label}: {10 * tenth} %", file=sys.stderr, flush=True)

    return tell
