"""The users' own usual clients over the served models: what a router is built from.

In: endpoints, weakest first. Out: for each framework, the bare clients by name and a router.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike

from examples.demo.server import CONTEXT_WINDOW, Endpoint
from langchain_router import Candidate, ChatRouter
from llamaindex_router import RouterLLM

MAX_TOKENS = 256
LOCAL_CAPABILITIES = {"tool_calling": False, "structured_output": True}
"""The embedded server gives JSON by schema, but does not parse tool calls."""

OLLAMA = "http://127.0.0.1:11434/v1"


@dataclass(frozen=True)
class Named:
    """A model to route to.

    Attributes:
        name: "small" or "large".
        endpoint: Where it answers; None for the vendor's own address.
        model: The name to ask for.
        local: It runs on this machine.
    """

    name: str
    model: str
    endpoint: Endpoint | None = None
    local: bool = True


def user_named(choice: str) -> Named:
    """Return the large model that the user names, `openai:MODEL` or `ollama:MODEL`.

    Raises:
        ValueError: Neither of the two.
    """
    provider, _, model = choice.partition(":")
    if provider == "ollama" and model:
        return Named("large", model, Endpoint(url=OLLAMA, model=model, key="ollama"))
    if provider == "openai" and model:
        return Named("large", model, local=False)
    raise ValueError(f"LARGE must be openai:MODEL or ollama:MODEL, not {choice!r}")


def chat_client(named: Named) -> ChatOpenAI:
    """Return the LangChain client; without `stream_usage` no usage comes from such an address."""
    where: dict[str, Any] = {}
    if named.endpoint:
        where = {"base_url": named.endpoint.url, "api_key": named.endpoint.key, "temperature": 0}
    return ChatOpenAI(
        model=named.model, max_tokens=MAX_TOKENS, stream_usage=True, max_retries=0, **where
    )


def llm_client(named: Named) -> OpenAILike:
    """Return the LlamaIndex client."""
    where: dict[str, Any] = {}
    if named.endpoint:
        where = {"api_base": named.endpoint.url, "api_key": named.endpoint.key, "temperature": 0}
    return OpenAILike(
        model=named.model,
        max_tokens=MAX_TOKENS,
        is_chat_model=True,
        is_function_calling_model=not _embedded(named),
        context_window=CONTEXT_WINDOW if _embedded(named) else 32_000,
        max_retries=0,
        **where,
    )


def chat_router(models: Sequence[Named]) -> ChatRouter:
    """Return the LangChain router over them, weakest first."""
    return ChatRouter(candidates=[_candidate(named, chat_client(named)) for named in models])


def router_llm(models: Sequence[Named]) -> RouterLLM:
    """Return the LlamaIndex router over them, weakest first."""
    return RouterLLM(candidates=[_candidate(named, llm_client(named)) for named in models])


def _candidate(named: Named, client: Any) -> Candidate:
    known: dict[str, Any] = {}
    if _embedded(named):
        known = {"capabilities": LOCAL_CAPABILITIES, "context_window": CONTEXT_WINDOW}
    return Candidate(named.name, client, local=named.local, **known)


def _embedded(named: Named) -> bool:
    return named.endpoint is not None and named.endpoint.url != OLLAMA
