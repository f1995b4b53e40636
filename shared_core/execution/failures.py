"""What a failure means: told without knowing any vendor's SDK.

In: an error that a call raised. Out: its kind, and how long the server asked to be left alone.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from shared_core.errors import StreamInterruptedError

__all__ = ["Kind", "behind", "is_billed", "is_signal", "kind_of", "retry_after"]

Kind = Literal["unavailable", "too long"]
"""Failures that another candidate may mend: this one is not to be had now, or has no room."""

_UNAVAILABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP: timeout, conflict, too early, rate limit, server errors, overloaded (Anthropic)."""

_UNAVAILABLE_NAMES = frozenset(
    {
        "APIConnectionError",
        "APIResponseValidationError",
        "APITimeoutError",
        "ConnectError",
        "InternalServerError",
        "OverloadedError",
        "RateLimitError",
        "ServiceUnavailableError",
        "TimeoutException",
        "TransportError",
    }
)
"""Class names of the same conditions in the vendors' SDKs (openai, anthropic, httpx, …)."""

_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|maximum context|prompt is too long|too many (input )?tokens"
    r"|input (is )?too long|exceeds? the (model'?s )?(max|context|token)"
    r"|reduce the length of the (messages|prompt)",
    re.IGNORECASE,
)
"""How vendors word a 400 or 413 for a prompt that does not fit: OpenAI, Anthropic, Google,
Mistral, vLLM, llama.cpp, Ollama."""

_LONGEST_HINT_S = 86_400.0


def kind_of(error: BaseException) -> Kind | None:
    """Tell what kind of failure it is; None for one that no other candidate would mend.

    Told by the HTTP status that the error carries, else by the operating system's own connection
    errors and by an answer that is no JSON, else by the names of its classes.
    """
    error = behind(error)
    names = {cls.__name__ for cls in type(error).__mro__}
    status = getattr(error, "status_code", None)
    if "ContextOverflowError" in names or (status in (400, 413) and _TOO_LONG.search(str(error))):
        return "too long"
    if isinstance(status, int) and status >= 400:
        return "unavailable" if status in _UNAVAILABLE_STATUS else None
    if isinstance(error, (ConnectionError, TimeoutError, json.JSONDecodeError)):
        return "unavailable"
    return None if names.isdisjoint(_UNAVAILABLE_NAMES) else "unavailable"


def behind(error: BaseException) -> BaseException:
    """Return what broke a stream off, where a router that is itself a candidate says so."""
    interrupted = isinstance(error, StreamInterruptedError) and error.__cause__ is not None
    return behind(error.__cause__) if interrupted else error  # type: ignore[arg-type]


def is_billed(error: BaseException) -> bool:
    """Tell whether somebody may have to be paid for a call that ended like this.

    Nobody charges for a request that was answered with an error status, or that reached nobody; one
    that was given up by the caller (cancelled, timed out) may have been worked on.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        return False
    names = {cls.__name__ for cls in type(error).__mro__}
    if any("Timeout" in name for name in names):
        return True
    reached_nobody = names & {"APIConnectionError", "ConnectError", "ConnectionRefusedError"}
    return not reached_nobody


def is_signal(error: BaseException) -> bool:
    """Tell whether it is no failure at all: LangGraph's interrupts travel as errors."""
    return any(cls.__name__ == "GraphBubbleUp" for cls in type(error).__mro__)


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds for which the server asked to be left alone, if it did.

    Reads `retry-after-ms` and `Retry-After` (seconds or a date, RFC 9110 section 10.2.3) of the
    response that the error, or what caused it, carries. What is past, negative or unreadable counts
    as not said; at most a day.
    """
    if error is None:
        return None
    headers = getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(headers, Mapping):
        return retry_after(error.__cause__)
    milliseconds = _number(headers.get("retry-after-ms"))
    seconds = _number(headers.get("retry-after")) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        seconds = _until(headers.get("retry-after"))
    if seconds is None or seconds <= 0:
        return None
    return min(seconds, _LONGEST_HINT_S)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _until(date: Any) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError):
        return None
