"""Conformance suites: what a LlamaIndex LLM and a LangChain chat model owe to whoever calls them.

In: a test class that inherits a suite and has a fixture with the model under test. Out: one test
per promise. What a model does not offer is a gate, a property of the class; what it gets wrong is
listed in `known_failures` with the reason, and fails the suite once it works.
"""

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.llamaindex", "tests.contracts.langchain", "tests.contracts.predictor"
)
