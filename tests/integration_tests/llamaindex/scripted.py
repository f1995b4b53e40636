"""Routers over scripted LLMs, one that notes how it was left, and failures as vendors have them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms import types
from pydantic import Field, SkipValidation

from llamaindex_router import RouterLLM
from tests.integration_tests.cancelling import noted

if not hasattr(types, "ToolCallBlock"):
    pytest.skip("the scripted LLMs need LlamaIndex's tool call blocks", allow_module_level=True)

from tests.fakes.llms import ScriptedLLM


class Busy(Exception):
    """As a vendor's SDK raises it."""

    status_code = 429


class Denied(Exception):
    """As a vendor's SDK raises it."""

    status_code = 401


class Watched(ScriptedLLM):
    """Notes how each of its calls ended.

    Attributes:
        log: "under way", "returned" or the name of the error, for each call.
    """

    log: SkipValidation[list[str]] = Field(default_factory=list, exclude=True)

    async def _awhole(self, *args: Any) -> Any:
        with noted(self.log):
            await asyncio.sleep(0)
            return await super()._awhole(*args)

    async def _aparts(self, *args: Any) -> Any:
        with noted(self.log):
            async for part in super()._aparts(*args):
                yield part

    def _parts(self, *args: Any) -> Any:
        with noted(self.log):
            yield from super()._parts(*args)


def router(small: Any = None, large: Any = None, **settings: Any) -> RouterLLM:
    """A router over two scripted LLMs, small and large."""
    small = ScriptedLLM(model="small") if small is None else small
    large = ScriptedLLM(model="large") if large is None else large
    return RouterLLM(candidates={"small": small, "large": large}, **settings)
