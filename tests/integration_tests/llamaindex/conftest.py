"""A loopback server, a bare client of it, and a router over two such clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import RouterLLM
from tests.fakes.openai_server import OpenAIServer
from tests.integration_tests.llamaindex.forms import client


@pytest.fixture(scope="module")
def running_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def server(running_server: OpenAIServer) -> OpenAIServer:
    running_server.reset()
    return running_server


@pytest.fixture
def bare(server: OpenAIServer) -> OpenAILike:
    """What the router picks for every question that is not hard."""
    return client(server, "small")


@pytest.fixture
def llm(server: OpenAIServer) -> RouterLLM:
    return RouterLLM({name: client(server, name) for name in ("small", "large")})
