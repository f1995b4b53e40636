"""The fault matrix with `OpenAILike`, and what repeated faults teach the router."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

from llamaindex_router import RouterLLM
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
from tests.integration_tests.llamaindex.forms import client as openai_like

MESSAGES = [ChatMessage(content=QUESTION)]


def chat(llm: Any) -> Iterator[Piece]:
    response = llm.chat(MESSAGES)
    yield response.message.content, response.additional_kwargs["router"]


async def achat(llm: Any) -> AsyncIterator[Piece]:
    response = await llm.achat(MESSAGES)
    yield response.message.content, response.additional_kwargs["router"]


def stream_chat(llm: Any) -> Iterator[Piece]:
    for response in llm.stream_chat(MESSAGES):
        yield response.delta, response.additional_kwargs["router"]


async def astream_chat(llm: Any) -> AsyncIterator[Piece]:
    async for response in await llm.astream_chat(MESSAGES):
        yield response.delta, response.additional_kwargs["router"]


FORMS = [chat, achat, stream_chat, astream_chat]

# There a bare client, too, holds the connection for as long as its error is held.
OLD_OPENAI = int(version("openai").split(".")[0]) < 2


@pytest.fixture(scope="module")
def client(running_server: OpenAIServer) -> Iterator[Client]:
    def make(name: str, url: str, timeout: float) -> Any:
        return openai_like(running_server, name, api_key=KEY, api_base=url, timeout=timeout)

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
    if OLD_OPENAI and case.form is stream_chat and "malformed" in case.trouble.name:
        pytest.skip("openai before 2 leaves the connection open")
    caplog.set_level(logging.DEBUG)
    llm = RouterLLM(**case.settings(server, client))
    heard = case.hear(llm, server, monkeypatch)
    case.check(heard, server)
    assert KEY not in f"{caplog.text}{heard}{llm!r}{written(heard.error)}"


@pytest.mark.parametrize("form", FORMS[2:])
def test_a_stream_without_an_event_is_an_answer_without_a_response(
    form: Form, server: OpenAIServer, client: Client
) -> None:
    server.script("a", [Fault("empty")])
    heard = Heard()
    heard.listen(form(RouterLLM(**in_order({name: client(name, "plain") for name in NAMES}))))
    assert (heard.texts, heard.records, heard.error) == ([], [], None)
    assert [request["model"] for request in server.requests] == ["a"]


@pytest.mark.parametrize(
    "story", [who_keeps_failing_is_asked_last, who_asked_for_a_wait_is_not_asked_before]
)
@pytest.mark.parametrize("form", FORMS)
def test_repeated_faults(
    form: Form, story: Any, server: OpenAIServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    story(Caller(RouterLLM, client, form, server, monkeypatch))
