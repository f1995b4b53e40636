"""The fault matrix with `ChatOpenAI`, and what repeated faults teach the router."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from langchain_router import ChatRouter
from tests.fakes.faults import (
    KEY,
    NAMES,
    QUESTION,
    Case,
    Client,
    Form,
    Heard,
    Piece,
    cases,
    clients,
    in_order,
)
from tests.fakes.leftovers import written
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.rests import (
    Caller,
    who_asked_for_a_wait_is_not_asked_before,
    who_keeps_failing_is_asked_last,
)
from tests.fakes.standard_gates import openai_chat
from tests.integration_tests.langchain.forms import Runs


def invoke(llm: Any) -> Iterator[Piece]:
    yield _piece(llm.invoke(QUESTION))


async def ainvoke(llm: Any) -> AsyncIterator[Piece]:
    yield _piece(await llm.ainvoke(QUESTION))


def stream(llm: Any) -> Iterator[Piece]:
    yield from map(_piece, llm.stream(QUESTION))


async def astream(llm: Any) -> AsyncIterator[Piece]:
    async for chunk in llm.astream(QUESTION):
        yield _piece(chunk)


def _piece(message: Any) -> Piece:
    return message.content, message.response_metadata.get("router")


FORMS = [invoke, ainvoke, stream, astream]


@pytest.fixture(scope="module")
def client(running_server: OpenAIServer) -> Iterator[Client]:
    def make(name: str, url: str, timeout: float) -> Any:
        return openai_chat(running_server, name, api_key=KEY, base_url=url, timeout=timeout)

    with clients(running_server, make) as client:
        yield client


@pytest.mark.parametrize("case", cases(FORMS))
def test_a_fault(
    case: Case,
    server: OpenAIServer,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    runs = Runs()
    llm = ChatRouter(callbacks=[runs], **case.settings(server, client))
    heard = case.hear(llm, server, monkeypatch)
    case.check(heard, server)
    assert len(runs.runs) == 1 + len(case.asked)
    # LangChain leaves the run of a model open when `ainvoke` is cancelled.
    left_open = case.form is ainvoke and case.trouble.deadline
    assert len(runs.ended) == len(runs.runs) - left_open
    assert KEY not in f"{caplog.text}{heard}{llm!r}{written(heard.error)}"


@pytest.mark.parametrize("form", FORMS[2:])
def test_a_stream_without_an_event_is_langchains_own_error(
    form: Form, server: OpenAIServer, client: Client
) -> None:
    server.script("a", [Fault("empty")])
    heard = Heard()
    heard.listen(form(ChatRouter(**in_order({name: client(name, "plain") for name in NAMES}))))
    assert isinstance(heard.error, ValueError)
    assert str(heard.error) == "No generation chunks were returned"
    assert [request["model"] for request in server.requests] == ["a"]


@pytest.mark.parametrize(
    "story", [who_keeps_failing_is_asked_last, who_asked_for_a_wait_is_not_asked_before]
)
@pytest.mark.parametrize("form", FORMS)
def test_repeated_faults(
    form: Form, story: Any, server: OpenAIServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    story(Caller(ChatRouter, client, form, server, monkeypatch))
