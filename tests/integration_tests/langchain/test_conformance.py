"""The conformance suite over scripted chat models and real OpenAI clients, bare and routed.

The bare classes show what the suite finds in others' code; a router has to pass what its candidates
pass.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import openai
import pytest
from langchain_core.language_models import BaseChatModel

from langchain_router import Cascade, ChainOfThought, ChatRouter, MixtureOfAgents
from shared_core.types import Draft
from tests.contracts.langchain import ChatModelContract
from tests.fakes.chat_models import ScriptedChat, ScriptedChatWithoutStream
from tests.fakes.core import FixedPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat

KEY = "sk-secret"


class Denied(Exception):
    """As a vendor's SDK raises it."""

    status_code = 401


DENIED = Denied()
OPEN = "LangChain leaves the run of a model open when `ainvoke` is cancelled"
THREE_RUNS = "a mixture of two asks three times"
CANCELLED = {"test_a_cancelled_call_closes_its_runs_and_leaves_no_task[ainvoke]": OPEN}


def routed(small: BaseChatModel, large: BaseChatModel) -> ChatRouter:
    """A router over two models, of which it picks the small one for a question that is not hard."""
    return ChatRouter({"small": small, "large": large})


ALIKE = FixedPredictor({"small": 0.9, "large": 0.9})


def always(draft: Draft) -> bool:
    return True


def cascading(small: BaseChatModel, large: BaseChatModel, strategy: Any) -> ChatRouter:
    predictor = FixedPredictor({"small": 0.6, "large": 0.85})
    return ChatRouter({"small": small, "large": large}, strategy=strategy, predictor=predictor)


class OverScripted(ChatModelContract):
    """Streams word by word and calls tools."""

    scripted: type[ScriptedChat] = ScriptedChat
    picklable = True
    known_failures = CANCELLED

    def make(self, **settings: Any) -> BaseChatModel:
        return self.scripted(model_name="small", **settings)

    @pytest.fixture
    def model(self) -> BaseChatModel:
        return self.make()

    @pytest.fixture
    def slow_model(self) -> BaseChatModel:
        return self.make(delay_s=self.slow_s)

    @pytest.fixture
    def failing_model(self) -> tuple[BaseChatModel, Exception]:
        return self.make(replies=[DENIED]), DENIED


class TestScripted(OverScripted):
    """The bare one."""

    counts_tokens = False  # the base class fetches a tokenizer


class TestRouterOverScripted(OverScripted):
    """A router over two of them."""

    def make(self, **settings: Any) -> ChatRouter:
        return routed(super().make(**settings), self.scripted(model_name="large"))


class TestAcceptingCascade(OverScripted):
    """A router over two of them that takes the small one's drafts."""

    streams = False  # a draft comes whole
    known_failures = {  # noqa: RUF012
        "test_a_cancelled_call_closes_its_runs_and_leaves_no_task": OPEN,
    }

    def make(self, **settings: Any) -> ChatRouter:
        models = super().make(**settings), self.scripted(model_name="large")
        return cascading(*models, Cascade(always))


class TestMixture(OverScripted):
    """A router over two of them that both propose, before the large one answers."""

    known_failures = {  # noqa: RUF012
        "test_a_call_is_one_model_run_in_a_closed_tree": THREE_RUNS,
        "test_a_bound_call_is_one_model_run_in_a_closed_tree": THREE_RUNS,
        "test_a_stream_that_is_left_closes_its_runs": THREE_RUNS,
        "test_usage_is_counted_as_the_message_says": THREE_RUNS,
        "test_the_global_cache_is_heeded": THREE_RUNS,
        "test_a_batch_keeps_to_its_concurrency": "and each call of it asks two at once",
        "test_an_async_batch_keeps_to_its_concurrency": "and each call of it asks two at once",
        "test_an_error_reaches_the_caller_and_closes_its_runs": "one error for all that failed",
        "test_a_batch_returns_errors_if_told_to": "one error for all that failed",
        "test_a_cancelled_call_closes_its_runs_and_leaves_no_task": OPEN,
    }

    def make(self, **settings: Any) -> ChatRouter:
        large = self.scripted(model_name="large", **settings)
        strategy = MixtureOfAgents(("small", "large"))
        return cascading(super().make(**settings), large, strategy)


class TestReasoning(OverScripted):
    """A router over two of them that has them think step by step."""

    streams = False  # an answer is held until it is whole
    known_failures = TestAcceptingCascade.known_failures

    def make(self, **settings: Any) -> ChatRouter:
        made = {"small": super().make(**settings), "large": self.scripted(model_name="large")}
        return ChatRouter(made, predictor=ALIKE, strategy=ChainOfThought(easy="low"))


class OverMute(OverScripted):
    """Never implemented streaming."""

    scripted = ScriptedChatWithoutStream
    streams = False
    known_failures = {  # noqa: RUF012
        "test_a_cancelled_call_closes_its_runs_and_leaves_no_task": OPEN,
    }


class TestMute(OverMute):
    """The bare one."""

    counts_tokens = False
    known_failures = OverMute.known_failures | {
        "test_a_stream_is_chunks_of_which_one_is_the_last": "it streams one whole message",
    }


class TestRouterOverMute(OverMute, TestRouterOverScripted):
    """A router over two of them."""


class OverOpenAI(ChatModelContract):
    """A client that has a key, of a server that may be slow or refuse it."""

    pytestmark = [  # noqa: RUF012 - pytest's own spelling
        pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS
    ]
    secret = KEY
    known_failures = CANCELLED
    structured_methods = ("function_calling", "json_schema", "json_mode")

    def make(self, server: OpenAIServer) -> BaseChatModel:
        return openai_chat(server, "small", api_key=KEY)

    @pytest.fixture
    def model(self, server: OpenAIServer) -> BaseChatModel:
        return self.make(server)

    @pytest.fixture
    def slow_model(self, model: BaseChatModel, server: OpenAIServer) -> BaseChatModel:
        server.script("small", repeat(Fault("slow", first_s=self.slow_s)))
        return model

    @pytest.fixture
    def failing_model(self, model: BaseChatModel, server: OpenAIServer) -> tuple[Any, Any]:
        server.script("small", repeat(Fault("status", status=401)))
        return model, openai.AuthenticationError


class TestChatOpenAI(OverOpenAI):
    """A real client of the loopback server."""

    counts_tokens = False  # it fetches a tokenizer


class TestRouterOverChatOpenAI(OverOpenAI):
    """A router over two such clients."""

    def make(self, server: OpenAIServer) -> ChatRouter:
        return routed(super().make(server), openai_chat(server, "large", api_key=KEY))
