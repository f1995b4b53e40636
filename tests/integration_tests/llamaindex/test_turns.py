"""What a strategy says besides the caller's messages, and what it makes of an answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    MessageRole,
    TextBlock,
)
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate

from llamaindex_router import RouterLLM
from llamaindex_router._messages import retold, with_turns
from shared_core import RouterError
from shared_core.types import Turn
from tests.fakes.core import FixedPredictor
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.strategies import ADVICE, Adding, Editing, Everyone, Relay
from tests.integration_tests.accounts import last, outcomes
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    STRUCTURED,
    TOOL,
    City,
    Form,
    client,
)
from tests.integration_tests.llamaindex.scripted import router

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock  # isort: skip
from tests.contracts.llamaindex import (  # isort: skip
    CHAT,
    COMPLETE,
    WITH_TOOLS,
    begin,
    chat,
    finish,
    text_of,
)
from tests.fakes.llms import ScriptedLLM, ScriptedTextLLM  # isort: skip

SYSTEM, USER = (turn.text for turn in ADVICE)
PICTURE = ImageBlock(image=b"iVBORw0KGgo=", image_mimetype="image/png")
CALL = ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs={"city": "Lisbon"})
SURE = FixedPredictor({"small": 0.9, "large": 0.1})

every_form = pytest.mark.parametrize("form", FORMS)
each_chat = pytest.mark.parametrize("method", CHAT)


def said(content: Any, role: str = "user", **kwargs: Any) -> ChatMessage:
    if isinstance(content, list):
        return ChatMessage(role=role, blocks=content, additional_kwargs=kwargs)
    return ChatMessage(role=role, content=content, additional_kwargs=kwargs)


def shape(messages: Any) -> list[tuple[str, Any]]:
    """Roles, and texts or the kinds of blocks."""
    return [
        (
            message.role.value,
            message.blocks[0].text
            if [type(b) for b in message.blocks] == [TextBlock]
            else [getattr(block, "text", block.block_type) for block in message.blocks],
        )
        for message in messages
    ]


GIVEN: dict[str, tuple[list[ChatMessage], list[tuple[str, Any]]]] = {
    "nothing": ([], [("system", SYSTEM), ("user", USER)]),
    "a question": ([said("Hi")], [("system", SYSTEM), ("user", f"Hi\n\n{USER}")]),
    "an empty question": ([said("")], [("system", SYSTEM), ("user", USER)]),
    "no text": ([said(None)], [("system", SYSTEM), ("user", USER)]),
    "a system message": (
        [said("Be kind.", "system"), said("Hi")],
        [("system", f"Be kind.\n\n{SYSTEM}"), ("user", f"Hi\n\n{USER}")],
    ),
    "a developer's message": (
        [said("Be kind.", "developer"), said("Hi")],
        [("developer", f"Be kind.\n\n{SYSTEM}"), ("user", f"Hi\n\n{USER}")],
    ),
    "a system message alone": (
        [said("Be kind.", "system")],
        [("system", f"Be kind.\n\n{SYSTEM}"), ("user", USER)],
    ),
    "a system message further on": (
        [said("Hi"), said("Be kind.", "system"), said("So?")],
        [("user", "Hi"), ("system", f"Be kind.\n\n{SYSTEM}"), ("user", f"So?\n\n{USER}")],
    ),
    "an image last": (
        [said([TextBlock(text="Hi"), PICTURE])],
        [("system", SYSTEM), ("user", ["Hi", "image", USER])],
    ),
    "text last": (
        [said([PICTURE, TextBlock(text="Hi")])],
        [("system", SYSTEM), ("user", ["image", f"Hi\n\n{USER}"])],
    ),
    "no blocks": ([said([])], [("system", SYSTEM), ("user", USER)]),
    "an answer last": (
        [said("Hi"), said("Yes?", "assistant")],
        [("system", SYSTEM), ("user", "Hi"), ("assistant", "Yes?"), ("user", USER)],
    ),
    "a tool's result last": (
        [said("Hi"), said([CALL], "assistant"), said("4", "tool", tool_call_id="c1")],
        [
            ("system", SYSTEM),
            ("user", "Hi"),
            ("assistant", ["tool_call"]),
            ("tool", "4"),
            ("user", USER),
        ],
    ),
}
each_given = pytest.mark.parametrize(("given", "expected"), GIVEN.values(), ids=GIVEN.keys())


@each_given
def test_turns_are_said_besides_the_callers_messages_and_none_is_changed(
    given: list[ChatMessage], expected: Any
) -> None:
    before, copies = list(given), copy.deepcopy(given)
    assert shape(with_turns(given, ADVICE)) == expected
    assert given == copies
    assert all(one is other for one, other in zip(given, before, strict=True))


@each_given
@each_chat
def test_34_so_they_reach_the_chosen_llm(
    method: str, given: list[ChatMessage], expected: Any
) -> None:
    small, copies = ScriptedLLM(model="small"), copy.deepcopy(given)
    for _ in range(2):
        chat(method, router(small, strategy=Adding(), predictor=SURE), given)
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
    assert shape(with_turns([said("Hi")], turns)) == [
        ("system", "One.\n\nFive."),
        ("user", "Hi\n\nTwo."),
        ("assistant", "Three."),
        ("user", "Four.\n\nSix."),
    ]
    told = with_turns([said("4", "tool", tool_call_id="c1")], turns[-1:])
    assert shape(told) == [("tool", "4"), ("user", "Six.")]


@pytest.mark.parametrize("system", [[], [said("Be kind.", "system")]])
@pytest.mark.parametrize("replace", [False, True])
def test_39_the_system_role_is_that_of_the_chosen_llm(
    replace: bool, system: list[ChatMessage]
) -> None:
    role = MessageRole.CHATBOT
    large = ScriptedLLM(model="large", system_role=role)
    router(None, large, strategy=Relay(replace=replace)).chat([*system, said("Hi")])
    first, *others = large.calls[-1].messages
    assert first.role == role
    assert "Others have answered" in first.content
    assert [one.role for one in others] == [MessageRole.USER]


@pytest.mark.parametrize("formatted", [False, True])
@pytest.mark.parametrize("make", [ScriptedLLM, ScriptedTextLLM])
@pytest.mark.parametrize("method", COMPLETE)
def test_a_completion_has_them_around_its_text(method: str, make: Any, formatted: bool) -> None:
    small = make(model="small")
    llm = router(small, strategy=Adding(), predictor=SURE)
    finish(method, getattr(llm, method)("Hi {there}", formatted))
    (call,) = small.calls
    assert call.messages == f"{SYSTEM}\n\nHi {{there}}\n\n{USER}"


@pytest.mark.parametrize("method", WITH_TOOLS)
@pytest.mark.parametrize("history", [[], [said("Be kind.", "system"), said("Well", "assistant")]])
@pytest.mark.parametrize("asked", ["Hi", said("Hi"), None])
def test_tools_stay_where_turns_are_added(method: str, history: Any, asked: Any) -> None:
    small, before = ScriptedLLM(model="small"), copy.deepcopy(history)
    llm = router(small, strategy=Adding(), predictor=SURE)
    for _ in range(2):
        finish(method, getattr(llm, method)([TOOL], user_msg=asked, chat_history=history))
    assert history == before
    kind = f"{SYSTEM}" if not history else f"Be kind.\n\n{SYSTEM}"
    between = [("assistant", "Well")] if history else []
    last_one = f"Hi\n\n{USER}" if asked else USER
    expected = [("system", kind), *between, ("user", last_one)]
    assert [shape(call.messages) for call in small.calls] == [expected] * 2
    assert all(call.kwargs["tools"] for call in small.calls)


BRACES = "A city in {place} like {{this}} or {0}, {}: {'a': 1}."


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("form", STRUCTURED)
def test_a_schema_stays_and_braces_are_text(form: Form, native: bool) -> None:
    small = ScriptedLLM(model="small", native_structured=native)
    llm = router(small, strategy=Adding((Turn("user", BRACES),)), predictor=SURE)
    assert isinstance(form(llm), City)
    (call,) = small.calls
    assert shape(call.messages) == [("user", f"Name a city in Europe.\n\n{BRACES}")]


def test_a_templates_values_with_braces_are_filled_in_once() -> None:
    small = ScriptedLLM(model="small")
    llm = router(small, strategy=Adding(), predictor=SURE)
    template = PromptTemplate("A city in {place}, {note}.")
    llm.structured_predict(City, template, place="{note}", note="{place}")
    assert shape(small.calls[0].messages)[-1] == (
        "user",
        f"A city in {{note}}, {{place}}.\n\n{USER}",
    )


def test_a_chat_template_with_an_image_keeps_it() -> None:
    small = ScriptedLLM(model="small")
    llm = router(small, strategy=Adding(), predictor=SURE)
    template = ChatPromptTemplate([said([TextBlock(text="In {place}"), PICTURE])])
    assert isinstance(llm.structured_predict(City, template, place="Europe"), City)
    assert shape(small.calls[0].messages) == [
        ("system", SYSTEM),
        ("user", ["In Europe", "image", USER]),
    ]


@every_form
def test_what_replaces_the_messages_is_text_alone(form: Form) -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    llm = router(small, large, strategy=Relay(replace=True, last=False))
    form(llm)
    final = large.calls[-1]
    assert final.method in ("chat", "achat")
    assert [role for role, _ in shape(final.messages)] == ["system", "user"]
    assert "tools" not in final.kwargs


@each_chat
def test_a_real_client_sends_one_system_message(method: str, server: OpenAIServer) -> None:
    llm = RouterLLM({n: client(server, n) for n in ("small", "large")}, strategy=Relay())
    chat(method, llm, [said("Be kind.", "system"), said([TextBlock(text="Hi"), PICTURE])])
    *drafts, final = server.requests
    assert [[m["role"] for m in d["messages"]] for d in drafts] == [["system", "user"]] * 2
    system, user = final["messages"]
    assert str(system["content"]).count("Be kind.\n\nOthers have answered:\n- ") == 1
    assert [block["type"] for block in user["content"]] == ["text", "image_url", "text"]
    assert user["content"][-1]["text"] == "Now you."


# --- edited answers ---


@pytest.mark.parametrize("form", FORMS[:12])
@pytest.mark.parametrize("strategy", [Editing(), Everyone(edit=lambda texts: f"{texts[0]}!")])
def test_an_edited_answer_is_the_callers_with_all_else_as_it_was(form: Form, strategy: Any) -> None:
    small = ScriptedLLM(model="small", replies=[said([TextBlock(text="Yes"), CALL], "assistant")])
    plain = form(router(small, predictor=SURE))
    answer = form(router(small, strategy=strategy, predictor=SURE))
    expected = "Yes (edited)" if isinstance(strategy, Editing) else "Yes!"
    assert text_of(answer) == expected
    assert answer.raw == plain.raw
    assert answer.additional_kwargs["router"]["candidate"] == "small"
    if isinstance(answer, ChatResponse):
        assert answer.message.additional_kwargs["router"]["candidate"] == "small"
        kinds = [[b.block_type for b in one.message.blocks] for one in (plain, answer)]
        assert kinds == [["text", "tool_call"]] * 2


@pytest.mark.parametrize("method", [m for m in (*CHAT, *COMPLETE) if "stream" in m])
def test_a_streams_deltas_add_up_to_the_edited_text(method: str) -> None:
    parts = finish(method, begin(method, router(strategy=Editing(lambda _: "New."))))
    assert "".join(part.delta or "" for part in parts) == "New."
    assert {text_of(part) for part in parts} == {"New."}


@pytest.mark.parametrize("form", FORMS[:8])
def test_an_empty_answer_can_be_edited_and_any_be_emptied(form: Form) -> None:
    for words, edit, expected in (("", lambda _: "Yes", "Yes"), ("Yes", lambda _: "", "")):
        small = ScriptedLLM(model="small", replies=[words])
        assert text_of(form(router(small, strategy=Editing(edit)))) == expected


THOUGHT = ThinkingBlock(content="hm")
BLOCKS: dict[str, tuple[list[Any], list[str]]] = {
    "text": ([TextBlock(text="old")], ["text"]),
    "several": ([TextBlock(text="o"), PICTURE, TextBlock(text="ld")], ["text", "image"]),
    "a thought before": ([THOUGHT, TextBlock(text="old")], ["thinking", "text"]),
    "a thought alone": ([THOUGHT], ["thinking", "text"]),
    "a call": ([CALL], ["tool_call", "text"]),
    "nothing": ([], ["text"]),
}


@pytest.mark.parametrize(("blocks", "kinds"), BLOCKS.values(), ids=BLOCKS.keys())
def test_an_edit_puts_one_text_where_the_first_one_was(blocks: Any, kinds: list[str]) -> None:
    response = ChatResponse(message=said(blocks, "assistant", a=1), raw={"b": 2}, delta="d")
    kept = copy.deepcopy(response)
    edited = retold(response, "new")
    assert [block.block_type for block in edited.message.blocks] == kinds
    assert text_of(edited) == "new"
    assert (edited.message.additional_kwargs, edited.raw) == ({"a": 1}, {"b": 2})
    assert response == kept
    assert text_of(retold(response, "")) == ""


def test_an_edit_of_a_completion_is_its_text_and_of_an_object_none() -> None:
    completion = CompletionResponse(text="old", raw={"a": 1}, delta="d")
    assert retold(completion, "new") == CompletionResponse(text="new", raw={"a": 1})
    assert completion.text == "old"
    city = City(name="Lisbon", country="Portugal")
    assert retold(city, "new") is city


@pytest.mark.parametrize("form", STRUCTURED)
def test_what_was_parsed_stays_where_the_text_is_edited(form: Form) -> None:
    assert isinstance(form(router(strategy=Editing())), City)


@pytest.mark.parametrize("form", FORMS[:12])
def test_a_visible_answer_is_not_edited_in_any_form(form: Form) -> None:
    llm = router(strategy=Editing(visible=True))
    with pytest.raises(RouterError, match="edited a visible answer; only held ones"):
        form(llm)
    entry = last(llm)
    assert entry["outcome"] == "failed"
    assert outcomes(entry) == [("small", "answered")]


async def test_what_was_shown_stays_shown_and_then_comes_the_error() -> None:
    llm, texts = router(strategy=Editing(visible=True)), list[str]()
    stream = await llm.astream_chat([said("Hi")])

    async def read() -> None:
        async for part in stream:
            texts.append(part.delta or "")

    with pytest.raises(RouterError, match="edited"):
        await read()
    assert "edited" not in "".join(texts)
    assert len(texts) > 1
