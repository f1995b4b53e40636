"""The users' own usual clients: a served or a named model in, one client per framework out."""

import json
import os
import urllib.request
from dataclasses import dataclass, field

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from llama_index.core.llms import LLM
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

from examples.demo.options import NamedModel
from examples.demo.server import CONTEXT_WINDOW, Endpoint
from shared_core.accounting.energy.meters import Meter

MAX_TOKENS = 160  # of an answer; what is cut off there is graded as it stands
NAMED_MAX_TOKENS = 2048  # for a named model, which may think before it answers
TIMEOUT_S = 300.0  # seconds for one call
OLLAMA = "http://127.0.0.1:11434/v1"


class ClientError(Exception):
    """A named model can't be used; the message says what is missing."""


@dataclass(frozen=True)
class Clients:
    """One model as both frameworks see it, with what is known of it.

    Attributes:
        title: What it is called in print.
        chat: The LangChain client.
        llm: The LlamaIndex client.
        local: It runs on this machine.
        meter: Measures its energy, None where nothing can.
        context_window: Most tokens, None if unknown.
        capabilities: What it can do, under the keys of a LangChain model profile.
    """

    title: str
    chat: BaseChatModel
    llm: LLM
    local: bool
    meter: Meter | None = None
    context_window: int | None = None
    capabilities: dict[str, bool] = field(default_factory=dict)


def reach_loopback_directly() -> None:
    """Keeps a proxy that the environment names out of calls to this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        os.environ[name] = f"{others},127.0.0.1" if others else "127.0.0.1"


def served(endpoint: Endpoint, title: str, meter: Meter, *, tools: bool = False) -> Clients:
    """Clients for a model of ours. Its server keeps to a JSON schema.

    Args:
        endpoint: Where it is served.
        title: What it is called in print.
        meter: Measures its energy.
        tools: Its server reads tool calls, too.
    """
    return Clients(
        title=title,
        chat=ChatOpenAI(
            base_url=endpoint.url,
            api_key=endpoint.key,
            model=endpoint.model,
            temperature=0,
            max_tokens=MAX_TOKENS,
            timeout=TIMEOUT_S,
            max_retries=0,
            stream_usage=True,  # no custom address reports its tokens in a stream without it
        ),
        llm=OpenAILike(
            api_base=endpoint.url,
            api_key=endpoint.key,
            model=endpoint.model,
            temperature=0,
            max_tokens=MAX_TOKENS,
            timeout=TIMEOUT_S,
            max_retries=0,
            context_window=CONTEXT_WINDOW,
            is_chat_model=True,
            is_function_calling_model=tools,
        ),
        local=True,
        meter=meter,
        context_window=CONTEXT_WINDOW,
        capabilities={"tool_calling": tools, "structured_output": True},
    )


def named(model: NamedModel) -> Clients:
    """Clients for a model that the user named.

    Raises:
        ClientError: It needs a key and there is none, or Ollama does not have it.
    """
    return {"openai": _openai, "ollama": _ollama}[model.provider](model.name)


def _openai(name: str) -> Clients:
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        raise ClientError(f"LARGE=openai:{name} needs a key in OPENAI_API_KEY")
    return Clients(
        title=f"{name} (OpenAI, paid)",
        chat=ChatOpenAI(
            model=name,
            api_key=key,
            max_tokens=NAMED_MAX_TOKENS,
            timeout=TIMEOUT_S,
            max_retries=0,
            stream_usage=True,
        ),
        llm=OpenAI(
            model=name,
            api_key=key,
            max_tokens=NAMED_MAX_TOKENS,
            timeout=TIMEOUT_S,
            max_retries=0,
        ),
        local=False,
    )


def _ollama(name: str) -> Clients:
    _require_in_ollama(name)
    return Clients(
        title=f"{name} (Ollama)",
        chat=ChatOpenAI(
            base_url=OLLAMA,
            api_key="ollama",  # the client wants one, Ollama does not look at it
            model=name,
            temperature=0,
            max_tokens=NAMED_MAX_TOKENS,
            timeout=TIMEOUT_S,
            max_retries=0,
            stream_usage=True,
        ),
        llm=OpenAILike(
            api_base=OLLAMA,
            api_key="ollama",
            model=name,
            temperature=0,
            max_tokens=NAMED_MAX_TOKENS,
            timeout=TIMEOUT_S,
            max_retries=0,
            is_chat_model=True,
            is_function_calling_model=False,
        ),
        local=True,
    )


def _require_in_ollama(name: str) -> None:
    try:
        with urllib.request.urlopen(f"{OLLAMA}/models", timeout=10) as reply:  # noqa: S310
            models = {model["id"] for model in json.load(reply)["data"] or ()}
    except (OSError, ValueError, KeyError) as error:
        raise ClientError(f"no Ollama answers at {OLLAMA}, start it: {error}") from error
    if not models & {name, f"{name}:latest"}:
        raise ClientError(f"Ollama does not have {name}, get it with: ollama pull {name}")
