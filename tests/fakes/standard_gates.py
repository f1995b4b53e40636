"""Every gate of langchain-tests' chat model suites, switched on over the loopback server.

In: a test class that mixes `StandardGates` into a suite and says which model class to test with
which parameters, a bare `ChatOpenAI` or a router over such models. Out: the standard suite with
nothing left out but its recorded (VCR) test and reading keys from the environment. The files that
the suite would download come from memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import chat_models as suite

from tests.fakes.openai_server import OpenAIServer

_DOWNLOADS = {
    ".png": b"\x89PNG\r\n\x1a\n",
    ".pdf": b"%PDF-1.4\n%%EOF",
    ".wav": b"RIFF\x04\x00\x00\x00WAVE",
}
_AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}


THIRD_PARTY_WARNINGS = (
    # The suite sends a PDF without a file name.
    "ignore:OpenAI may require a filename for file uploads:UserWarning"
    ":langchain_core.messages.block_translators.openai",
    # The suite binds a pydantic 1 model, which langchain-openai sends as a tool.
    "ignore:Received a Pydantic BaseModel V1 schema:UserWarning:langchain_openai.chat_models.base",
    # langchain-openai dumps a parsed answer through a type that has no place for it.
    r"ignore:Pydantic serializer warnings.\s+PydanticSerializationUnexpectedValue\(Expected .none."
    r" - serialized value may not be as expected \[field_name='parsed':UserWarning:pydantic.main",
)
"""Warnings that the suite raises in others' code; nothing a model under test could avoid."""


def openai_chat(server: OpenAIServer, model: str = "small", **params: Any) -> ChatOpenAI:
    """A real OpenAI client that talks to the loopback server."""
    return ChatOpenAI(**{"model": model, **openai_params(server), **params})


def openai_params(server: OpenAIServer) -> dict[str, Any]:
    """What `ChatOpenAI` needs to reach the loopback server, without retries of its own."""
    return {
        "base_url": server.base_url,
        "api_key": "test",
        "max_retries": 0,
        "stream_usage": True,
    }


def _joke(body: dict[str, Any]) -> str | None:
    """What JSON mode shall answer: the suite wants a joke, and no schema tells the server so."""
    if body.get("response_format") != {"type": "json_object"}:
        return None
    return json.dumps({"setup": "Why?", "punchline": "Because."})


def _download(url: str, **_: Any) -> SimpleNamespace:
    """Stands in for `httpx.get` in the suite's module."""
    return SimpleNamespace(content=_DOWNLOADS[url[-4:]])


class StandardGates:
    """Mixin for `ChatModelUnitTests` and `ChatModelIntegrationTests`; put it before them.

    A subclass defines `chat_model_class` and `chat_model_params` (which may use `self.server`),
    and `structured_method` where it tests another method than the model's default.

    Attributes:
        server: The loopback server of the running test class.
        structured_method: `method` of `with_structured_output`; None leaves it to the model.
    """

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [
        pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS
    ]
    server: ClassVar[OpenAIServer]
    structured_method: ClassVar[Literal["function_calling", "json_schema", "json_mode"] | None] = (
        None
    )

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _loopback(cls) -> Iterator[None]:
        with OpenAIServer() as cls.server:
            for model in cls.server.models:
                cls.server.say(model, _joke)
            yield

    @pytest.fixture(autouse=True)
    def _downloads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(suite, "httpx", SimpleNamespace(get=_download))
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "tests")

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        raise NotImplementedError

    @property
    def chat_model_params(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": self.structured_method} if self.structured_method else {}

    @property
    def model_override_value(self) -> str:
        return "large"

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        details = ["audio_input", "reasoning_output", "cache_read_input"]
        return {"invoke": details, "stream": details}

    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_audio_inputs = True
    supports_anthropic_inputs = True
    has_tool_calling = True
    has_tool_choice = True
    has_structured_output = True

    def invoke_with_audio_input(self, *, stream: bool = False) -> AIMessage:
        return self._ask([{"type": "text", "text": "Listen:"}, _AUDIO], stream=stream)

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._ask("Think.", stream=stream, reasoning_effort="low")

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._ask("Again.", stream=stream, prompt_cache_key="key")

    def _ask(self, content: Any, *, stream: bool, **kwargs: Any) -> AIMessage:
        """Asks a fresh model, and joins the chunks where it streams."""
        model = self.chat_model_class(**self.chat_model_params)
        messages = [HumanMessage("Hello"), AIMessage("Hello"), HumanMessage(content)]
        if not stream:
            return model.invoke(messages, **kwargs)
        first, *rest = model.stream(messages, **kwargs)
        return sum(rest, first)
