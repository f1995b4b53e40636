"""What came back from one candidate, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared_core.ranges import is_number

__all__ = ["Energy", "Reply", "Usage", "usage_of_counts"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model itself counted them; see `usage_of_counts`.

    Attributes:
        input_tokens: All that it read, those out of and into a prompt cache included.
        output_tokens: All that it wrote, reasoning included.
        cached_tokens: Of the input, what came out of the provider's prompt cache.
        cache_write_tokens: Of the input, what was written into it.
        reasoning_tokens: Of the output, hidden reasoning.
        free: The framework's own cache answered: no model ran, nobody is paid.
        estimated: Nobody counted them: they are told from the texts.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    free: bool = False
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.free and other.free,
            self.estimated or other.estimated,
        )


def usage_of_counts(
    input_tokens: object,
    output_tokens: object,
    cached_tokens: object = 0,
    cache_write_tokens: object = 0,
    reasoning_tokens: object = 0,
    *,
    free: bool = False,
) -> Usage | None:
    """Return the usage that a model reports, or None where that cannot be one.

    Input and output must be whole numbers from 0 up: missing, negative, NaN, absurdly great is
    unknown. A part that is none, or more than its whole, counts as 0.
    """
    whole = [_count(input_tokens), _count(output_tokens)]
    if whole[0] is None or whole[1] is None:
        return None
    read, written = _count(cached_tokens) or 0, _count(cache_write_tokens) or 0
    if read + written > whole[0]:
        read = written = 0
    thought = _count(reasoning_tokens) or 0
    return Usage(whole[0], whole[1], read, written, thought if thought <= whole[1] else 0, free)


_MOST_TOKENS = 2**53  # whole numbers up to here are exact as floats, and in every store


def _count(value: object) -> int | None:
    return int(value) if is_number(value, 0, _MOST_TOKENS) and value == int(value) else None


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy in Wh: the best guess, the range it is believed to lie in, and how it is known.

    Attributes:
        low: Wh.
        mid: Wh.
        high: Wh.
        method: For instance "declared", "EcoLogits 0.11.3", "measured (NVML)".
    """

    low: float
    mid: float
    high: float
    method: str

    def __add__(self, other: Energy) -> Energy:
        """Return both together: ends are added, as for errors that go the same way."""
        methods = dict.fromkeys([*self.method.split(" + "), *other.method.split(" + ")])
        ends = self.low + other.low, self.mid + other.mid, self.high + other.high
        return Energy(*ends, " + ".join(methods))


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one candidate. A failed call is data too.

    Attributes:
        candidate: Its name.
        native: The framework's own object, or those of a stream that the caller has seen; the core
            hands it back and never looks into it.
        text: Its plain text.
        parsed: The structured output, where one was asked for.
        parse_error: Why the answer could not be parsed into it.
        usage: None where the model reports none.
        seconds: Wall-clock time of the attempt, noted by the run.
        error: What it raised, or None.
        retryable: Another candidate (or a later try) might succeed where this one failed.
        tool_calls: (name, arguments) of each tool that it calls.
        finish_reason: Why it ended, as the provider says; "dropped" where a watch ended it.
        logprobs: Natural log probability of each token of the text; None where nobody tells.
        shown: It failed after somebody had seen a part of it, so that no other answer may follow.
    """

    candidate: str
    native: Any = field(default=None, repr=False)
    text: str = ""
    parsed: Any = None
    parse_error: Exception | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    error: Exception | None = None
    retryable: bool = False
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None
    shown: bool = False
