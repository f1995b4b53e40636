"""The conformance suite over scripted LLMs and LlamaIndex's mock that calls functions."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.llms import LLM

from llamaindex_router import ChainOfThought, RouterLLM
from tests.contracts.llamaindex import LLMContract
from tests.fakes.core import FixedPredictor
from tests.integration_tests.llamaindex.gates import (
    CUSTOM_CHAT,
    PLAIN_KEY,
    ROUTED_CUSTOM_CHAT,
    TWO_ATTEMPTS,
    accepting,
    escalating,
    mixing,
    routed,
)
from tests.integration_tests.llamaindex.scripted import Denied

# After `scripted`, which skips this module where LlamaIndex is too old for these LLMs.
from llama_index.core.llms.mock import MockFunctionCallingLLM  # isort: skip
from tests.fakes.llms import ScriptedLLM, ScriptedTextLLM  # isort: skip

DENIED = Denied()


class Keyed(ScriptedLLM):
    """Has a key that everybody can see, as many integrations have."""

    api_key: str = "sk-secret"


class OverScripted(LLMContract):
    """Chats, streams word by word and calls tools."""

    supports_images = True
    reports_usage = True
    secret = "sk-secret"

    def make(self, **settings: Any) -> LLM:
        return Keyed(model="small", **settings)

    @pytest.fixture
    def llm(self) -> LLM:
        return self.make()

    @pytest.fixture
    def slow_llm(self) -> LLM:
        return self.make(delay_s=self.slow_s)

    @pytest.fixture
    def failing_llm(self) -> tuple[LLM, Exception]:
        return self.make(replies=[DENIED]), DENIED


class TestScripted(OverScripted):
    """Has the habits of the OpenAI integration."""

    known_failures = {  # noqa: RUF012
        "test_the_history_and_the_tools_stay_as_they_are": "it appends to the history, on purpose",
        **PLAIN_KEY,
    }


class TestRouterOverScripted(OverScripted):
    """A router over two of them."""

    def make(self, **settings: Any) -> RouterLLM:
        return routed(super().make(**settings), Keyed(model="large"))


class TestAcceptingCascade(OverScripted):
    """A cascade over two of them that takes every draft."""

    def make(self, **settings: Any) -> RouterLLM:
        return accepting(super().make(**settings), Keyed(model="large"))


class TestReasoning(OverScripted):
    """A router over two of them that has them think step by step."""

    def make(self, **settings: Any) -> RouterLLM:
        made = {"small": super().make(**settings), "large": Keyed(model="large")}
        chances = FixedPredictor({"small": 0.9, "large": 0.9})
        return RouterLLM(made, predictor=chances, strategy=ChainOfThought(easy="low"))


class TestEscalatingCascade(OverScripted):
    """A cascade over two of them that takes no draft."""

    known_failures = TWO_ATTEMPTS

    def make(self, **settings: Any) -> RouterLLM:
        return escalating(super().make(**settings), Keyed(model="large"))


class TestMixture(OverScripted):
    """A router over two of them that both propose, before the large one answers."""

    known_failures = {  # noqa: RUF012
        "test_a_call_is_one_pair_of_events_in_one_span": "a mixture of two asks three times",
        "test_an_error_reaches_the_caller_as_it_is": "one error for all that failed",
    }

    def make(self, **settings: Any) -> RouterLLM:
        return mixing(super().make(**settings), Keyed(model="large", **settings))


BLOCKING = {
    "test_no_async_call_blocks_the_loop": "CustomLLM's async chats call its sync ones",
    "test_a_cancelled_call_leaves_no_task[achat]": "and cannot be cancelled meanwhile",
    "test_a_cancelled_call_leaves_no_task[astream_chat]": "and cannot be cancelled meanwhile",
}


class OverText(OverScripted):
    """Completes alone; the base class makes chats of it."""

    secret = None
    slow_s = 0.1
    known_failures = CUSTOM_CHAT | BLOCKING

    def make(self, **settings: Any) -> LLM:
        return ScriptedTextLLM(model="small", **settings)


class TestText(OverText):
    """A completion LLM without function calling."""


class TestRouterOverText(OverText):
    """A router over two of them, which closes the streams that they leave open."""

    known_failures = ROUTED_CUSTOM_CHAT | BLOCKING

    def make(self, **settings: Any) -> RouterLLM:
        return routed(super().make(**settings), ScriptedTextLLM(model="large"))


class OverMock(LLMContract):
    """Calls every tool with its default arguments, so it fills no class."""

    gives_structured_output = False
    known_failures = {  # noqa: RUF012
        **{
            f"test_a_call_is_one_pair_of_events_in_one_span[{method}]": "achat calls decorated chat"
            for method in ("achat", "achat_with_tools")
        },
        "test_an_answer_without_a_tool_call_is_an_error_or_not": "it never raises",
    }


class TestMockFunctionCallingLLM(OverMock):
    """LlamaIndex's mock of a model that calls functions."""

    @pytest.fixture
    def llm(self) -> LLM:
        return MockFunctionCallingLLM()


class TestRouterOverMockFunctionCallingLLM(OverMock):
    """A router over two of them."""

    @pytest.fixture
    def llm(self) -> RouterLLM:
        return routed(MockFunctionCallingLLM(), MockFunctionCallingLLM())
