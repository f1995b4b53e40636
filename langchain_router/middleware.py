"""`ChatRouterMiddleware`: routes each step of a `create_agent` agent, seen from inside the agent.

A router that is the agent's model hides the chosen one from the agent. Here the agent itself is
given the chosen model at each step, so that it picks that model's own way of structured output, and
middleware further in (prompt caching, for instance) sees the true model.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableBinding, RunnableConfig, ensure_config
from langchain_core.runnables.config import var_child_runnable_config

from langchain_router._config import scope_of
from langchain_router._history import history_for
from langchain_router._messages import read_prompt, retold, stamp, with_turns
from langchain_router._models import limited, tuned
from langchain_router._structured import Schema
from langchain_router._tools import BoundTools, choose_tools
from langchain_router._transport import ChatTransport, Request, attempt, kind_of, reply_of
from langchain_router.chat_models import ChatRouter
from shared_core.errors import ConfigurationError, MissingExtraError
from shared_core.execution.failures import Kind
from shared_core.types import Answer, Ask, Candidate, Entry, Prompt, Reply

try:
    from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse
    from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
except ImportError as error:
    raise MissingExtraError("langchain", "agents") from error

__all__ = ["ChatRouterMiddleware"]

Handler = Callable[[ModelRequest[Any]], Any]


class ChatRouterMiddleware(AgentMiddleware[Any, Any, Any]):
    """Routes every step of an agent to one of a router's candidates.

    Put it before middleware that should see the chosen model. The record is on each answer, as with
    the router itself; health, policy and constraints are the router's own.

    Args:
        router: A `ChatRouter`. None: the agent's model, which then must be one.

    Example:
        ```python
        agent = create_agent(router, tools, middleware=[ChatRouterMiddleware()])
        ```
    """

    def __init__(self, router: ChatRouter | None = None) -> None:
        """Keep the router.

        Raises:
            ConfigurationError: It is none.
        """
        super().__init__()
        if router is not None and not isinstance(router, ChatRouter):
            raise ConfigurationError(
                f"ChatRouterMiddleware takes a ChatRouter, not {type(router).__name__}"
            )
        self._given = router

    def wrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> Any:
        """Give one step to the candidate that is good enough for it.

        Raises:
            NoCandidateError: No candidate may answer.
        """
        llm = self._router_of(request)
        prompt, router = _view(request, llm), llm._router
        decision = router.decide(prompt)
        transport = _AgentTransport(request, handler, llm, prompt)
        return _stamped(router.answer(prompt, decision, transport))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> Any:
        """Do the same without blocking."""
        llm = self._router_of(request)
        prompt, router = _view(request, llm), llm._router
        decision = await router.adecide(prompt)
        transport = _AgentTransport(request, handler, llm, prompt)
        return _stamped(await router.aanswer(prompt, decision, transport))

    def _router_of(self, request: ModelRequest[Any]) -> ChatRouter:
        router = self._given or request.model
        if not isinstance(router, ChatRouter):
            raise ConfigurationError(
                "ChatRouterMiddleware() needs an agent whose model is a ChatRouter; "
                "or give it one: ChatRouterMiddleware(router)"
            )
        return router


@dataclass
class _AgentTransport:
    """Puts an agent's step to candidates; see `shared_core.execution.run.Transport`.

    An agent's model node is never streamed by whoever wraps it: what streams does so below.
    """

    request: ModelRequest[Any]
    handler: Handler
    llm: ChatRouter
    prompt: Prompt
    spoken: list[Exception] = field(default_factory=list)

    def send(self, ask: Ask) -> Reply:
        if ask.replace:
            return self._apart().send(ask)
        with self._watched(ask):
            return _reply(ask, self.handler(self._request_for(ask)))

    async def asend(self, ask: Ask) -> Reply:
        if ask.replace:
            return await self._apart().asend(ask)
        with self._watched(ask):
            return _reply(ask, await self.handler(self._request_for(ask)))

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        yield self.send(ask).native

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        yield (await self.asend(ask)).native

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        return _reply(ask, chunks[-1])

    def split(self, reply: Reply) -> Iterable[Any]:
        return (reply.native,)

    def edited(self, reply: Reply) -> Reply:
        edited = _with_answer(reply.native, lambda answer: retold(answer, reply.text))
        return replace(reply, native=edited)

    def is_visible(self, chunk: Any) -> bool:
        return True

    def kind_of(self, error: Exception) -> Kind | None:
        return kind_of(error)

    def is_retryable(self, error: Exception) -> bool:
        return kind_of(error) is not None and not any(error is known for known in self.spoken)

    def recorded(self, entry: Entry) -> None:
        pass

    def _request_for(self, ask: Ask) -> ModelRequest[Any]:
        candidate: Candidate = self.llm._router[ask.candidate]
        model: Any = candidate.model
        settings = {**self.llm._defaults(), **self.request.model_settings}
        if self.llm.stop:
            settings.setdefault("stop", self.llm.stop)
        settings.update(tuned(candidate, ask.params, self.prompt))
        while isinstance(model, RunnableBinding):  # an agent binds tools to a model alone
            model, settings = model.bound, {**model.kwargs, **settings}
        if (longest := ask.params.get("max_tokens")) is not None:
            model, settings = limited(model, settings, longest)
        history = history_for(candidate, with_turns(_conversation(self.request), ask.turns))
        system = history.pop(0) if history and history[0].type == "system" else None
        override: Any = {"system_message": system, "messages": history}
        return self.request.override(model=model, model_settings=settings, **override)

    def _apart(self) -> ChatTransport:
        """Return what asks a helper: text of its own, past the agent's other middleware."""
        nothing = ChatPromptValue(messages=[])
        request = Request(nothing, (), Prompt((), 0))
        return ChatTransport(request, self.llm._router.__getitem__, ensure_config(), spoken=[])

    @contextmanager
    def _watched(self, ask: Ask) -> Iterator[None]:
        """Watch what handlers show of an attempt, whose config is that of the agent's node."""
        config: RunnableConfig = ensure_config()
        with attempt(config, ask, self.spoken) as own:
            if own is config:
                yield
                return
            token = var_child_runnable_config.set(own)
            try:
                yield
            finally:
                var_child_runnable_config.reset(token)


def _conversation(request: ModelRequest[Any]) -> list[BaseMessage]:
    system: SystemMessage | None = request.system_message
    return [*([system] if system else []), *request.messages]


def _view(request: ModelRequest[Any], llm: ChatRouter) -> Prompt:
    tools, choice = choose_tools(BoundTools(request.tools), request.tool_choice)
    wanted = request.response_format
    method = None
    if isinstance(wanted, ProviderStrategy):
        method = "json_schema"
    elif isinstance(wanted, ToolStrategy):
        method = "function_calling"
    return read_prompt(
        _conversation(request),
        tools,
        must_call=choice not in (None, "auto"),
        schema=None if wanted is None else _schema_view(wanted),
        schema_method=method,
        scope=scope_of(ensure_config(), step=llm.step),
        params={**llm._defaults(), **request.model_settings},
    )


def _schema_view(wanted: Any) -> Any:
    try:
        return Schema(getattr(wanted, "schema", wanted)).view
    except (TypeError, ValueError):  # a union of several, which no single tool describes
        return {}


def _reply(ask: Ask, response: Any) -> Reply:
    message = next((m for m in _messages_of(response) if isinstance(m, AIMessage)), AIMessage(""))
    parsed = getattr(response, "structured_response", None)
    return replace(reply_of(ask, message), native=response, parsed=parsed)


def _messages_of(response: Any) -> list[BaseMessage]:
    if isinstance(response, BaseMessage):
        return [response]
    inner: ModelResponse[Any] = getattr(response, "model_response", response)
    return inner.result


def _stamped(answer: Answer) -> Any:
    """Return the step's response with the record on its answer."""
    record = answer.entry.as_dict()
    return _with_answer(answer.reply.native, lambda message: stamp(message, record))


def _with_answer(response: Any, change: Callable[[AIMessage], AIMessage]) -> Any:
    """Return a step's response with its answer changed."""
    if isinstance(response, AIMessage):
        return change(response)
    if hasattr(response, "model_response"):
        inner = _with_answer(response.model_response, change)
        return replace(response, model_response=inner)
    changed = [change(m) if isinstance(m, AIMessage) else m for m in response.result]
    return replace(response, result=changed)
