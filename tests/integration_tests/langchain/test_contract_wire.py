"""What real OpenAI clients send with and without a router, and what comes of it: item by item.

Every test puts one question to a bare client and to a router that picks an equal one, and compares
the request bodies.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from langchain_router import ChatRouter
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS
from tests.integration_tests.langchain.forms import (
    CITY,
    FORMS,
    WAYS,
    City,
    Form,
    Way,
    collected,
    invoke,
    weather,
)

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]

every_form = pytest.mark.parametrize("form", FORMS)
every_way = pytest.mark.parametrize("way", WAYS)
QUESTION = "What is the capital of France?"


@tool
def clock(zone: str) -> str:
    """Tell the time in a zone."""
    return f"noon in {zone}"


TOOL_CHOICES = [
    None,
    "auto",
    "any",
    "required",
    True,
    "clock",
    {"type": "function", "function": {"name": "clock"}},
]


@pytest.mark.parametrize("choice", TOOL_CHOICES, ids=str)
@every_form
def test_15_16_the_request_has_the_bare_models_tools_and_choice(
    form: Form, choice: Any, server: OpenAIServer, bare: BaseChatModel, llm: ChatRouter
) -> None:
    for model in (bare, llm):
        options = {"strict": True, "parallel_tool_calls": False}
        form(model.bind_tools([weather, clock], tool_choice=choice, **options), QUESTION)
    expected, sent = server.requests
    assert sent == expected
    assert sent["tools"][0]["function"]["strict"] is True


@every_form
def test_16_none_leaves_the_tools_and_their_options_out(
    form: Form, server: OpenAIServer, llm: ChatRouter
) -> None:
    options = {"strict": True, "parallel_tool_calls": False, "response_format": City}
    form(llm.bind_tools([weather], tool_choice="none", **options), QUESTION)
    form(llm.bind_tools([], strict=True, response_format=City), QUESTION)
    for sent in server.requests:
        left_out = {"tools", "tool_choice", "strict", "parallel_tool_calls"}
        assert not left_out & set(sent)
        assert sent["response_format"]["json_schema"]["name"] == "City"


SCHEMAS = [City, CITY]
METHODS = [
    {},
    {"method": "function_calling"},
    {"method": "function_calling", "strict": True},
    {"method": "json_schema"},
    {"method": "json_schema", "strict": False},
    {"method": "json_mode"},
]
JSON_QUESTION = "A city as JSON, with the keys 'name' and 'country'."


@pytest.mark.parametrize("options", METHODS, ids=str)
@pytest.mark.parametrize("schema", SCHEMAS, ids=["class", "dict"])
@pytest.mark.parametrize("form_name", ["invoke", "ainvoke", "stream", "astream"])
async def test_18_structured_output_is_the_bare_models_by_every_method(
    form_name: str, schema: Any, options: Any, server: OpenAIServer, bare: Any, llm: Any
) -> None:
    async def given(model: BaseChatModel) -> list[Any]:
        runnable = model.with_structured_output(schema, **options)
        if form_name == "invoke":
            return [runnable.invoke(JSON_QUESTION)]
        if form_name == "ainvoke":
            return [await runnable.ainvoke(JSON_QUESTION)]
        return await collected(runnable, form_name == "astream", JSON_QUESTION)

    expected = await given(bare)
    assert await given(llm) == expected
    wanted, sent = server.requests
    assert sent == wanted
    assert expected[-1]


@pytest.mark.parametrize("answer", ["no city at all", '{"name": "Lisbon", "country": "Portugal"}'])
@pytest.mark.parametrize("form_name", ["invoke", "ainvoke", "stream", "astream"])
async def test_18_include_raw_keeps_the_bare_models_three_parts(
    form_name: str, answer: str, server: OpenAIServer, bare: BaseChatModel, llm: ChatRouter
) -> None:
    server.say("small", answer)
    options: dict[str, Any] = {"method": "json_mode", "include_raw": True}
    runnable = llm.with_structured_output(City, **options)
    # The bare model's stream leaves the error of a failed parse out; its whole answer does not.
    expected = bare.with_structured_output(City, **options).invoke(JSON_QUESTION)
    if form_name == "invoke":
        result = runnable.invoke(JSON_QUESTION)
    elif form_name == "ainvoke":
        result = await runnable.ainvoke(JSON_QUESTION)
    else:
        (result,) = await collected(runnable, form_name == "astream", JSON_QUESTION)
    assert list(result) == ["raw", "parsed", "parsing_error"]
    assert result["parsed"] == expected["parsed"]
    assert type(result["parsing_error"]) is type(expected["parsing_error"])
    assert result["raw"].text == expected["raw"].text == answer
    assert result["raw"].usage_metadata == expected["raw"].usage_metadata
    assert result["raw"].response_metadata["router"]["candidate"] == "small"


@every_way
@every_form
def test_19_a_forced_model_answers_with_tools_and_schemas_too(
    form: Form, way: Way, server: OpenAIServer, llm: ChatRouter
) -> None:
    form(way(llm), QUESTION, model="large")
    assert [sent["model"] for sent in server.requests] == ["large"]


@every_form
def test_20_stop_and_other_settings_are_the_bare_models(
    form: Form, server: OpenAIServer, bare: BaseChatModel, llm: ChatRouter
) -> None:
    settings: dict[str, Any] = {"stop": ["now"], "temperature": 0.5, "max_tokens": 7}
    configured = ChatRouter(llm.candidates, **settings)
    form(bare, QUESTION, **settings)
    form(llm, QUESTION, **settings)
    form(llm.bind(**settings), QUESTION)
    form(configured, QUESTION)
    expected, *sent = server.requests
    assert expected["stop"] == ["now"]
    assert sent == [expected] * 3
    form(configured, QUESTION, stop=["later"])
    assert server.requests[-1]["stop"] == ["later"]


ATTACHMENTS = [
    {"type": "image", "base64": "aGk=", "mime_type": "image/png"},
    {"type": "image", "url": "https://example.org/a.png"},
    {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
    {"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"},
    {"type": "file", "base64": "aGk=", "mime_type": "application/pdf", "filename": "a.pdf"},
]


@pytest.mark.parametrize("attachment", ATTACHMENTS, ids=lambda block: block["type"])
@every_form
def test_26_attachments_reach_the_wire_as_from_the_bare_model(
    form: Form, attachment: Any, server: OpenAIServer, bare: BaseChatModel, llm: ChatRouter
) -> None:
    message = HumanMessage([{"type": "text", "text": "What is it?"}, attachment])
    before = message.model_copy(deep=True)
    form(bare, [message])
    form(llm, [message])
    expected, sent = server.requests
    assert sent == expected
    assert message == before


def test_the_wire_carries_nothing_of_ours(server: OpenAIServer, llm: ChatRouter) -> None:
    answer = invoke(llm, QUESTION)
    history = [HumanMessage(QUESTION), answer, HumanMessage("And of Spain?")]
    invoke(llm, history)
    assert "decision_id" not in json.dumps(server.requests[-1])
    assert answer.response_metadata["router"]["candidate"] == "small"
