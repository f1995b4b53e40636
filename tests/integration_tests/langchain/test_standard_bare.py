"""LangChain's standard suites over a bare `ChatOpenAI`: they check the loopback server, not us.

If one of these fails, a failure of the same test over our router says nothing about the router.
"""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.fakes.standard_gates import StandardGates, openai_params


class Bare(StandardGates):
    """A `ChatOpenAI` that talks to the loopback server."""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "small", **openai_params(self.server)}


class TestDefault(Bare, ChatModelIntegrationTests):
    """Structured output by the model's own default."""


class TestFunctionCalling(Bare, ChatModelIntegrationTests):
    """Structured output by a forced tool call."""

    structured_method = "function_calling"


class TestJsonSchema(Bare, ChatModelIntegrationTests):
    """Structured output by a native `response_format` with a schema."""

    structured_method = "json_schema"


class TestJsonMode(Bare, ChatModelIntegrationTests):
    """Structured output by `response_format` without a schema."""

    structured_method = "json_mode"
