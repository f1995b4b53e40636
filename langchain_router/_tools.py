"""Tools and tool choices, kept as the user gave them until a candidate is chosen.

Providers bind tools in dialects of their own, so a conversion made before the choice would lose
what only the chosen one understands. In: tools and a choice in any form that LangChain users
write. Out: dictionaries for whoever looks at a binding, with the originals behind them.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.utils.function_calling import convert_to_openai_tool

__all__ = ["BoundTool", "BoundTools", "bind_tools", "choose_tools", "rebound", "take_options"]

_NAMED_ONLY = ("strict", "parallel_tool_calls")
"""Options that a `bind_tools` which does not name them would hand to its provider unread."""

_OPTIONS = (*_NAMED_ONLY, "response_format")
"""Call arguments that belong to the chosen model's `bind_tools` once tools are bound."""

_BOUND = ("tools", "tool_choice", "parallel_tool_calls")
"""What a binding around a model may hold of tools."""


class BoundTool(dict[str, Any]):
    """A tool in OpenAI's shape, with the user's own object as `source`."""

    def __init__(self, source: Any) -> None:
        """Convert `source`; a provider's own tool, which has no such shape, stays as it is."""
        try:
            view = convert_to_openai_tool(source)
        except ValueError:
            if not isinstance(source, Mapping):
                raise
            view = dict(source)
        super().__init__(view)
        self.source = source


class BoundTools(list[BoundTool]):
    """Tools that are bound together, with what each model made of them.

    A model converts its tools every time it binds them, which takes longer than routing; a binding
    is used for many calls and remembers each model's.
    """

    def __init__(self, tools: Iterable[Any] = ()) -> None:
        """Convert each tool that is no `BoundTool` yet."""
        super().__init__(t if isinstance(t, BoundTool) else BoundTool(t) for t in tools)
        self._bound: dict[Any, tuple[Any, Runnable[Any, Any]]] = {}

    def bound_to(
        self, model: Runnable[Any, Any], choice: str | None, options: Mapping[str, Any]
    ) -> Runnable[Any, Any]:
        """Return the model with these tools bound its own way; see `bind_tools`."""
        if options:
            return bind_tools(model, self, choice, options)
        key = (id(model), choice)
        known, bound = self._bound.get(key) or (None, model)
        if known is not model:  # an id may be used again
            bound = bind_tools(model, self, choice, options)
            self._bound[key] = (model, bound)
        return bound

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out what models made of them."""
        return type(self), (list(self),)


def choose_tools(tools: BoundTools, choice: Any) -> tuple[BoundTools, str | None]:
    """Return the tools to send and the choice, in the only forms that mean the same everywhere.

    Those are None (the provider's default), "auto", "any" and a tool's bare name. "none" sends no
    tools: one vendor reads that word as a tool's name.
    """
    if isinstance(choice, Mapping):
        named = choice.get("function") if choice.get("type") == "function" else choice
        choice = (named or {}).get("name") or choice.get("type")
    if choice == "none":
        return BoundTools(), None
    if choice is True or choice == "required":
        choice = "any"
    return tools, choice or None


def take_options(tools: BoundTools, params: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `bind_tools` out of a call's arguments and return them.

    Where no tools are sent after all, the output format stays an argument of the call; how tools
    are to be called goes with the tools, since providers refuse it without any.
    """
    options = {name: params.pop(name) for name in _OPTIONS if name in params}
    if tools:
        return options
    params.update({k: v for k, v in options.items() if k not in _NAMED_ONLY})
    return {}


def rebound(
    binding: RunnableBinding[Any, Any], bound: Runnable[Any, Any], *replaced: str
) -> RunnableBinding[Any, Any]:
    """Return the binding around a model that the caller's tools or schema are bound to.

    They take the place of the binding's own tools and of the arguments named in `replaced`.
    """
    kept = {k: v for k, v in binding.kwargs.items() if k not in (*_BOUND, *replaced)}
    return binding.model_copy(update={"bound": bound, "kwargs": kept})


def bind_tools(
    model: Runnable[Any, Any],
    tools: Sequence[BoundTool],
    choice: str | None,
    options: Mapping[str, Any],
) -> Runnable[Any, Any]:
    """Have the model bind the original tools itself.

    Args:
        model: A chat model, or a binding around one, whose arguments are kept but for tools.
        tools: What to bind.
        choice: As `choose_tools` returns it.
        options: Further arguments for the model's `bind_tools`; `strict` and
            `parallel_tool_calls` are dropped with a warning where it does not know them.
    """
    if isinstance(model, RunnableBinding):
        return rebound(model, bind_tools(model.bound, tools, choice, options))
    if not isinstance(model, BaseChatModel):
        raise TypeError(f"{type(model).__name__} cannot bind tools")
    known = inspect.signature(type(model).bind_tools).parameters
    kept = dict(options)
    for name in _NAMED_ONLY:
        if name in kept and name not in known:
            warnings.warn(
                f"{type(model).__name__} knows no {name!r} for its tools: left out",
                stacklevel=2,
            )
            del kept[name]
    if choice is not None:
        kept["tool_choice"] = choice
    return model.bind_tools([tool.source for tool in tools], **kept)
