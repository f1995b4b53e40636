"""What real OpenAI clients send with and without a router, and what comes of it: item by item.

Most tests put one question to a bare client and to a router that picks an equal one, and compare
the request bodies. The loopback server refuses what OpenAI refuses, fields of ours included.
"""

from __future__ import annotations

import copy
import json
import pickle
from itertools import repeat
from typing import Any

import openai
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import Candidate, RouterLLM
from shared_core import AllCandidatesFailedError, StreamInterruptedError
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    QUESTION,
    RECORDED,
    STREAMED,
    STRUCTURED,
    TEMPLATE,
    TOOL,
    WITH_HISTORY,
    City,
    Form,
    client,
    collect,
)

every_form = pytest.mark.parametrize("form", FORMS)
recorded_form = pytest.mark.parametrize("form", RECORDED)
structured_form = pytest.mark.parametrize("form", STRUCTURED)
with_native_output = pytest.mark.skipif(
    "should_use_structured_outputs" not in OpenAILike.model_fields,
    reason="this client's output has no native way",
)


@every_form
def test_35_the_request_and_the_answer_are_the_bare_clients(
    form: Form, server: OpenAIServer, bare: OpenAILike, llm: RouterLLM
) -> None:
    expected, given = (
        collect(form.__name__, one, temperature=0.5, max_tokens=50) for one in (bare, llm)
    )
    wanted, sent = server.requests
    assert sent == wanted
    assert (sent["model"], sent["temperature"]) == ("small", 0.5)
    if form in STRUCTURED:
        assert [city.model_dump() for city in given] == [city.model_dump() for city in expected]
        return
    assert [r.delta for r in given if r.delta] == [r.delta for r in expected if r.delta]
    assert str(given[-1]) == str(expected[-1])
    assert given[-1].additional_kwargs["router"]["candidate"] == "small"
    if "tools" in form.__name__:
        (expected_call,) = bare.get_tool_calls_from_response(expected[-1])
        (call,) = llm.get_tool_calls_from_response(given[-1])
        assert (call.tool_name, call.tool_kwargs) == ("weather", expected_call.tool_kwargs)


@every_form
def test_model_forces_a_candidate_and_its_name_is_not_sent(
    form: Form, server: OpenAIServer
) -> None:
    form(RouterLLM({"a": client(server, "small"), "b": client(server, "large")}), model="b")
    assert [request["model"] for request in server.requests] == ["large"]


@recorded_form
def test_the_record_counts_what_the_client_reports(form: Form, server: OpenAIServer) -> None:
    priced = Candidate("small", client(server), price=(1, 2), energy=(3, 4))
    options: dict[str, Any] = {}
    if form in STREAMED:  # OpenAI reports usage in streams to those who ask for it
        options["stream_options"] = {"include_usage": True}
    response = form(RouterLLM([priced]), **options)
    record, used = response.additional_kwargs["router"], response.additional_kwargs
    tokens = used["prompt_tokens"], used["completion_tokens"]
    assert record["cost_usd"] == pytest.approx((tokens[0] + 2 * tokens[1]) * 1e-6)
    assert record["energy_wh"] == pytest.approx((3 * tokens[0] + 4 * tokens[1]) * 1e-6)


@pytest.mark.parametrize("form", WITH_HISTORY)
def test_37_nothing_of_ours_is_sent_again(
    form: Form, server: OpenAIServer, bare: OpenAILike, llm: RouterLLM
) -> None:
    asked = ChatMessage(content="weather in Lisbon?")
    called = llm.chat_with_tools([TOOL], chat_history=[asked], tool_required=True)
    (call,) = llm.get_tool_calls_from_response(called)
    called.message.blocks = []  # as in older stores; the client then sends all additional_kwargs
    result = ChatMessage(
        role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id}
    )
    answer = llm.chat([asked, called.message, result])
    history = [asked, called.message, result, answer.message]
    stamped = [one for one in history if "router" in one.additional_kwargs]
    assert len(stamped) == 2
    form(llm, history)
    assert not any('"router"' in json.dumps(request) for request in server.requests)

    with pytest.raises(openai.BadRequestError, match="unknown fields"):  # so the stamps matter
        form(bare, history)
    for message in stamped:
        del message.additional_kwargs["router"]
    form(bare, history)
    _, _, sent, _, wanted = server.requests
    assert sent == wanted


@structured_form
@with_native_output
@pytest.mark.parametrize("native", [True, False])
def test_39_structured_output_goes_the_clients_own_way(
    native: bool, form: Form, server: OpenAIServer
) -> None:
    small = client(server, should_use_structured_outputs=native)
    for llm in (small, RouterLLM({"small": small, "large": client(server, "large")})):
        form(llm)
    wanted, sent = server.requests
    assert sent == wanted
    assert ("response_format" in sent, "tools" in sent) == (native, not native)


@structured_form
@with_native_output
def test_39_each_attempt_goes_its_own_way(form: Form, server: OpenAIServer) -> None:
    server.script("small", [Fault("status", status=429)])
    small = client(server, should_use_structured_outputs=True)
    form(RouterLLM({"small": small, "large": client(server, "large")}), temperature=0)
    first, second = server.requests
    assert ("response_format" in first, "tools" in first) == (True, False)
    assert ("response_format" in second, "tools" in second) == (False, True)
    assert first["temperature"] == second["temperature"] == 0


@with_native_output
def test_39_the_routers_system_prompt_comes_before_the_template(server: OpenAIServer) -> None:
    small = client(server, should_use_structured_outputs=True)
    llm = RouterLLM({"small": small}, system_prompt="You know {place}.")
    assert isinstance(llm.structured_predict(City, TEMPLATE, place="Asia"), City)
    (sent,) = server.requests
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [
        ("system", "You know {place}."),
        ("user", "Name a city in Asia."),
    ]


def pickled(llm: RouterLLM) -> RouterLLM:
    llm.complete(QUESTION)  # a client that has opened its connections can still be pickled
    return pickle.loads(pickle.dumps(llm))  # noqa: S301


@pytest.mark.parametrize("twin", [copy.deepcopy, pickled])
def test_40_it_is_copied_and_pickled_with_real_clients(twin: Any, llm: RouterLLM) -> None:
    made = twin(llm)
    assert made.complete(QUESTION).additional_kwargs["router"]["candidate"] == "small"
    assert made.complete(QUESTION, model="large").text.startswith("large answers")


def test_40_no_key_is_shown(server: OpenAIServer) -> None:
    small = client(server, api_key="sk-secret", default_headers={"X-Key": "sk-secret"})
    llm = RouterLLM([Candidate("small", small)])
    response = llm.complete(QUESTION)
    assert "sk-secret" in str(small.default_headers)
    shown = [repr(llm), str(llm), llm.to_dict(), llm.model_dump()]
    shown += [getattr(llm, "to_payload", dict)()]  # newer versions of LlamaIndex have it
    shown += [llm.candidates, llm.explain(QUESTION), response.model_dump()]
    assert "sk-secret" not in f"{shown} {llm.model_dump_json()} {llm.to_json()}"


@every_form
@pytest.mark.parametrize(
    "fault", [Fault("status", status=429), Fault("status", status=503), Fault("reset")], ids=str
)
def test_after_a_real_clients_retryable_error_the_next_answers(
    fault: Fault, form: Form, server: OpenAIServer, llm: RouterLLM
) -> None:
    server.script("small", [fault])
    response = form(llm)
    assert [request["model"] for request in server.requests] == ["small", "large"]
    if form in RECORDED:
        record = response.additional_kwargs["router"]
        assert [a["outcome"] for a in record["attempts"]] == ["failed", "answered"]
        assert record["candidate"] == "large"


@every_form
def test_a_real_clients_other_errors_are_raised_as_they_are(
    form: Form, server: OpenAIServer, llm: RouterLLM
) -> None:
    server.script("small", [Fault("status", status=401)])
    with pytest.raises(openai.AuthenticationError):
        form(llm)
    assert server.asked("large") == []
    for model in server.models:
        server.script(model, repeat(Fault("status", status=429)))
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(llm)
    errors = [(name, type(error)) for name, error in caught.value.errors]
    assert errors == [("small", openai.RateLimitError), ("large", openai.RateLimitError)]


@pytest.mark.parametrize("form", [f for f in STREAMED if f in RECORDED])
def test_after_a_visible_chunk_the_bare_clients_error_is_the_cause(
    form: Form, server: OpenAIServer, bare: OpenAILike, llm: RouterLLM
) -> None:
    server.script("small", [Fault("reset", after=3)] * 2)
    with pytest.raises(Exception) as bares:
        form(bare)
    with pytest.raises(StreamInterruptedError) as caught:
        form(llm)
    assert type(caught.value.__cause__) is bares.type
    assert server.asked("large") == []
