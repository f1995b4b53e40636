"""LangChain's standard suites over a bare `ChatOpenAI`: they check the loopback server, not us.

If one of these fails, a failure of the same test over our router says nothing about the router.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from tests.fakes.standard_gates import StandardGates, openai_params


class Bare(StandardGates):
    """A `ChatOpenAI` that talks to the loopback server."""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "small", **openai_params(self.server)}


class TestUnit(Bare, ChatModelUnitTests):
    """No call is made; structured output by each method is part of it."""

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"OPENAI_API_KEY": "test"}, {"model": "small"}, {"openai_api_key": "test"}

    @pytest.mark.xfail(run=False, reason="its snapshot would have to follow langchain-openai")
    def test_serdes(self) -> None:
        """How `ChatOpenAI` serialises says nothing about the server."""


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
