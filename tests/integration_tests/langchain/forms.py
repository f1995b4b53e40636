"""The kinds of call as parameters, and a router over scripted models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from langchain_router import ChatRouter
from tests.contracts.langchain import (  # noqa: F401 - for the tests beside this
    CITY,
    FORMS,
    City,
    Form,
    Runs,
    ainvoke,
    astream,
    collected,
    invoke,
    stream,
    weather,
)
from tests.fakes.chat_models import ScriptedChat


def plain(model: BaseChatModel) -> Runnable[Any, Any]:
    return model


def with_tool(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.bind_tools([weather], tool_choice="any")


def structured(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.with_structured_output(City)


Way = Callable[[BaseChatModel], Runnable[Any, Any]]
WAYS: list[Way] = [plain, with_tool, structured]


def router(small: Any = None, large: Any = None, **settings: Any) -> ChatRouter:
    """A router over two scripted models, small and large."""
    small = ScriptedChat(model_name="small") if small is None else small
    large = ScriptedChat(model_name="large") if large is None else large
    return ChatRouter(candidates={"small": small, "large": large}, **settings)
