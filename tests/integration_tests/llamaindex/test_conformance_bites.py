"""The conformance suite fails for LLMs that break one promise each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.mock import MockLLM

from tests.contracts.llamaindex import LLMContract


class MutatesMessages(MockLLM):
    def chat(self, messages: Any, **kwargs: Any) -> Any:
        messages.append(ChatMessage(content="Be brief."))
        return super().chat(messages, **kwargs)


class DoublesEvents(MockLLM):
    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> Any:
        return super().chat(messages, **kwargs)


class ReturnsNoCoroutine(MockLLM):
    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        for response in self.stream_chat(messages, **kwargs):
            yield response


class LosesDeltas(MockLLM):
    def stream_complete(self, *args: Any, **kwargs: Any) -> Any:
        for response in super().stream_complete(*args, **kwargs):
            yield response.model_copy(update={"delta": None})


class ShowsItsKey(MockLLM):
    api_key: str = "sk-secret"


class ForgetsCallbacks(MockLLM):
    def complete(self, prompt: str, *args: Any, **kwargs: Any) -> Any:
        return CompletionResponse(text=prompt)


class PretendsToCallTools(MockLLM):
    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_function_calling_model=True)


class WrapsErrors(CustomLLM):
    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("something went wrong") from KeyError("the real error")

    stream_complete = complete


class Keyed(LLMContract):
    secret = "sk-secret"
    subject = MockLLM()


suite = Keyed()
CHECKS: dict[type[LLM], Callable[[Any], None]] = {
    MutatesMessages: suite.test_the_messages_stay_as_they_are,
    DoublesEvents: lambda llm: suite.test_a_call_is_one_pair_of_events_in_one_span("chat", llm),
    ReturnsNoCoroutine: lambda llm: suite.test_a_call_gives_what_its_signature_promises(
        "astream_chat", llm
    ),
    LosesDeltas: lambda llm: suite.test_the_deltas_of_a_stream_add_up_to_its_text(
        "stream_complete", llm
    ),
    ShowsItsKey: lambda llm: suite.test_no_secret_is_shown("repr", llm),
    ForgetsCallbacks: suite.test_callbacks_set_late_count_tokens,
    PretendsToCallTools: suite.test_its_metadata_agree_with_its_class,
}


@pytest.mark.parametrize("broken", CHECKS, ids=lambda broken: broken.__name__)
def test_what_an_llm_breaks_is_found(broken: type[LLM]) -> None:
    CHECKS[broken](MockLLM())
    with pytest.raises(AssertionError):
        CHECKS[broken](broken())


def test_an_error_in_disguise_is_found() -> None:
    with pytest.raises(AssertionError):
        suite.test_an_error_reaches_the_caller_as_it_is("complete", (WrapsErrors(), KeyError))
