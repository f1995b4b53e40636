"""`RouterLLM` held to the contract, by its numbers, over scripted LLMs."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from typing import Any

import pytest
from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import ImageBlock, MessageRole, TextBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.prompts import ChatPromptTemplate

from llamaindex_router import Candidate, Policy, RouterLLM, local_only
from shared_core import (
    AllCandidatesFailedError,
    ConfigurationError,
    NoCandidateError,
    UnknownCandidateError,
)
from tests.fakes.script import Break
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    QUESTION,
    RECORDED,
    TEMPLATE,
    TOOL,
    City,
    Form,
)

if not hasattr(types, "ToolCallBlock"):
    pytest.skip("the scripted LLMs need LlamaIndex's tool call blocks", allow_module_level=True)

from tests.fakes.llms import ScriptedLLM, ScriptedTextLLM

KEYS = {
    "decision_id", "candidate", "reason", "calibrated", "attempts", "cost_usd", "energy_wh"
}  # fmt: skip

every_form = pytest.mark.parametrize("form", FORMS)
recorded_form = pytest.mark.parametrize("form", RECORDED)


def router(small: Any = None, large: Any = None, **settings: Any) -> RouterLLM:
    """A router over two scripted LLMs, small and large."""
    small = ScriptedLLM(model="small") if small is None else small
    large = ScriptedLLM(model="large") if large is None else large
    return RouterLLM(candidates={"small": small, "large": large}, **settings)


class Busy(Exception):
    """As a vendor's SDK raises it."""

    status_code = 429


class Denied(Exception):
    """As a vendor's SDK raises it."""

    status_code = 401


class Counted:
    """Makes a router and counts its decisions."""

    def __init__(self, *llms: Any) -> None:
        made: list[Any] = []
        plain = router().predictor

        class Counting(type(plain)):  # type: ignore[misc]
            def predict(self, *args: Any) -> Any:
                made.append(args)
                return super().predict(*args)

        self.made = made
        self.llm = router(*llms, predictor=Counting())


@every_form
def test_35_one_decision_and_the_same_method_of_one_candidate(form: Form) -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    counted = Counted(small, large)
    assert isinstance(counted.llm, FunctionCallingLLM)
    form(counted.llm)
    assert len(counted.made) == 1
    assert len(small.calls) == 1
    assert large.calls == []
    if "tools" in form.__name__:
        assert small.bound == [[TOOL]]


@recorded_form
def test_35_37_the_record_is_on_the_response_and_on_the_message(form: Form) -> None:
    bare, routed = form(ScriptedLLM(model="small")), form(router())
    record = routed.additional_kwargs["router"]
    assert set(record) == KEYS
    assert json.loads(json.dumps(record)) == record
    assert record["candidate"] == "small"
    assert record["attempts"] == [{"candidate": "small", "outcome": "answered"}]
    if hasattr(routed, "message"):
        assert routed.message.additional_kwargs["router"] == record
        assert routed.message.content == bare.message.content
    else:
        assert routed.text == bare.text


@every_form
def test_model_forces_a_candidate_in_every_form(form: Form) -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    form(router(small, large), model="large")
    assert small.calls == []
    assert large.calls[0].kwargs.get("model") is None
    with pytest.raises(UnknownCandidateError, match="'gpt-9'; there are: small, large"):
        form(router(), model="gpt-9")


def test_model_may_stand_among_the_templates_values() -> None:
    large = ScriptedLLM(model="large")
    router(large=large).structured_predict(City, TEMPLATE, place="Europe", model="large")
    assert len(large.calls) == 1


def test_35_tool_calls_are_decoded_by_the_one_that_wrote_them() -> None:
    class Decoding(ScriptedLLM):
        decoded: int = 0

        def get_tool_calls_from_response(self, *args: Any, **kwargs: Any) -> Any:
            self.decoded += 1
            return super().get_tool_calls_from_response(*args, **kwargs)

    small, large = Decoding(model="small"), Decoding(model="large")
    llm = router(small, large)
    response = llm.chat_with_tools([TOOL], user_msg="weather?", tool_required=True)
    (selection,) = llm.get_tool_calls_from_response(response)
    assert selection.tool_name == "weather"
    response.additional_kwargs.clear()  # agents keep the message alone
    assert llm.get_tool_calls_from_response(response)
    assert (small.decoded, large.decoded) == (2, 0)
    response.message.additional_kwargs.clear()
    assert llm.get_tool_calls_from_response(response)
    assert (small.decoded, large.decoded) == (2, 1)


def test_35_the_private_preparation_stays_with_its_candidate() -> None:
    prepared = router()._prepare_chat_with_tools([TOOL], user_msg="weather?")
    assert prepared["model"] == "small"
    assert prepared["tools"]


@every_form
def test_36_events_are_the_candidates_once(form: Form) -> None:
    class Events(BaseEventHandler):
        seen: list[Any] = []  # noqa: RUF012

        def handle(self, event: Any, **kwargs: Any) -> None:
            self.seen.append(event)

    def events(llm: Any) -> list[Any]:
        handler = Events(seen=[])
        dispatcher = get_dispatcher()
        dispatcher.add_event_handler(handler)
        try:
            form(llm)
        finally:
            dispatcher.event_handlers.remove(handler)
        kinds = ("LLMChatStart", "LLMChatEnd", "LLMCompletionStart", "LLMCompletionEnd")
        return [event for event in handler.seen if event.class_name().startswith(kinds)]

    bare, routed = events(ScriptedLLM(model="small")), events(router())
    assert [e.class_name() for e in routed] == [e.class_name() for e in bare]
    starts = [event for event in routed if hasattr(event, "model_dict")]
    assert [event.model_dict["class_name"] for event in starts] == ["scripted_llm"]


def test_34_the_callers_lists_and_messages_stay_as_they_are() -> None:
    history = [ChatMessage(content="Hi"), ChatMessage(role="assistant", content="Hello")]
    before = [message.model_dump() for message in history]
    llm = router(ScriptedLLM(replies=[Busy()]), ScriptedLLM(model="large"))
    llm.chat_with_tools([TOOL], user_msg="weather?", chat_history=history, tool_required=True)
    llm.chat(history)
    assert [message.model_dump() for message in history] == before


def test_37_no_stamp_of_ours_is_sent_again() -> None:
    small = ScriptedLLM(model="small", native_structured=True)
    llm = router(small)
    answer = llm.chat([ChatMessage(content=QUESTION)]).message
    assert "router" in answer.additional_kwargs
    history = [ChatMessage(content=QUESTION), answer, ChatMessage(content="And of Spain?")]
    llm.chat(history)
    llm.chat_with_tools([TOOL], chat_history=history)
    llm.structured_predict(City, ChatPromptTemplate(history))
    assert len(small.calls) == 4
    for call in small.calls:
        assert all("router" not in message.additional_kwargs for message in call.messages)
    assert "router" in answer.additional_kwargs


def test_38_a_callback_manager_set_late_counts_tokens() -> None:
    llm = router()
    counter = TokenCountingHandler(tokenizer=str.split)
    llm.callback_manager = CallbackManager([counter])
    llm.chat([ChatMessage(content=QUESTION)])
    assert counter.total_llm_token_count > 0
    counter = TokenCountingHandler(tokenizer=str.split)
    router(callback_manager=CallbackManager([counter])).complete(QUESTION)
    assert counter.total_llm_token_count > 0


def test_39_structured_output_goes_the_candidates_native_way() -> None:
    small = ScriptedLLM(model="small", native_structured=True)
    assert isinstance(router(small).structured_predict(City, TEMPLATE, place="Asia"), City)
    assert "response_format" in small.calls[0].kwargs
    assert "tools" not in small.calls[0].kwargs


def test_39_the_routers_system_prompt_is_applied() -> None:
    small = ScriptedLLM(model="small", native_structured=True)
    llm = router(small, system_prompt="Answer in {braces}.")
    llm.structured_predict(City, TEMPLATE, place="Asia")
    first, second = small.calls[0].messages
    assert (first.role, first.content) == (MessageRole.SYSTEM, "Answer in {braces}.")
    assert second.content == "Name a city in Asia."
    llm.predict(TEMPLATE, place="Asia")
    assert small.calls[1].messages[0].content == "Answer in {braces}."


def test_39_metadata_is_what_holds_for_all() -> None:
    text = ScriptedTextLLM(model="text", context_window=900, num_output=50)
    llm = router(text, ScriptedLLM(context_window=8000, num_output=-1))
    assert llm.metadata.context_window == 900
    assert llm.metadata.num_output == 50
    assert llm.metadata.is_function_calling_model
    assert router(text, text.model_copy()).metadata.is_function_calling_model is False
    assert router(text, context_window=5000).metadata.context_window == 5000


@pytest.mark.parametrize("method", ["chat", "chat_with_tools"])
def test_39_the_system_role_is_the_candidates(method: str) -> None:
    small = ScriptedLLM(model="small", system_role=MessageRole.USER)
    system = ChatMessage(role="system", content="Be brief.")
    if method == "chat":
        router(small).chat([system, ChatMessage(content="Hi")])
    else:
        router(small).chat_with_tools([TOOL], user_msg="Hi", chat_history=[system])
    assert [m.role for m in small.calls[0].messages] == [MessageRole.USER] * 2
    assert system.role == MessageRole.SYSTEM


def test_40_it_pickles_when_the_candidates_do() -> None:
    llm = RouterLLM({"small": MockLLM(), "large": MockLLM()})
    twin = pickle.loads(pickle.dumps(llm))  # noqa: S301
    assert twin.complete("Hello").additional_kwargs["router"]["candidate"] == "small"


def test_40_no_secret_is_shown() -> None:
    class Keyed(ScriptedLLM):
        api_key: str = "sk-secret"

    llm = router(Keyed(model="small"))
    shown = f"{llm!r} {llm} {llm.to_dict()} {llm.model_dump()} {llm.to_payload()} {llm.candidates}"
    shown = shown.replace(repr(llm.candidates), "")  # the user's own mapping, as it was given
    assert "sk-secret" not in shown


def test_17_who_cannot_call_tools_is_never_asked() -> None:
    text = ScriptedTextLLM(model="text")
    response = router(text).chat_with_tools([TOOL], user_msg="weather?", tool_required=True)
    assert response.additional_kwargs["router"]["candidate"] == "large"
    assert text.calls == []
    both = RouterLLM({"a": ScriptedTextLLM(), "b": ScriptedTextLLM()})
    with pytest.raises(NoCandidateError, match=r"a: cannot call tools .*; b: cannot call tools"):
        both.chat_with_tools([TOOL], user_msg="weather?")


def test_26_images_pass_and_the_blind_are_refused() -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    llm = RouterLLM(
        [Candidate("small", small, capabilities={"image_inputs": False}), Candidate("large", large)]
    )
    picture = ImageBlock(url="https://example.org/a.png")
    message = ChatMessage(blocks=[TextBlock(text="What is it?"), picture])
    assert llm.explain(message).refusals[0].reason == "cannot read images"
    llm.chat([message])
    assert small.calls == []
    assert large.calls[0].messages[0].blocks == message.blocks


def test_a_prompt_over_the_window_is_refused() -> None:
    llm = router(ScriptedLLM(context_window=100), ScriptedLLM(context_window=8000))
    decision = llm.explain("word " * 200)
    assert decision.candidate == "large"
    assert "its window holds 100" in decision.refusals[0].reason


@recorded_form
@pytest.mark.parametrize("error", [Busy(), ConnectionError("lost")])
def test_after_a_retryable_failure_the_next_answers(form: Form, error: Exception) -> None:
    response = form(router(ScriptedLLM(replies=[error])))
    record = response.additional_kwargs["router"]
    assert record["candidate"] == "large"
    assert [a["outcome"] for a in record["attempts"]] == ["failed", "answered"]


@every_form
def test_an_error_that_no_other_could_mend_is_raised_as_it_is(form: Form) -> None:
    large = ScriptedLLM(model="large")
    with pytest.raises(Denied):
        form(router(ScriptedLLM(replies=[Denied()]), large))
    assert large.calls == []
    with pytest.raises(AllCandidatesFailedError):
        form(router(ScriptedLLM(replies=[Busy()]), ScriptedLLM(replies=[Busy()])))


@pytest.mark.parametrize("form", [f for f in RECORDED[:8] if "stream" in f.__name__])
def test_nothing_is_spliced(form: Form) -> None:
    large = ScriptedLLM(model="large")
    broken = ScriptedLLM(replies=[Break(Busy(), after=1, reply=["Hel", "lo"])])
    with pytest.raises(Busy):
        form(router(broken, large))
    assert large.calls == []


async def test_28_the_loop_ticks_while_a_candidate_is_slow() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    slow = router(ScriptedLLM(model="small", delay_s=0.3))
    await slow.achat([ChatMessage(content=QUESTION)])
    assert [r async for r in await slow.astream_complete(QUESTION)]
    ticking.cancel()
    assert ticks > 20


def test_explain_and_with_policy() -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    llm = router(small, large)
    strict = llm.with_policy(Policy(quality=1))
    assert llm.explain(QUESTION).candidate == "small"
    assert strict.explain([ChatMessage(content=QUESTION)]).candidate == "large"
    assert llm.explain(QUESTION, model="large").reason == "large was asked for by name"
    assert small.calls == large.calls == []
    assert strict.complete(QUESTION).additional_kwargs["router"]["candidate"] == "large"
    with pytest.raises(NoCandidateError, match="run locally"):
        llm.with_policy(Policy(subject_to=[local_only()])).complete(QUESTION)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RouterLLM(), "candidates is missing"),
        (lambda: RouterLLM([]), "candidates is empty"),
        (lambda: RouterLLM({"a": "gpt-5"}), "must be a LlamaIndex LLM"),
        (
            lambda: RouterLLM([Candidate("a", MockLLM()), Candidate("a", MockLLM())]),
            "two candidates are named 'a'",
        ),
        (lambda: Candidate("a", MockLLM(), price=(-1, 0)), "must not be negative"),
        (lambda: Candidate("a", MockLLM(), strength=math.nan), "finite number"),
        (lambda: router(polcy=Policy()), "did you mean 'policy'"),
        (lambda: router(rate_limiter=object()), "rate_limiter belongs to the candidates"),
        (lambda: router(policy=0.9), "policy must be a Policy"),
    ],
)
def test_wrong_arguments_say_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_35_a_router_is_a_candidate_and_its_tool_calls_are_decoded() -> None:
    outer = router(router(), ScriptedLLM(model="large"))
    response = outer.chat_with_tools([TOOL], user_msg="weather?", tool_required=True)
    assert response.additional_kwargs["router"]["candidate"] == "small"
    nested = RouterLLM({"inner": router()})
    response = nested.chat_with_tools([TOOL], user_msg="weather?", tool_required=True)
    assert response.additional_kwargs["router"]["candidate"] == "inner"
    assert nested.get_tool_calls_from_response(response)[0].tool_name == "weather"


def test_a_history_may_use_our_key_for_something_else() -> None:
    other = ChatMessage(role="assistant", content="Hi", additional_kwargs={"router": "wifi"})
    assert router().chat([other, ChatMessage(content=QUESTION)]).message.content


def test_34_a_stream_sends_what_was_asked_when_it_was_asked_for() -> None:
    small = ScriptedLLM(model="small")
    messages = [ChatMessage(content=QUESTION)]
    stream = router(small).stream_chat(messages)
    messages.append(ChatMessage(content="written later"))
    list(stream)
    assert [message.content for message in small.calls[0].messages] == [QUESTION]


def test_34_attempts_at_structured_output_share_no_arguments() -> None:
    class Writing(ScriptedLLM):
        def structured_predict(
            self, output_cls: Any, prompt: Any, llm_kwargs: Any, **_: Any
        ) -> Any:
            llm_kwargs["mine"] = True
            raise Busy

    large = ScriptedLLM(model="large", native_structured=True)
    router(Writing(), large).structured_predict(City, TEMPLATE, place="Asia")
    assert "mine" not in large.calls[0].kwargs
