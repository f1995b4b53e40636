"""What the conformance suite finds in LlamaIndex's classes and in cascades, and routers for it."""

from __future__ import annotations

from typing import Any

from llamaindex_router import MixtureOfAgents, RouterLLM
from tests.fakes.core import FixedPredictor
from tests.integration_tests.llamaindex.cascades import bad, cascade, good

_TWICE = "CustomLLM's async methods call its decorated sync ones: two pairs of events"
_LEFT = "CustomLLM's async streams do not close the sync ones below them"


def _twice(*kinds: str) -> dict[str, str]:
    return {
        f"test_a_call_is_one_pair_of_events_in_one_span[{prefix}{kind}]": _TWICE
        for kind in kinds
        for prefix in ("a", "astream_")
    }


def _left(*kinds: str) -> dict[str, str]:
    return {f"test_a_stream_that_is_left_ends_its_call[astream_{kind}]": _LEFT for kind in kinds}


PLAIN_KEY = {
    f"test_no_secret_is_shown[{view}]": "the key is a plain field"
    for view in ("repr", "str", "to_dict", "to_json", "model_dump")
}
ROUTED_CUSTOM_CHAT = _twice("chat")
CUSTOM_CHAT = ROUTED_CUSTOM_CHAT | _left("chat")
ROUTED_MOCK_LLM = _twice("chat", "complete") | {
    "test_the_text_of_a_stream_grows": "MockLLM streams the whole text at once"
}
MOCK_LLM = ROUTED_MOCK_LLM | _left("chat", "complete")


TWO_ATTEMPTS = {
    "test_a_call_is_one_pair_of_events_in_one_span": "a draft and an answer are two pairs"
}
"""What an escalating cascade cannot help."""


def accepting(small: Any, large: Any) -> RouterLLM:
    """A cascade over two LLMs that takes every draft."""
    return cascade({"small": small, "large": large}, good)


def escalating(small: Any, large: Any) -> RouterLLM:
    """A cascade over two LLMs that takes no draft."""
    return cascade({"small": small, "large": large}, bad)


def mixing(small: Any, large: Any) -> RouterLLM:
    """A mixture of two LLMs, whose proposals the large one reads."""
    chances = FixedPredictor({"small": 0.6, "large": 0.8})
    strategy = MixtureOfAgents(("small", "large"))
    return RouterLLM({"small": small, "large": large}, predictor=chances, strategy=strategy)


def routed(small: Any, large: Any) -> RouterLLM:
    """A router over two LLMs, of which it picks the small one for a question that is not hard."""
    return RouterLLM({"small": small, "large": large})
