"""What others wrote, as data for a model to read: between marks, and no longer than there is room.

In: texts. Out: the same, quoted. All work is linear in the texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared_core.tokens import size_of

__all__ = ["between", "fitted"]

_GAP = "\n[...]\n"


def between(name: str, mark: str, text: str) -> str:
    """Return a text between two lines with a mark: one that its writer cannot have known."""
    return f"--- {name} {mark} ---\n{_sendable(text)}\n--- END OF {name} {mark} ---"


def fitted(texts: Sequence[str], room: int) -> list[str]:
    """Return texts that have so many bytes of UTF-8 together: long ones lose their middle first.

    What short ones leave of an equal share goes to the others.
    """
    sizes = [size_of(text) for text in texts]
    shares = list(sizes)
    for place, at in enumerate(sorted(range(len(texts)), key=sizes.__getitem__)):
        shares[at] = min(sizes[at], max(0, room) // (len(texts) - place))
        room -= shares[at]
    return [
        text if size <= share else _without_middle(text, share)
        for text, size, share in zip(texts, sizes, shares, strict=True)
    ]


def _without_middle(text: str, size: int) -> str:
    """Return both ends of a text: what it says in the end is at the end."""
    half = max(0, size - len(_GAP)) // 2
    data = text.encode("utf-8", "replace")
    ends = data[:half], data[len(data) - half :]
    return _GAP.join(end.decode("utf-8", "ignore") for end in ends)[: max(0, size)]


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")  # half a character cannot be sent
