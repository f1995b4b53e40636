"""Failures told apart without any vendor's SDK."""

from __future__ import annotations

import pytest

from shared_core.execution.failures import may_pass


class RateLimitError(Exception):
    """As SDKs name it."""


class Status(Exception):
    """An error with an HTTP status, whatever its name."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


@pytest.mark.parametrize(
    "error",
    [
        Status(429),
        Status(503),
        Status(529),
        ConnectionResetError(),
        TimeoutError(),
        RateLimitError(),
    ],
)
def test_these_may_pass(error: Exception) -> None:
    assert may_pass(error)


class Denied(RateLimitError, Status):
    """The status decides where there is one."""


@pytest.mark.parametrize(
    "error", [Status(400), Status(401), Status(404), ValueError(), Denied(403)]
)
def test_these_do_not(error: Exception) -> None:
    assert not may_pass(error)
