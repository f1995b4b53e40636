"""Routers over scripted LLMs, and the failures that vendors' packages raise."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms import types

from llamaindex_router import RouterLLM

if not hasattr(types, "ToolCallBlock"):
    pytest.skip("the scripted LLMs need LlamaIndex's tool call blocks", allow_module_level=True)

from tests.fakes.llms import ScriptedLLM


class Busy(Exception):
    """As a vendor's SDK raises it."""

    status_code = 429


class Denied(Exception):
    """As a vendor's SDK raises it."""

    status_code = 401


def router(small: Any = None, large: Any = None, **settings: Any) -> RouterLLM:
    """A router over two scripted LLMs, small and large."""
    small = ScriptedLLM(model="small") if small is None else small
    large = ScriptedLLM(model="large") if large is None else large
    return RouterLLM(candidates={"small": small, "large": large}, **settings)
