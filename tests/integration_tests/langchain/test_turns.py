"""What a strategy says besides the caller's messages, and what it makes of an answer."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
)
from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream

from langchain_router import ChatRouter, ChatRouterMiddleware
from langchain_router._messages import retold, with_turns
from shared_core import RouterError
from shared_core.types import Turn
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.standard_gates import openai_chat
from tests.fakes.strategies import ADVICE, Adding, Editing, Everyone, Relay
from tests.integration_tests.accounts import last, outcomes
from tests.integration_tests.langchain.forms import (
    FORMS,
    City,
    Form,
    invoke,
    plain,
    router,
    structured,
    weather,
    with_tool,
)

every_form = pytest.mark.parametrize("form", FORMS)
both_ways = pytest.mark.parametrize("asynchronous", [False, True])
v3 = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

SYSTEM, USER = (turn.text for turn in ADVICE)
IMAGE = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
CALL = {"name": "weather", "args": {"city": "Lisbon"}, "id": "c1", "type": "tool_call"}
SURE = FixedPredictor({"small": 0.9, "large": 0.1})


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


GIVEN: dict[str, tuple[list[BaseMessage], list[tuple[str, Any]]]] = {
    "nothing": ([], [("system", SYSTEM), ("human", USER)]),
    "a question": ([HumanMessage("Hi")], [("system", SYSTEM), ("human", f"Hi\n\n{USER}")]),
    "an empty question": ([HumanMessage("")], [("system", SYSTEM), ("human", USER)]),
    "a system message": (
        [SystemMessage("Be kind."), HumanMessage("Hi")],
        [("system", f"Be kind.\n\n{SYSTEM}"), ("human", f"Hi\n\n{USER}")],
    ),
    "a system message alone": (
        [SystemMessage("Be kind.")],
        [("system", f"Be kind.\n\n{SYSTEM}"), ("human", USER)],
    ),
    "a system message further on": (
        [HumanMessage("Hi"), SystemMessage("Be kind."), HumanMessage("So?")],
        [("human", "Hi"), ("system", f"Be kind.\n\n{SYSTEM}"), ("human", f"So?\n\n{USER}")],
    ),
    "roles by name": (
        [ChatMessage("Be kind.", role="developer"), ChatMessage("Hi", role="user")],
        [("chat", f"Be kind.\n\n{SYSTEM}"), ("chat", f"Hi\n\n{USER}")],
    ),
    "chunks": (
        [SystemMessageChunk("Be kind."), HumanMessageChunk("Hi")],
        [
            ("SystemMessageChunk", f"Be kind.\n\n{SYSTEM}"),
            ("HumanMessageChunk", f"Hi\n\n{USER}"),
        ],
    ),
    "blocks": (
        [SystemMessage([text("Be kind.")]), HumanMessage([text("Hi")])],
        [("system", [text("Be kind."), text(SYSTEM)]), ("human", [text("Hi"), text(USER)])],
    ),
    "an image last": (
        [HumanMessage([text("Hi"), IMAGE])],
        [("system", SYSTEM), ("human", [text("Hi"), IMAGE, text(USER)])],
    ),
    "no blocks": ([HumanMessage([])], [("system", SYSTEM), ("human", [text(USER)])]),
    "an answer last": (
        [HumanMessage("Hi"), AIMessage("Yes?")],
        [("system", SYSTEM), ("human", "Hi"), ("ai", "Yes?"), ("human", USER)],
    ),
    "a tool's result last": (
        [HumanMessage("Hi"), AIMessage("", tool_calls=[CALL]), ToolMessage("4", tool_call_id="c1")],
        [("system", SYSTEM), ("human", "Hi"), ("ai", ""), ("tool", "4"), ("human", USER)],
    ),
}
each_given = pytest.mark.parametrize(("given", "expected"), GIVEN.values(), ids=GIVEN.keys())


def shape(messages: Any) -> list[tuple[str, Any]]:
    return [(message.type, message.content) for message in messages]


@each_given
def test_turns_are_said_besides_the_callers_messages_and_none_is_changed(
    given: list[BaseMessage], expected: Any
) -> None:
    before, copies = list(given), copy.deepcopy(given)
    assert shape(with_turns(given, ADVICE)) == expected
    assert given == copies
    assert all(one is other for one, other in zip(given, before, strict=True))


@each_given
@every_form
def test_34_so_they_reach_the_chosen_model(
    form: Form, given: list[BaseMessage], expected: Any
) -> None:
    small, copies = ScriptedChat(model_name="small"), copy.deepcopy(given)
    for _ in range(2):
        form(router(small, strategy=Adding(), predictor=SURE), given)
    assert given == copies
    assert [shape(call.messages) for call in small.calls] == [expected] * 2


def test_several_turns_of_a_role_are_all_said_in_their_order() -> None:
    turns = (
        Turn("system", "One."),
        Turn("user", "Two."),
        Turn("assistant", "Three."),
        Turn("user", "Four."),
        Turn("system", "Five."),
        Turn("tool", "Six."),
    )
    said = with_turns([HumanMessage("Hi")], turns)
    assert shape(said) == [
        ("system", "One.\n\nFive."),
        ("human", "Hi\n\nTwo."),
        ("ai", "Three."),
        ("human", "Four.\n\nSix."),
    ]


def test_without_turns_the_model_reads_what_the_caller_gave() -> None:
    small, given = ScriptedChat(model_name="small"), [HumanMessage("Hi")]
    router(small, strategy=Adding(())).invoke(given)
    assert small.calls[0].messages[0] is given[0]


@pytest.mark.parametrize("way", [plain, with_tool, structured])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_tools_and_schema_stay_where_turns_are_added(way: Any, asynchronous: bool) -> None:
    small = ScriptedChat(model_name="small")
    model = way(router(small, strategy=Adding()))
    answer = asyncio.run(model.ainvoke("Hi")) if asynchronous else model.invoke("Hi")
    (call,) = small.calls
    assert shape(call.messages) == GIVEN["a question"][1]
    if way is plain:
        assert "tools" not in call.kwargs
    else:
        assert call.kwargs["tools"]
        assert isinstance(answer, City) or answer.tool_calls


@every_form
def test_what_replaces_the_messages_is_text_alone(form: Form) -> None:
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    llm = router(small, large, strategy=Relay(replace=True)).bind_tools([weather])
    form(llm, [SystemMessage("Be kind."), HumanMessage("Hi")])
    final = large.calls[-1]
    assert [kind for kind, _ in shape(final.messages)] == ["system", "human"]
    assert "Be kind." not in str(final.messages)
    assert "tools" not in final.kwargs


@every_form
def test_a_real_client_sends_one_system_message(form: Form, server: OpenAIServer) -> None:
    models = {name: openai_chat(server, name) for name in ("small", "large")}
    llm = ChatRouter(models, strategy=Relay())
    form(llm, [SystemMessage("Be kind."), HumanMessage([text("Hi"), IMAGE])])
    *drafts, final = server.requests
    assert [sorted(m["role"] for m in d["messages"]) for d in drafts] == [["system", "user"]] * 2
    system, user = final["messages"]
    assert system["content"].startswith("Be kind.\n\nOthers have answered:\n- ")
    assert [block["type"] for block in user["content"]] == ["text", "image_url", "text"]
    assert user["content"][-1]["text"] == "Now you."


class Spy(AgentMiddleware[Any, Any, Any]):
    """Sees what an agent's model is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        self.seen.append((request.system_message, request.messages))
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        self.seen.append((request.system_message, request.messages))
        return await handler(request)


def agent_answer(agent: Any, asynchronous: bool) -> AIMessage:
    asked = {"messages": [HumanMessage("Hi")]}
    result = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    answer: AIMessage = result["messages"][-1]
    return answer


@both_ways
@pytest.mark.parametrize("own", ["Be kind.", None])
def test_an_agents_step_has_turns_added_to_its_own_system_prompt(
    own: str | None, asynchronous: bool
) -> None:
    small, spy = ScriptedChat(model_name="small"), Spy()
    llm = router(small, strategy=Adding())
    middleware = [ChatRouterMiddleware(), spy]
    agent_answer(create_agent(llm, [], middleware=middleware, system_prompt=own), asynchronous)
    ((system, messages),) = spy.seen
    assert system.content == (f"{own}\n\n{SYSTEM}" if own else SYSTEM)
    assert shape(messages) == [("human", f"Hi\n\n{USER}")]
    assert shape(small.calls[0].messages) == [("system", system.content), *shape(messages)]


# --- edited answers ---


@every_form
@pytest.mark.parametrize("strategy", [Editing(), Everyone(edit=lambda texts: f"{texts[0]}!")])
def test_an_edited_answer_is_the_callers_with_all_else_as_it_was(form: Form, strategy: Any) -> None:
    small = ScriptedChat(model_name="small", replies=[AIMessage("Yes", tool_calls=[CALL])])
    llm = router(small, strategy=strategy, predictor=SURE)
    plain_answer = invoke(router(small), "Hi")
    answer = form(llm, "Hi")
    assert answer.text == ("Yes (edited)" if isinstance(strategy, Editing) else "Yes!")
    assert [(c["name"], c["args"]) for c in answer.tool_calls] == [("weather", {"city": "Lisbon"})]
    assert answer.usage_metadata == plain_answer.usage_metadata
    assert answer.response_metadata["model_name"] == "small"
    assert answer.response_metadata["router"]["candidate"] == "small"


@every_form
def test_an_empty_answer_can_be_edited_and_any_be_emptied(form: Form) -> None:
    for said, edit, text_ in (("", lambda _: "Yes", "Yes"), ("Yes", lambda _: "", "")):
        small = ScriptedChat(model_name="small", replies=[said])
        assert form(router(small, strategy=Editing(edit)), "Hi").text == text_


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
CONTENTS: dict[str, tuple[Any, Any]] = {
    "text": ("old", "new"),
    "one block": ([text("old")], [text("new")]),
    "several": (["o", text("ld"), IMAGE], [text("new"), IMAGE]),
    "a thought before": ([THOUGHT, text("old")], [THOUGHT, text("new")]),
    "a thought alone": ([THOUGHT], [THOUGHT, text("new")]),
    "nothing": ([], [text("new")]),
    "OpenAI's": ([{"type": "output_text", "text": "old", "annotations": []}], [text("new")]),
    "a call between": (
        [text("o"), {"type": "tool_use", "id": "c1"}, text("ld")],
        [text("new"), {"type": "tool_use", "id": "c1"}],
    ),
}


@pytest.mark.parametrize(("content", "expected"), CONTENTS.values(), ids=CONTENTS.keys())
def test_an_edit_puts_one_text_where_the_first_one_was(content: Any, expected: Any) -> None:
    message = AIMessage(content, id="m1", additional_kwargs={"a": 1})
    kept = copy.deepcopy(message)
    edited = retold(message, "new")
    assert edited.content == expected
    assert edited.text == "new"
    assert (edited.id, edited.additional_kwargs) == ("m1", {"a": 1})
    assert message == kept
    assert retold(message, "").text == ""


@every_form
def test_blocks_and_output_version_v1_are_edited_too(form: Form, server: OpenAIServer) -> None:
    models = {n: openai_chat(server, n, output_version="v1") for n in ("small", "large")}
    answer = form(ChatRouter(models, strategy=Editing(lambda text: "New.")), "Hi")
    assert isinstance(answer.content, list)
    assert [b["text"] for b in answer.content_blocks if b["type"] == "text"] == ["New."]


async def _aevents(llm: Any) -> list[Any]:
    made = await llm.astream_events("Hi", version="v3")
    return [event async for event in made]


@v3
@both_ways
def test_11_an_event_stream_tells_the_edited_text(asynchronous: bool) -> None:
    llm = router(strategy=Editing(lambda text: "New."))
    if asynchronous:
        events = asyncio.run(_aevents(llm))
    else:
        events = list(llm.stream_events("Hi", version="v3"))
    assert_valid_event_stream(events)
    deltas = [event.get("delta") or {} for event in events]
    assert "".join(delta.get("text", "") for delta in deltas) == "New."


@v3
@both_ways
def test_11_an_event_stream_of_a_visible_answer_is_not_edited(asynchronous: bool) -> None:
    llm = router(strategy=Editing(visible=True))
    with pytest.raises(RouterError, match="edited a visible answer"):
        asyncio.run(_aevents(llm)) if asynchronous else list(llm.stream_events("Hi", version="v3"))


@every_form
@pytest.mark.parametrize("streaming", [None, True])
def test_a_visible_answer_is_not_edited_in_any_form(form: Form, streaming: bool | None) -> None:
    llm = router(strategy=Editing(visible=True), streaming=streaming)
    with pytest.raises(RouterError, match="edited a visible answer; only held ones"):
        form(llm, "Hi")
    entry = last(llm)
    assert entry["outcome"] == "failed"
    assert outcomes(entry) == [("small", "answered")]


@both_ways
@pytest.mark.parametrize("mode", ["messages", "values"])
def test_an_agent_shows_the_edited_answer_once(mode: str, asynchronous: bool) -> None:
    for middleware in ([], [ChatRouterMiddleware()]):
        agent: Any = create_agent(router(strategy=Editing()), [], middleware=middleware)
        asked = {"messages": [HumanMessage("Hi")]}

        async def collect(agent: Any = agent, asked: Any = asked) -> list[Any]:
            return [item async for item in agent.astream(asked, stream_mode=mode)]

        items = asyncio.run(collect()) if asynchronous else agent.stream(asked, stream_mode=mode)
        if mode == "messages":
            texts = [message.text for message, _ in items]
        else:
            texts = [list(items)[-1]["messages"][-1].text]
        assert len(texts) == 1
        assert texts[0].endswith("(edited)")
        assert texts[0].count("answers") <= 1


@both_ways
def test_an_agents_step_is_edited_whatever_the_agent_made_of_it(asynchronous: bool) -> None:
    agent = create_agent(
        router(strategy=Editing()), [], middleware=[ChatRouterMiddleware()], response_format=City
    )
    asked = {"messages": [HumanMessage("A city.")]}
    result = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    assert isinstance(result["structured_response"], City)
    answers = [m for m in result["messages"] if isinstance(m, AIMessage)]
    assert any("(edited)" in answer.text for answer in answers)


@pytest.mark.parametrize("include_raw", [False, True])
@both_ways
def test_what_was_parsed_stays_where_the_text_is_edited(
    include_raw: bool, asynchronous: bool
) -> None:
    llm = router(strategy=Editing()).with_structured_output(City, include_raw=include_raw)
    found = asyncio.run(llm.ainvoke("A city.")) if asynchronous else llm.invoke("A city.")
    if include_raw:
        assert found["raw"].text.endswith("(edited)")
    assert isinstance(found["parsed"] if include_raw else found, City)
