"""LangChain's standard suites over `ChatRouter`, with real OpenAI clients and every gate on.

Skips are left only where the suite has nothing to test: recorded traffic (VCR), keys from the
environment, serialisation. Necessary, and nowhere near sufficient: see the `test_contract_*`.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_router import Candidate, ChatRouter
from tests.fakes.standard_gates import StandardGates, openai_chat


class Routed(StandardGates):
    """A router over two `ChatOpenAI`s that talk to the loopback server."""

    pytestmark = [  # noqa: RUF012 - pytest's own spelling
        *StandardGates.pytestmark,
        pytest.mark.filterwarnings("ignore:api_key is not used:UserWarning"),
    ]

    @property
    def chat_model_class(self) -> type[ChatRouter]:
        return ChatRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "candidates": [
                Candidate(name, openai_chat(self.server, name)) for name in ("small", "large")
            ]
        }


class TestUnit(Routed, ChatModelUnitTests):
    """No call is made."""


class TestDefault(Routed, ChatModelIntegrationTests):
    """Structured output by the candidate's own default."""


class TestFunctionCalling(Routed, ChatModelIntegrationTests):
    """Structured output by a forced tool call."""

    structured_method = "function_calling"


class TestJsonSchema(Routed, ChatModelIntegrationTests):
    """Structured output by a native `response_format` with a schema."""

    structured_method = "json_schema"


class TestJsonMode(Routed, ChatModelIntegrationTests):
    """Structured output by `response_format` without a schema."""

    structured_method = "json_mode"
