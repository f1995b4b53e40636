"""Which failures may pass: told without knowing any vendor's SDK.

In: an error that a call raised. Out: whether another candidate, or a later try, might succeed.
"""

from __future__ import annotations

__all__ = ["may_pass"]

_RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP: timeout, conflict, too early, rate limit, server errors, overloaded (Anthropic)."""

_RETRYABLE_NAMES = frozenset(
    {
        "APIConnectionError",
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


def may_pass(error: Exception) -> bool:
    """Tell whether another candidate might succeed where this error was raised.

    Told by the HTTP status that the error carries, else by the operating system's own connection
    errors, else by the names of its classes. Nothing else counts.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status in _RETRYABLE_STATUS
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return any(cls.__name__ in _RETRYABLE_NAMES for cls in type(error).__mro__)
