"""The conformance suite over real OpenAI clients and LlamaIndex's own mock, bare and routed.

The bare classes show what the suite finds in others' code; a router has to pass what its candidates
pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import httpx
import openai
import pytest
from llama_index.core.base.llms import types
from llama_index.core.llms import LLM
from llama_index.core.llms.mock import MockLLM

from llamaindex_router import RouterLLM
from tests.contracts.llamaindex import LLMContract
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.integration_tests.llamaindex.forms import client
from tests.integration_tests.llamaindex.gates import (
    MOCK_LLM,
    PLAIN_KEY,
    ROUTED_MOCK_LLM,
    TWO_ATTEMPTS,
    accepting,
    escalating,
    routed,
)

KEY = "sk-secret"
OPENAI = {
    "test_the_history_and_the_tools_stay_as_they_are": "it appends the question to the history",
    **PLAIN_KEY,
}


@pytest.fixture(scope="module")
def http() -> Iterator[dict[str, Any]]:
    """One for all: to make a client takes longer than to use it."""
    shared = httpx.AsyncClient()
    with httpx.Client() as client:
        yield {"http_client": client, "async_http_client": shared}
    asyncio.run(shared.aclose())


class OverOpenAI(LLMContract):
    """A client that has a key, of a server that may be slow or refuse it."""

    supports_images = True
    reports_usage = True
    calls_tools_in_parallel = hasattr(types, "ToolCallBlock")  # older clients do not ask for it
    picklable = False  # for the shared client; `test_contract_clients` copies others
    secret = KEY

    @pytest.fixture
    def llm(self, server: OpenAIServer, http: dict[str, Any]) -> LLM:
        return client(server, api_key=KEY, **http)

    @pytest.fixture
    def slow_llm(self, llm: LLM, server: OpenAIServer) -> LLM:
        server.script("small", repeat(Fault("slow", first_s=self.slow_s)))
        return llm

    @pytest.fixture
    def failing_llm(self, llm: LLM, server: OpenAIServer) -> tuple[LLM, Any]:
        server.script("small", repeat(Fault("status", status=401)))
        return llm, openai.AuthenticationError


class TestOpenAILike(OverOpenAI):
    """A real client of the loopback server."""

    known_failures = OPENAI


class TestRouterOverOpenAILike(OverOpenAI):
    """A router over two such clients."""

    @pytest.fixture
    def llm(self, server: OpenAIServer, http: dict[str, Any]) -> RouterLLM:
        return routed(*(client(server, name, api_key=KEY, **http) for name in ("small", "large")))


class TestAcceptingCascade(OverOpenAI):
    """A cascade over two such clients that takes every draft."""

    @pytest.fixture
    def llm(self, server: OpenAIServer, http: dict[str, Any]) -> RouterLLM:
        return accepting(*(client(server, n, api_key=KEY, **http) for n in ("small", "large")))


class TestEscalatingCascade(OverOpenAI):
    """A cascade over two such clients that takes no draft."""

    known_failures = TWO_ATTEMPTS

    @pytest.fixture
    def llm(self, server: OpenAIServer, http: dict[str, Any]) -> RouterLLM:
        return escalating(*(client(server, n, api_key=KEY, **http) for n in ("small", "large")))


class TestMockLLM(LLMContract):
    """LlamaIndex's mock of a completion model: it repeats its prompt."""

    known_failures = MOCK_LLM

    @pytest.fixture
    def llm(self) -> LLM:
        return MockLLM()


class TestRouterOverMockLLM(LLMContract):
    """A router over two of them, which closes the streams that they leave open."""

    known_failures = ROUTED_MOCK_LLM

    @pytest.fixture
    def llm(self) -> RouterLLM:
        return routed(MockLLM(), MockLLM())
