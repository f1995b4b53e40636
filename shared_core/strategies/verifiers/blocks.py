"""Fenced blocks of a text: what is between two lines of three backticks.

In: text. Out: language and content of each closed block. One pass over bounded text.
"""

from __future__ import annotations

import textwrap
from typing import Final, NamedTuple

__all__ = ["Block", "blocks"]

_READ: Final = 100_000  # characters
_MOST_BLOCKS: Final = 50
_FENCE: Final = "```"


class Block(NamedTuple):
    """A fenced block: its language in lower case ("" where none is named) and what is in it."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the closed blocks of a text, in order."""
    found: list[Block] = []
    language: str | None = None
    lines: list[str] = []
    text = text[:_READ]
    for line in text.split("\n") if _FENCE in text else ():
        bare = line.strip()
        if not bare.startswith(_FENCE):
            lines.append(line)
        elif language is None or bare != _FENCE:
            language, lines = bare[len(_FENCE) :].strip().casefold()[:20], []
        else:
            found.append(Block(language, textwrap.dedent("\n".join(lines))))
            language, lines = None, []
        if len(found) == _MOST_BLOCKS:
            break
    return found
