"""Whether replies say the same: what strategies that ask several times group answers by.

In: replies. Out: a key each, equal for those that say the same; None for one that cannot be
compared, such as an essay. Tool calls are compared by names and arguments, structured output as
canonical JSON, text by its final answer or by a function of the user's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from shared_core.errors import ConfigurationError
from shared_core.strategies.verifiers.answers import final_answer
from shared_core.types import Reply

__all__ = ["Same", "apart", "as_json", "key_of", "require_same"]

Same = Callable[[str, str], bool]
"""Tells whether two texts give the same answer; fast and without I/O, for it runs inline."""

_APART: Final = 1e-6

_DEEPEST: Final = 50
"""Levels of a value that are compared: no schema goes deeper, a cycle does."""


def key_of(reply: Reply, same: Same | None = None) -> Hashable | None:
    """Return what a reply is known by: equal keys are the same answer; None cannot be compared.

    Args:
        reply: One that has not failed, else None comes out.
        same: Is given the texts of two replies instead; where one is tool calls or structured
            output without a text, the canonical JSON of that. A key then equals those that it
            calls the same; where it raises, they are not.
    """
    if reply.error is not None or reply.parse_error is not None:
        return None
    value = _json_of(reply)
    if same is not None:
        text = reply.text.strip() or value
        return None if text is None else _Alike(text, same)
    return final_answer(reply.text) if value is None else ("json", value)


def require_same(owner: str, same: object) -> None:
    """Refuse what cannot tell whether two texts are the same.

    Raises:
        ConfigurationError: It is neither None nor a function.
    """
    if same is not None and not callable(same):
        raise ConfigurationError(f"{owner}: same must be a function of two texts, not {same!r}")


def apart(temperature: float, number: int) -> float:
    """Return the temperature of the n-th sample, from 0, of one candidate.

    It is a millionth lower for each: a cache would take a sample for the one before if it were
    asked for alike.
    """
    return round(temperature * (1.0 - _APART * number), 9)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Alike:
    """A text that equals those which the user's function calls the same."""

    text: str
    same: Same

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Alike):
            return NotImplemented
        if self.text == other.text:
            return True
        try:
            return bool(self.same(self.text, other.text))
        except Exception:  # noqa: BLE001 - the user's own function: what it raises tells nothing
            return False

    def __hash__(self) -> int:
        return hash(_Alike)  # one for all: only the function knows which are equal


def _json_of(reply: Reply) -> str | None:
    """Return canonical JSON of tool calls or structured output; None for plain text."""
    if reply.tool_calls:  # side by side: their order says nothing
        return json.dumps(sorted(_canonical([name, args]) for name, args in reply.tool_calls))
    return None if reply.parsed is None else _canonical(reply.parsed)


def _canonical(value: Any) -> str:
    """Return JSON that is equal for equal values, whatever the order of their keys."""
    return as_json(value, sort_keys=True)


def as_json(value: Any, *, sort_keys: bool = False) -> str:
    """Return any value as JSON, its keys in their own order, as whoever wrote it meant them."""
    return json.dumps(_plain(value), sort_keys=sort_keys, ensure_ascii=False)


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value in JSON's own types: 2.0 is 2, a text has no blanks around it."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return "" if depth > _DEEPEST else _plain_parts(_opened(value), depth + 1)


def _plain_parts(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_plain(item, depth), sort_keys=True) for item in value)
    return str(value)


def _opened(value: Any) -> Any:
    """Return a model of pydantic's, which the core knows not, or a data class as a mapping."""
    if callable(dump := getattr(value, "model_dump", None)):
        try:
            return dump(mode="json")
        except (TypeError, ValueError):  # it has fields that are no JSON
            return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value
