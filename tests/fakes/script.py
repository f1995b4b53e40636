"""What the in-process fakes of both frameworks share: their script and their record of calls.

In: a list of replies, one per call: a text, a list of texts (the exact chunks of a stream), a
native message, an exception, a `Break`, a function of the messages that returns one of these, or
None for the default answer. Out: a `Turn` per call, recorded as a `Call`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Break:
    """A reply that dies: a stream raises `error` after so many chunks, any other call at once.

    Attributes:
        error: What is raised.
        after: Chunks that arrive before it.
        reply: The reply that would have come, in any form that a script takes.
    """

    error: BaseException
    after: int = 0
    reply: Any = None


@dataclass(frozen=True)
class Call:
    """One call that reached a fake model.

    Attributes:
        model: The name of the model.
        method: How it was called, e.g. "generate", "astream" or "stream_chat".
        messages: The native messages or the prompt, as they came, not a copy.
        kwargs: The other arguments of the call, `stop`, `tools` and `tool_choice` among them.
    """

    model: str
    method: str
    messages: Any
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What the script says about one call.

    Attributes:
        said: A text or a native message; None for the default answer.
        cut: The chunks of the text, where the script fixes them.
        broken: How the call fails, if it does.
    """

    said: Any
    cut: list[str]
    broken: Break | None

    def chunks(self, default: list[str]) -> list[str]:
        """The chunks of a text: as the script cut it, else (a text cut short too) the default."""
        return self.cut if "".join(self.cut) == "".join(default) else default


def next_turn(
    replies: Sequence[Any] | None, turns: list[int], messages: Any, loops: Callable[[Any], bool]
) -> Turn:
    """Takes the next reply of a script; the last one goes on for ever.

    Args:
        replies: The script; empty for default answers alone.
        turns: The number of calls so far, in a list of one, which copies of a model share.
        messages: What a reply that is a function is called with.
        loops: Whether a repeated reply would keep an agent calling tools; it is left out then.
    """
    with _LOCK:
        index = turns[0]
        turns[0] += 1
    said = replies[min(index, len(replies) - 1)] if replies else None
    if callable(said):
        said = said(messages)
    broken = Break(said) if isinstance(said, BaseException) else said
    broken = broken if isinstance(broken, Break) else None
    said = broken.reply if broken else said
    if replies and index >= len(replies) and loops(said):
        said = None
    if isinstance(said, list):
        return Turn("".join(said), said, broken)
    return Turn(said, [], broken)
