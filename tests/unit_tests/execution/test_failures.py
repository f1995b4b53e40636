"""Failures told apart without any vendor's SDK, and what a server asks for."""

from __future__ import annotations

import json
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from shared_core import StreamInterruptedError
from shared_core.execution.failures import behind, kind_of, retry_after


class RateLimitError(Exception):
    """As SDKs name it."""


class ContextOverflowError(Exception):
    """As LangChain names it."""


class Status(Exception):
    """An error with an HTTP status, whatever its name."""

    def __init__(self, status_code: int, message: str = "") -> None:
        super().__init__(message)
        self.status_code = status_code


class Denied(RateLimitError, Status):
    """The status decides where there is one."""


NO_JSON = json.JSONDecodeError("Expecting value", "", 0)


@pytest.mark.parametrize(
    "error",
    [
        *(Status(code) for code in (408, 429, 500, 502, 503, 504, 529)),
        *(ConnectionResetError(), TimeoutError(), RateLimitError(), NO_JSON),
    ],
)
def test_these_mean_unavailable(error: Exception) -> None:
    assert kind_of(error) == "unavailable"


@pytest.mark.parametrize(
    "error", [Status(400), Status(401), Status(404), Status(422), ValueError(), Denied(403)]
)
def test_these_nobody_else_would_mend(error: Exception) -> None:
    assert kind_of(error) is None


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input is too long for requested model.",
        "the request exceeds the available context size",
        "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
        "Please reduce the length of the messages or completion.",
        "Too many tokens in the prompt: 70000",
    ],
)
def test_a_prompt_that_does_not_fit_is_told_by_its_words(words: str) -> None:
    assert kind_of(Status(400, words)) == "too long"
    assert kind_of(Status(401, words)) is None


def test_and_by_its_class() -> None:
    assert kind_of(ContextOverflowError()) == "too long"


def limited(headers: Any) -> Exception:
    error = RateLimitError()
    error.response = type("Response", (), {"headers": headers})  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "12"}, 0.25),
        ({"retry-after": "1000000000"}, 86_400),
        *(({"retry-after": value}, None) for value in ("0", "-3", "soon", "", "nan", "inf")),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({}, None),
        ("none", None),
    ],
)
def test_what_the_server_asks_for(headers: Any, seconds: float | None) -> None:
    assert retry_after(limited(headers)) == seconds


def test_a_date_is_counted_from_now() -> None:
    told = retry_after(limited({"retry-after": formatdate(time() + 90, usegmt=True)}))
    assert told == pytest.approx(90, abs=2)


def test_the_cause_is_asked_too_and_nobody_else() -> None:
    outer = RuntimeError()
    outer.__cause__ = limited({"retry-after": "3"})
    assert retry_after(outer) == 3
    assert retry_after(RuntimeError()) is None


def test_what_broke_a_nested_routers_stream_off_tells_the_kind() -> None:
    inner = StreamInterruptedError("a", ConnectionError("lost"), "Hel")
    inner.__cause__ = ConnectionError("lost")
    outer = StreamInterruptedError("b", inner, "Hel")
    assert kind_of(outer) is None  # nobody knows what broke it off
    outer.__cause__ = inner
    assert behind(outer) is inner.__cause__
    assert kind_of(outer) == "unavailable"
