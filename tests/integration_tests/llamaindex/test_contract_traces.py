"""What observers of a `RouterLLM` see, by the contract's numbers: events, token counts, dumps."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockLLM

from llamaindex_router import Policy, RouterLLM
from tests.integration_tests.llamaindex.forms import FORMS, QUESTION, Form
from tests.integration_tests.llamaindex.scripted import Busy, router

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.llms import ScriptedLLM  # isort: skip

every_form = pytest.mark.parametrize("form", FORMS)


def events_of(form: Form, llm: Any) -> list[Any]:
    """The events of LLM calls that a form causes."""

    class Events(BaseEventHandler):
        seen: list[Any] = []  # noqa: RUF012

        def handle(self, event: Any, **kwargs: Any) -> None:
            self.seen.append(event)

    handler = Events(seen=[])
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(handler)
    try:
        form(llm)
    finally:
        dispatcher.event_handlers.remove(handler)
    kinds = ("LLMChatStart", "LLMChatEnd", "LLMCompletionStart", "LLMCompletionEnd")
    return [event for event in handler.seen if event.class_name().startswith(kinds)]


@every_form
def test_36_every_attempt_has_its_own_events(form: Form) -> None:
    def lost() -> ScriptedLLM:
        return ScriptedLLM(model="small", replies=[Busy()])

    def failing(llm: Any) -> None:
        with pytest.raises(Busy):
            form(llm)

    bare = events_of(failing, lost()) + events_of(form, ScriptedLLM(model="large"))
    routed = events_of(form, router(lost()))
    assert [e.class_name() for e in routed] == [e.class_name() for e in bare]
    starts = [event.model_dict["model_name"] for event in routed if hasattr(event, "model_dict")]
    assert starts == ["small", "large"]


def test_38_a_callback_manager_set_late_counts_tokens_once() -> None:
    def counted(llm: Any) -> int:
        counter = TokenCountingHandler(tokenizer=str.split)
        llm.callback_manager = CallbackManager([counter])
        llm.chat([ChatMessage(content=QUESTION)])
        llm.complete(QUESTION)
        return int(counter.total_llm_token_count)

    assert counted(router()) == counted(ScriptedLLM(model="small")) > 0
    counter = TokenCountingHandler(tokenizer=str.split)
    router(callback_manager=CallbackManager([counter])).complete(QUESTION)
    assert counter.total_llm_token_count > 0


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))])  # noqa: S301
def test_40_it_is_copied_and_pickled_when_the_candidates_can_be(twin: Any) -> None:
    llm = RouterLLM({"small": MockLLM(), "large": MockLLM()}, temperature=0.5)
    made = twin(llm.with_policy(Policy(quality=1)))
    assert made.complete("Hello").additional_kwargs["router"]["candidate"] == "large"
    assert made.temperature == 0.5
    assert made.candidates["large"] is not llm.candidates["large"]
    assert twin(llm).complete("Hello").additional_kwargs["router"]["candidate"] == "small"
