"""From what the user wrote to candidates that every stage can rely on.

In: a list of `Candidate`s or a mapping of names to models. Out: a tuple, weakest first, in which
every strength is set and the capabilities hold what the models say of themselves, overridden by
what the user declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from shared_core.errors import ConfigurationError
from shared_core.types import Candidate

__all__ = ["prepare_candidates"]


def prepare_candidates(
    given: Mapping[str, Any] | Iterable[Candidate],
    look_at: Callable[[Candidate], tuple[Any, Mapping[str, Any]]],
) -> tuple[Candidate, ...]:
    """Complete the candidates and sort them by strength, weakest first.

    Args:
        given: `Candidate`s, or a mapping of names to models; weakest first.
        look_at: Returns a candidate's model and what it says of itself, under the keys of a
            LangChain model profile, and under `listing` how catalogues know it; the skin's
            knowledge.

    Raises:
        ConfigurationError: No candidate, two of one name, or something that is no candidate.
    """
    candidates = _as_candidates(given)
    if not candidates:
        raise ConfigurationError("candidates is empty: give at least one Candidate(name, model)")
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.name in seen:
            raise ConfigurationError(
                f"two candidates are named {candidate.name!r}: give each a name of its own"
            )
        seen.add(candidate.name)
    completed = (
        _complete(candidate, place / (len(candidates) + 1), *look_at(candidate))
        for place, candidate in enumerate(candidates, start=1)
    )
    return tuple(sorted(completed, key=lambda candidate: candidate.strength or 0.0))


def _as_candidates(given: object) -> list[Candidate]:
    if isinstance(given, Mapping):
        return [
            model if isinstance(model, Candidate) else Candidate(name, model)
            for name, model in given.items()
        ]
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ConfigurationError(
            "candidates must be a list of Candidate(name, model) or a mapping of names to models, "
            f"not {type(given).__name__}"
        )
    candidates = list(given)
    for item in candidates:
        if not isinstance(item, Candidate):
            raise ConfigurationError(
                f"candidates holds a {type(item).__name__}: wrap it as Candidate(name, model), "
                "or give a mapping of names to models"
            )
    return candidates


def _complete(
    candidate: Candidate, place: float, model: Any, stated: Mapping[str, Any]
) -> Candidate:
    capabilities = {**stated, **candidate.capabilities}
    listing = capabilities.pop("listing", None)
    window = candidate.context_window or capabilities.get("max_input_tokens")
    return replace(
        candidate,
        model=model,
        strength=place if candidate.strength is None else candidate.strength,
        context_window=window,
        listing=candidate.listing or listing,
        capabilities={
            key: value for key, value in capabilities.items() if key != "max_input_tokens"
        },
    )
