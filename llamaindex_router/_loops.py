"""The tool loop in LlamaIndex's messages: what was called, and what came of it.

In: messages since the user's last turn, and the plain turns that they were read as. Out: the steps
of the loop. `FunctionAgent` keeps calls and results as data; `ReActAgent` writes them anew at every
step, as text, results in the user's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage

from shared_core.decision import loops
from shared_core.decision.loops import Result, call_text
from shared_core.types import Step, Turn

__all__ = ["call_parts", "is_an_agents", "loop_of"]

_ACTION: Final = "Action:"
_OBSERVED: Final = "Observation:"
_REPROACHED: Final = (
    "Error while parsing the output:",
    "FAILURE: Your previous response was empty.",
)
"""How `ReActAgent` begins a call, its result, and what it says to a call that cannot be parsed."""

_ERROR: Final = re.compile(
    r"""\s*(
        [\w.]*(Error|Exception):\s                             # as Python names them
        |Encountered\ error:|Traceback\ \(most\ recent\ call\ last\)
        |Tool\ \S+\ not\ found\.                              # an agent's own
        |\d+\ validation\ errors?\ for\                        # pydantic's
        |\w[\w.]*\(\)\ (missing|takes|got\ an\ unexpected)\     # arguments that do not fit
    )""",
    re.VERBOSE,
)
"""How a tool's error begins. Of `ToolOutput.is_error` LlamaIndex's agents keep nothing in their
messages, and of an exception its text alone."""

_FLAG: Final = "is_error"
"""In `additional_kwargs` of a tool's message: a workflow of one's own can say so."""


def is_an_agents(before: Turn, text: str) -> bool:
    """Tell whether what a user seems to say is `ReActAgent`'s, about the turn before."""
    if before.role != "assistant":
        return False
    return (text.startswith(_OBSERVED) and _ACTION in before.text) or text.startswith(_REPROACHED)


def loop_of(
    messages: Sequence[ChatMessage],
    turns: Sequence[Turn],
    author_of: Callable[[ChatMessage], str | None],
) -> tuple[Step, ...]:
    """Return the steps of a loop, oldest first.

    Args:
        messages: Those since the user's last turn.
        turns: The same as plain turns.
        author_of: Tells which candidate wrote a message.
    """
    return loops.loop_of(_said(messages, turns, author_of))


def _said(
    messages: Sequence[ChatMessage],
    turns: Sequence[Turn],
    author_of: Callable[[ChatMessage], str | None],
) -> Iterator[Step | Result]:
    for message, turn, after in zip_longest(messages, turns, turns[1:]):
        if turn.role == "tool":
            if not turn.text.startswith(_REPROACHED):
                yield _result(message, turn)
        elif turn.role == "assistant":
            calls, malformed = _calls_of(message)
            if not calls and after is not None and after.role == "tool":
                calls, malformed = _text_calls(turn, after)
            if calls or malformed:
                yield Step(author_of(message), calls, malformed=malformed)


def _result(message: ChatMessage, turn: Turn) -> Result:
    failed = _ERROR.match(turn.text.removeprefix(_OBSERVED)) is not None
    return Result(turn.text, failed or message.additional_kwargs.get(_FLAG) is True)


def _calls_of(message: ChatMessage) -> tuple[tuple[str, ...], bool]:
    """Return the calls that are data, and whether arguments of one are no JSON."""
    found = [
        (getattr(block, "tool_name", ""), getattr(block, "tool_kwargs", None) or {})
        for block in message.blocks
        if getattr(block, "block_type", "") == "tool_call"
    ]
    kept = message.additional_kwargs.get("tool_calls") or ()
    decoded = [(name, _decoded(args)) for name, args in found or [call_parts(c)[1:] for c in kept]]
    malformed = any(args is None for _, args in decoded)
    return tuple(call_text(name, args) for name, args in decoded), malformed


def _text_calls(turn: Turn, after: Turn) -> tuple[tuple[str, ...], bool]:
    """Return the call that is text, or that it could not be parsed."""
    if after.text.startswith(_REPROACHED):
        return (), True
    _, action, written = turn.text.partition(_ACTION)
    return ((written.strip(),) if action else ()), False


def call_parts(call: Any) -> tuple[str | None, str, Any]:
    """Return id, name and arguments of a tool call in one of the shapes of the providers' SDKs."""
    function = _get(call, "function") or call
    name = _get(function, "name") or ""
    encoded = (_get(function, key) for key in ("arguments", "input", "args"))
    return _get(call, "id"), name, next(filter(None, encoded), {})


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, Mapping) else getattr(holder, key, None)


def _decoded(args: Any) -> Any:
    """Return arguments as data; None where they are text that is no JSON."""
    if not isinstance(args, str):
        return args
    try:
        return json.loads(args) if args.strip() else {}
    except (ValueError, RecursionError):
        return None
