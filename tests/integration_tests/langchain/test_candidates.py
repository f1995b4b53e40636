"""What may stand for a candidate, and the router as a part of chains and batches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool

from langchain_router import Candidate, ChatRouter, Policy
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.langchain.forms import (
    FORMS,
    WAYS,
    City,
    Form,
    Runs,
    Way,
    router,
    structured,
    weather,
    with_tool,
)

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]

every_form = pytest.mark.parametrize("form", FORMS)
every_way = pytest.mark.parametrize("way", WAYS)


@tool
def clock(zone: str) -> str:
    """Tell the time in a zone."""
    return f"noon in {zone}"


@every_way
@every_form
def test_a_binding_keeps_its_arguments_tags_and_callbacks(form: Form, way: Way) -> None:
    """One model serves two candidates that differ in their arguments alone."""
    model, own = ScriptedChat(model_name="one"), Runs()
    warm = model.bind(temperature=1, stop=["x"]).with_config(tags=["warm"], callbacks=[own])
    heard: list[Any] = []
    warm = warm.with_listeners(on_start=heard.append)
    llm = ChatRouter([Candidate("cold", model.bind(temperature=0)), Candidate("warm", warm)])
    runs = Runs()
    form(way(llm), "Hello", {"callbacks": [runs]})
    form(way(llm), "Hello", {"callbacks": [runs]}, model="warm")
    assert [call.kwargs["temperature"] for call in model.calls] == [0, 1]
    assert [call.kwargs["stop"] for call in model.calls] == [None, ["x"]]
    assert ["tools" in call.kwargs for call in model.calls] == [way in (with_tool, structured)] * 2
    assert ["warm" in run["tags"] for run in runs.of("model")] == [False, True]
    assert len(own.of("model")) == 1
    assert len(heard) == 1


@every_form
def test_a_bindings_own_tools_make_room_for_the_callers(form: Form, server: OpenAIServer) -> None:
    bound = openai_chat(server, "small").bind_tools([clock], tool_choice="clock")
    llm = ChatRouter({"small": bound.bind(temperature=0)})
    assert form(llm, "Hello").tool_calls[0]["name"] == "clock"
    message = form(llm.bind_tools([weather]), "How is the weather?")
    assert [call["name"] for call in message.tool_calls] == ["weather"]
    assert isinstance(form(llm.with_structured_output(City), "A city."), City)
    assert all(sent["temperature"] == 0 for sent in server.requests)


@every_way
@every_form
def test_a_router_is_a_candidate(form: Form, way: Way) -> None:
    inner_small = ScriptedChat(model_name="small")
    llm = ChatRouter({"inner": router(inner_small), "large": ScriptedChat(model_name="x")})
    runs = Runs()
    answer = form(way(llm), "Hello", {"callbacks": [runs]})
    assert len(inner_small.calls) == len(runs.of("model")) == 1
    if not isinstance(answer, AIMessage):
        assert isinstance(answer, City)
        return
    assert answer.response_metadata["model_name"] == "small"
    record = answer.response_metadata["router"]
    assert record["attempts"] == [{"candidate": "inner", "outcome": "answered"}]


@every_form
def test_a_chain_ends_in_text(form: Form) -> None:
    small = ScriptedChat(model_name="small", replies=["yes"])
    chain = ChatPromptTemplate.from_template("{q}") | router(small) | StrOutputParser()
    assert form(chain, {"q": "a"}) == "yes"
    assert small.calls[0].messages == [HumanMessage("a")]


def test_a_chain_streams_the_models_chunks() -> None:
    small = ScriptedChat(model_name="small", replies=["yes or no"])
    prompt = ChatPromptTemplate.from_template("{q}")
    chunks = list((prompt | router(small) | StrOutputParser()).stream({"q": "a"}))
    assert chunks == list((prompt | small | StrOutputParser()).stream({"q": "a"}))
    assert [chunk for chunk in chunks if chunk] == ["yes ", "or ", "no"]


_LOCK = threading.Lock()


class Crowded(ScriptedChat):
    """Notes the most calls that were under way at once; no thread ends before so many came.

    Attributes:
        wanted: So many.
        inside: Those under way, and the most there have been.
    """

    wanted: int = 1
    inside: list[int] = [0, 0]  # noqa: RUF012 - pydantic copies it for each model

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with _LOCK:
            self.inside[0] += 1
            self.inside[1] = max(self.inside)
        yield
        with _LOCK:
            self.inside[0] -= 1

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        with self._counted():
            late = time.monotonic() + 5
            while self.inside[1] < self.wanted and time.monotonic() < late:
                time.sleep(0.005)
            time.sleep(0.05)  # long enough for one too many to come
            return super()._generate(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        with self._counted():
            await asyncio.sleep(0.05)  # tasks of one loop all start before this ends
            return await super()._agenerate(*args, **kwargs)


def abatch(model: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return asyncio.run(model.abatch(*args, **kwargs))


def batch(model: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return model.batch(*args, **kwargs)


every_batch = pytest.mark.parametrize("together", [batch, abatch])


@every_batch
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_29_a_batch_has_as_many_under_way_as_allowed(together: Any, limit: int) -> None:
    small = Crowded(model_name="small", wanted=limit)
    messages = together(router(small), list("abcd"), {"max_concurrency": limit})
    assert small.inside == [0, limit]
    assert [message.text[-1] for message in messages] == list("abcd")
    ids = {message.response_metadata["router"]["decision_id"] for message in messages}
    assert len(ids) == 4


@every_batch
def test_29_one_items_failure_is_its_own(together: Any) -> None:
    def reply(messages: Any) -> Any:
        return {"broken": ValueError("no"), "busy": ConnectionError("lost")}.get(messages[-1].text)

    llm = router(ScriptedChat(model_name="small", replies=[reply]))
    fine, broken, busy = together(llm, ["fine", "broken", "busy"], return_exceptions=True)
    assert type(broken) is ValueError
    assert fine.response_metadata["router"]["candidate"] == "small"
    assert busy.response_metadata["router"]["candidate"] == "large"
    with pytest.raises(ValueError, match="no"):
        together(llm, ["fine", "broken"])


@every_batch
def test_29_each_item_is_decided_by_itself(together: Any) -> None:
    image = {"type": "image", "url": "https://example.org/a.png"}
    blind = ScriptedChat(model_name="blind", profile={"image_inputs": False})
    text, picture = together(router(blind), ["Hello", [HumanMessage([image])]])
    assert text.response_metadata["router"]["candidate"] == "small"
    assert picture.response_metadata["router"]["candidate"] == "large"


def test_03_generate_routes_each_list_in_a_run_of_its_own() -> None:
    runs, run_id = Runs(), uuid4()
    lists = [[HumanMessage("a")], [HumanMessage("b")]]
    result = router().generate(lists, callbacks=[runs], run_id=run_id)
    again = asyncio.run(router().agenerate(lists, callbacks=[runs], run_id=uuid4()))
    for given in (result, again):
        texts = [generation[0].text for generation in given.generations]
        assert texts == ["small answers: a", "small answers: b"]
    assert len(runs.of("chain")) == len(runs.of("model")) == 4
    assert run_id in runs.runs


def test_history_from_elsewhere_may_use_our_key() -> None:
    foreign = AIMessage("b", response_metadata={"router": "another's"})
    answer = router().invoke([HumanMessage("a"), foreign, HumanMessage("c")])
    assert answer.response_metadata["router"]["candidate"] == "small"


def test_fields_may_be_configurable() -> None:
    small = ScriptedChat(model_name="small")
    llm = router(small).configurable_fields(temperature=ConfigurableField(id="t"))
    llm.with_config(configurable={"t": 0.7}).invoke("Hello")
    assert small.calls[0].kwargs["temperature"] == 0.7
    assert len(list(llm.stream("Hello"))) > 1


def test_explain_calls_nobody_and_with_policy_shares_everything_else() -> None:
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    llm = router(small, large)
    strict = llm.with_policy(Policy(quality=1))
    assert llm.explain("Hello").candidate == "small"
    assert strict.explain("Hello").candidate == "large"
    assert llm.explain("Hello", model="large").reason == "large was asked for by name"
    detail = llm.explain("Hello", detail=True).detail
    assert detail is not None
    assert "large would answer" in detail.flips[0]
    assert set(detail.moved) == {"small", "large"}
    assert small.calls == large.calls == []
    assert strict.invoke("Hello").response_metadata["router"]["candidate"] == "large"
    assert llm.policy == Policy()
    assert strict.candidates is llm.candidates
