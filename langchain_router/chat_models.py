"""`ChatRouter`: a LangChain chat model that is several, of which the right one answers.

Every public call runs inside one `chain` run and calls the chosen model's own public methods
below it. So the trace shows the router, then one model run per attempt under that model's own
name, and the chosen model keeps its cache, rate limiter, callbacks and streaming choice.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Annotated, Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun, Callbacks
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import ConfigDict, PrivateAttr, SkipValidation

from langchain_router._config import configs_of, own_config, scope_of
from langchain_router._events import AsyncRoutedEvents, EventChunks, EventTransport, routed_events
from langchain_router._messages import as_chunk, as_prompt_value, read_prompt
from langchain_router._models import common_profile, look_at
from langchain_router._output import MessageChunks, finished_message
from langchain_router._runs import Call
from langchain_router._structured import (
    Schema,
    StructuredChunks,
    StructuredRouter,
    StructuredTransport,
)
from langchain_router._tools import BoundTools, choose_tools, take_options
from langchain_router._transport import ChatTransport, Request
from shared_core.arguments import check_arguments
from shared_core.decision.policy import Policy
from shared_core.execution.health import Cooldown
from shared_core.prediction.base import Predictor
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.router import Router
from shared_core.settings import Steered
from shared_core.strategies.base import Strategy
from shared_core.strategies.single import Single
from shared_core.tokens import estimate_tokens
from shared_core.types import Candidate, Decision

__all__ = ["ChatRouter"]

_DEFAULTS = ("temperature", "max_tokens", "timeout")
"""Constructor arguments that become defaults of the candidates' calls."""

_CANDIDATES_OWN = ("cache", "rate_limiter")


class ChatRouter(Steered, BaseChatModel):
    """A chat model that sends each call to the cheapest candidate that is good enough.

    Args:
        candidates: `Candidate`s or a mapping of names to chat models, weakest first. A candidate's
            model is any `BaseChatModel`, a binding around one, or a string for LangChain's
            `init_chat_model`, such as "ollama:qwen3:4b" (extra `agents`).
        policy: How much quality may be given up, and what may never happen.
        strategy: How a decision becomes calls.
        predictor: Tells how well each candidate would do.
        temperature: Default for the candidates' calls; so are `max_tokens`, `timeout` (seconds)
            and `stop`.
        max_retries: Most further attempts after the first one.
        max_attempts: Most attempts of one call, whatever strategies nest in it.
        cooldown: When a candidate that keeps failing is let rest.
        budgets: What may be spent: `Budget`s, or `Budgets(..., store=...)` to share them between
            processes or machines.
        ledger: Where calls are written down: None for memory, a path for a file that stays, or a
            `Ledger(...)`. The attribute is always the `Ledger`: `llm.ledger.report()`.
        shadow: The name of a candidate that always answers, while what would have been chosen is
            written down.
        step: The stage of a pipeline under which calls are reported; see `with_policy`.
        streaming: True: `invoke` collects its answer from a stream. False: `stream` gives the
            whole answer as one chunk.
        api_key: Accepted for compatibility and not used: keys belong to the candidates.

    Raises:
        ConfigurationError: An argument is wrong or unknown; the message says what to change.

    Example:
        ```python
        llm = ChatRouter(candidates={"small": small_model, "large": large_model})
        llm.invoke("What is the capital of France?").response_metadata["router"]["candidate"]
        ```
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    candidates: Annotated[Sequence[Candidate] | Mapping[str, Any], SkipValidation]
    policy: Annotated[Policy, SkipValidation] = Policy()
    strategy: Annotated[Strategy, SkipValidation] = Single()
    predictor: Annotated[Predictor, SkipValidation] = FallbackPredictor()
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | None = None
    max_retries: int | None = None
    max_attempts: int = 100
    cooldown: Annotated[Cooldown, SkipValidation] = Cooldown()
    budgets: Annotated[Any, SkipValidation] = None
    ledger: Annotated[Any, SkipValidation] = None
    shadow: str | None = None
    step: str | None = None
    streaming: bool | None = None

    _router: Router = PrivateAttr()

    def __init__(self, candidates: Any = None, **kwargs: Any) -> None:
        """Check the arguments, complete the candidates; no model is called."""
        known = type(self).model_fields
        super().__init__(
            **check_arguments("ChatRouter", candidates, kwargs, known, _CANDIDATES_OWN)
        )

    def model_post_init(self, context: Any, /) -> None:
        """Build the core once all fields are there."""
        super().model_post_init(context)
        self._begin()

    def _look_at(self, candidate: Candidate) -> tuple[Any, Mapping[str, Any]]:
        return look_at(candidate)

    # --- deciding ---

    def explain(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        detail: bool = False,
        **kwargs: Any,
    ) -> Decision:
        """Return the decision that a call with this input would make; no model is called.

        Args:
            input: As for `invoke`.
            config: As for `invoke`.
            detail: Also say what moved the estimates, and what would have changed the choice.
            **kwargs: As for `invoke`: tools, `model=`, and so on.

        Raises:
            NoCandidateError: No candidate may answer.
        """
        request = self._request(input, own_config(self, config), None, kwargs)
        return self._router.explain(request.prompt, request.force, detail=detail)

    # --- calling ---

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Route one call.

        Args:
            input: A string, messages, or a prompt value.
            config: Callbacks, tags, metadata and so on; passed down to the chosen model.
            stop: Stop sequences.
            **kwargs: `model="<candidate>"` forces that candidate; `subject_to=[...]` are
                constraints of this call. The rest goes to the chosen model's call.

        Returns:
            The chosen model's message, with the router's record in `response_metadata["router"]`.

        Raises:
            NoCandidateError: No candidate may answer.
            UnknownCandidateError: `model` names no candidate.
        """
        return cast("AIMessage", self._call(input, config, stop, kwargs).invoke(self, input))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Route one call without blocking; see `invoke`."""
        call = self._call(input, config, stop, kwargs)
        return cast("AIMessage", await call.ainvoke(self, input))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Route one call and yield its answer as it grows; the last chunk carries the record."""
        if self._streaming_disabled(**kwargs):
            yield as_chunk(self.invoke(input, config, stop=stop, **kwargs))
            return
        call = self._call(input, config, stop, kwargs)
        with closing(call.stream(self, input)) as chunks:
            yield from chunks

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Route one call without blocking and yield its answer as it grows; see `stream`."""
        if self._streaming_disabled(**kwargs):
            yield as_chunk(await self.ainvoke(input, config, stop=stop, **kwargs))
            return
        call = self._call(input, config, stop, kwargs)
        async with aclosing(call.astream(self, input)) as chunks:
            async for chunk in chunks:
                yield chunk

    def stream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stream events; for `version="v3"` the chosen model's own, with the record at the end."""
        if version != "v3":
            options: Any = {"version": version, "stop": stop, **kwargs}
            return super().stream_events(input, config, **options)
        call = self._event_call(input, config, stop, kwargs)
        return routed_events(call.stream(self, input))

    def astream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stream events without blocking; see `stream_events`."""
        if version != "v3":
            options: Any = {"version": version, "stop": stop, **kwargs}
            return super().astream_events(input, config, **options)
        return self._astream_events_v3(input, config, stop, kwargs)

    async def _astream_events_v3(self, input: LanguageModelInput, *args: Any) -> Any:
        return AsyncRoutedEvents(self._event_call(input, *args).astream(self, input))

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Route one call per list of messages."""
        configs = configs_of(len(messages), callbacks, tags, metadata, run_name, run_id)
        calls = zip(messages, configs, strict=True)
        return _result_of([self.invoke(m, c, stop=stop, **kwargs) for m, c in calls])

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Route one call per list of messages, side by side."""
        configs = configs_of(len(messages), callbacks, tags, metadata, run_name, run_id)
        calls = zip(messages, configs, strict=True)
        answers = (self.ainvoke(m, c, stop=stop, **kwargs) for m, c in calls)
        return _result_of(await asyncio.gather(*answers))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Answer whoever calls this private method; the public ones never come here."""
        message = self.invoke(messages, stop=stop, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    # --- tools and structured output, bound late ---

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools; the chosen model binds the original objects its own way.

        Args:
            tools: As for any chat model, providers' own tools included.
            tool_choice: "auto", "any" (also "required" or True), "none", a tool's name, or a
                provider's dictionary for one of these; it means the same for every candidate.
            **kwargs: Further arguments of the candidates' `bind_tools` or calls.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=BoundTools(tools), **kwargs)

    def with_structured_output(
        self, schema: Any = None, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that routes, then has the chosen model give structured output.

        Args:
            schema: As for any chat model.
            include_raw: Return `{"raw", "parsed", "parsing_error"}`; `raw` carries the record.
            **kwargs: `method`, `strict` and so on, for the chosen model's own
                `with_structured_output`; None is left out.
        """
        wanted = Schema(schema, {k: v for k, v in kwargs.items() if v is not None}, include_raw)

        def make_call(input: Any, config: Any, stop: Any, params: Mapping[str, Any]) -> Call:
            config = own_config(self, config)
            request = self._request(input, config, stop, params, wanted)
            return Call(
                router=self._router,
                request=request,
                config=config,
                transport=lambda config: StructuredTransport(
                    request, self._router.__getitem__, config, schema=wanted
                ),
                output=wanted.output,
                chunks=StructuredChunks,
            )

        return StructuredRouter(make_call, wanted)

    # --- what code that looks at the model sees ---

    @property
    def _llm_type(self) -> str:
        return "chat-router"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"candidates": [candidate.name for candidate in self._router.candidates]}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show names and settings, never the models."""
        yield "candidates", [candidate.name for candidate in self._router.candidates]
        yield "policy", self.policy
        yield "strategy", self.strategy

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "router"
        params.setdefault("ls_model_name", "chat-router")
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        return common_profile(self._router.candidates)

    def get_num_tokens(self, text: str) -> int:
        """Return the estimated tokens of a text; no tokenizer is downloaded for it."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return estimate_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the estimated tokens of messages and tools."""
        return read_prompt(messages, BoundTools(tools or ())).tokens

    # --- inside ---

    def _defaults(self) -> dict[str, Any]:
        """Return the arguments of every candidate's call that were given once for all."""
        return {name: value for name in _DEFAULTS if (value := getattr(self, name)) is not None}

    def _request(
        self,
        input: LanguageModelInput,
        config: RunnableConfig,
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
        schema: Schema | None = None,
    ) -> Request:
        params = {**self._defaults(), **kwargs}
        force = params.pop("model", None)
        scope = scope_of(config, params.pop("subject_to", ()), self.step)
        choice = params.pop("tool_choice", None)
        given = params.pop("tools", None)
        tools = given if isinstance(given, BoundTools) else BoundTools(given or ())
        tools, choice = choose_tools(tools, choice)
        options = {} if given is None else take_options(tools, params)
        value = as_prompt_value(input) or self._convert_input(input)
        messages = value.to_messages()
        must_call = choice not in (None, "auto")
        return Request(
            input=value,
            messages=messages,
            prompt=read_prompt(
                messages,
                tools,
                must_call=must_call,
                schema=None if schema is None else schema.view,
                schema_method=None if schema is None else schema.options.get("method"),
                scope=scope,
                params=params,
            ),
            force=force,
            tools=tools,
            tool_choice=choice,
            tool_options=options,
            stop=self.stop if stop is None else stop,
            params=params,
        )

    def _call(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None,
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
    ) -> Call:
        version, config = self.output_version, own_config(self, config)
        request, router = self._request(input, config, stop, kwargs), self._router
        return Call(
            router=router,
            request=request,
            config=config,
            transport=lambda config: ChatTransport(
                request, router.__getitem__, config, streaming=bool(self.streaming)
            ),
            output=lambda answer: finished_message(answer, version),
            chunks=lambda: MessageChunks(version),
        )

    def _event_call(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None,
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
    ) -> Call:
        call = self._call(input, config, stop, kwargs)
        return replace(
            call,
            transport=lambda config: EventTransport(call.request, call.router.__getitem__, config),
            chunks=EventChunks,
        )


def _result_of(answers: Sequence[AIMessage]) -> LLMResult:
    return LLMResult(generations=[[ChatGeneration(message=answer)] for answer in answers])
