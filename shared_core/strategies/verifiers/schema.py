"""Whether a value is what a JSON schema asks for, as far as a definite "no" goes.

In: a JSON value and a schema (a mapping). Out: what does not fit, in words, or None. Of JSON Schema
the part is read that languages' types are made of: `type`, `enum`, `const`, `required`,
`properties`, `additionalProperties: false`, `items`, `anyOf`, `oneOf`, `allOf` and `$ref` inside
the schema. All else, and whatever lies deeper or further than the bounds, is taken to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeGuard

__all__ = ["misfit"]

_MOST_VISITS: Final = 2_000  # pairs of a value and a schema
_DEEPEST: Final = 30


def misfit(value: Any, schema: Any) -> str | None:
    """Return what of a value does not fit a schema, in words and without the value; else None."""
    return _Look(schema).at(value, schema, 0)


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": _is_list,
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value % 1 == 0,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


class _Look:
    """One comparison: the whole schema, for references, and how much work is left."""

    def __init__(self, root: Any) -> None:
        self.root, self.left = root, _MOST_VISITS

    def at(self, value: Any, schema: Any, depth: int) -> str | None:
        self.left -= 1
        if self.left < 0 or depth > _DEEPEST or not isinstance(schema, Mapping):
            return None
        rules = (self._reference, _type, _choice, self._properties, self._items, self._combined)
        return next((why for rule in rules if (why := rule(value, schema, depth))), None)

    def _reference(self, value: Any, schema: Mapping[str, Any], depth: int) -> str | None:
        path = schema.get("$ref")
        if not isinstance(path, str) or not path.startswith("#/"):
            return None
        found = self.root
        for key in path[2:].split("/")[:_DEEPEST]:
            found = found.get(key) if isinstance(found, Mapping) else None
        return self.at(value, found, depth + 1)

    def _properties(self, value: Any, schema: Mapping[str, Any], depth: int) -> str | None:
        if not isinstance(value, Mapping):
            return None
        known = schema.get("properties")
        known = known if isinstance(known, Mapping) else {}
        required = schema.get("required")
        names = [key for key in required if isinstance(key, str)] if _is_list(required) else []
        if any(name not in value for name in names):
            return "a required field is missing"
        if schema.get("additionalProperties") is False and any(key not in known for key in value):
            return "a field is not in the schema"
        inside = (self.at(value[key], known[key], depth + 1) for key in known if key in value)
        return next(filter(None, inside), None)

    def _items(self, value: Any, schema: Mapping[str, Any], depth: int) -> str | None:
        if not _is_list(value) or not isinstance(schema.get("items"), Mapping):
            return None
        some = islice(value, _MOST_VISITS)
        return next(filter(None, (self.at(one, schema["items"], depth + 1) for one in some)), None)

    def _combined(self, value: Any, schema: Mapping[str, Any], depth: int) -> str | None:
        for key in ("anyOf", "oneOf"):
            options = schema.get(key)
            tried = options if _is_list(options) else ()
            if tried and all(self.at(value, option, depth + 1) for option in tried):
                return "no alternative of the schema fits"
        parts = schema.get("allOf")
        inside = (self.at(value, part, depth + 1) for part in parts) if _is_list(parts) else ()
        return next(filter(None, inside), None)


def _type(value: Any, schema: Mapping[str, Any], _depth: int) -> str | None:
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted if _is_list(wanted) else []
    known = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
    if not known or len(known) < len(names) or any(fits(value) for fits in known):
        return None
    return "a value has another type than the schema's"


def _choice(value: Any, schema: Mapping[str, Any], _depth: int) -> str | None:
    options = schema.get("enum")
    options = [schema["const"]] if "const" in schema else options
    if not _is_list(options) or any(value == option for option in options):
        return None
    return "a value is none of those that the schema allows"
