"""A loopback server, a bare client of it, and a router over two such clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.language_models import BaseChatModel

from langchain_router import ChatRouter
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.standard_gates import openai_chat


@pytest.fixture(scope="module")
def running_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def server(running_server: OpenAIServer) -> OpenAIServer:
    running_server.reset()
    return running_server


@pytest.fixture
def bare(server: OpenAIServer) -> BaseChatModel:
    """What the router picks for every question that is not hard."""
    return openai_chat(server, "small")


@pytest.fixture
def llm(server: OpenAIServer) -> ChatRouter:
    return ChatRouter({name: openai_chat(server, name) for name in ("small", "large")})
