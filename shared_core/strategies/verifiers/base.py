"""What every verifier offers: a generator that does no I/O, from a draft to its verdict.

Verifiers of a cascade are run one after the other, cheap ones first; each is given the probability
that the earlier ones have left (`Draft.prior`) and returns the new one, or that it cannot tell.
A plain function is a verifier too: see `as_verifiers`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number
from shared_core.types import Check, Draft, Verdict, Verification

__all__ = [
    "FunctionVerifier",
    "Verifier",
    "as_verifiers",
    "logit",
    "looked",
    "probability",
    "told",
    "weighed",
]

_SURE = 0.01
"""What is left of doubt where a function is certain."""


class Verifier(Protocol):
    """Tells how probable it is that a draft is right.

    It may also have `glance(draft)`, for a draft that is still growing (`draft.whole` is false): at
    once and without asking anybody it returns the probability and the standard deviation (log odds)
    of what the rest of the draft will move that by; or None, while there is too little.
    `inline_glance` is False where that takes more than a millisecond. It may have `reach`, the most
    by which it moves the log odds: it is not asked where that could not change what becomes of the
    draft. It may have `params` that the draft has to be asked with, as in `Ask.params`.
    """

    @property
    def name(self) -> str:
        """What records call it."""
        ...

    def verify(self, draft: Draft) -> Verification:
        """Look at a draft that has ended; see `Verification`."""
        ...


@dataclass(frozen=True)
class FunctionVerifier:
    """A function of the user's as a verifier.

    Attributes:
        function: Is given a `Draft` and returns how probable it makes it that the draft is right:
            0 to 1, where 0.5 says nothing; True or False for certainty, None where it cannot tell.
            It runs in a thread.
        limit_s: Seconds that it is waited for at most.

    Raises:
        ConfigurationError: It is no function, or a coroutine function.
    """

    function: Callable[[Draft], Any]
    limit_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be called."""
        if inspect.iscoroutinefunction(self.function) or not callable(self.function):
            raise ConfigurationError(
                f"a verifier is a function of a draft, or has a method 'verify'; not "
                f"{self.function!r}"
            )
        _require_seconds("limit_s", self.limit_s)

    @property
    def name(self) -> str:
        """The function's."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""

        def look(draft: Draft) -> Any:
            return told(draft.prior, self.function(draft))

        verdict: Verdict
        (verdict,) = yield (Check(self.name, look, draft, limit_s=self.limit_s),)
        return verdict


def as_verifiers(given: Any) -> tuple[Verifier, ...]:
    """Return verifiers out of one, several, or plain functions.

    Raises:
        ConfigurationError: Something is neither, or a verifier is a class or has no name.
    """
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return tuple(map(_as_verifier, listed))


def _as_verifier(one: Any) -> Verifier:
    if not hasattr(one, "verify"):
        return FunctionVerifier(one)
    if isinstance(one, type):
        raise ConfigurationError(f"{one.__name__} is a class: give a verifier, {one.__name__}(…)")
    name, params, reach = (getattr(one, known, None) for known in ("name", "params", "reach"))
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            f"a verifier has a name, a text, by which records call it: {one!r}"
        )
    if params is not None and not isinstance(params, Mapping):
        raise ConfigurationError(f"params of {name} must be a mapping, not {params!r}")
    if not isinstance(reach, (int, float, type(None))):
        raise ConfigurationError(f"reach of {name} must be a number, not {reach!r}")
    return cast(Verifier, one)


def looked(verifier: str, look: Callable[[Draft], Verdict], draft: Draft) -> Verification:
    """Have a draft looked at in passing: the whole of a verifier that is fast and asks nobody."""
    verdict: Verdict
    (verdict,) = yield (Check(verifier, look, draft, inline=True),)
    return verdict


def told(prior: float, said: Any) -> Any:
    """Return the probability that a user's word leaves; what is no word on it goes on its way.

    What holds one number, of numpy or torch, is that number.
    """
    if callable(getattr(said, "item", None)):
        said = said.item()
    if isinstance(said, bool):
        said = 1.0 - _SURE if said else _SURE
    return weighed(prior, said) if isinstance(said, (int, float)) else said


def weighed(prior: float, evidence: float) -> float:
    """Return the probability that evidence leaves: odds multiply (Bayes' rule).

    Raises:
        ValueError: The evidence is no number from 0 to 1.
    """
    if not 0 <= evidence <= 1:  # NaN neither
        raise ValueError(f"a probability is from 0 to 1, not {evidence!r}")
    return probability(logit(prior) + logit(evidence))


def logit(chance: float) -> float:
    """Return log odds, of a probability kept from certainty."""
    kept = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(kept / (1 - kept))


def probability(log_odds: float) -> float:
    """Return the probability of log odds."""
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -700.0), 700.0)))


def _require_seconds(label: str, value: object) -> None:
    if not is_number(value, 0) or not value:
        raise ConfigurationError(f"{label} must be a number of seconds over 0, not {value!r}")
