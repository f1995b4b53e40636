"""`RouterLLM`: a LlamaIndex LLM that is several, of which the right one answers.

Every call form decides once and calls the same form of the chosen LLM, so tools are prepared,
sent and decoded by one model, structured output goes its native way, and events and spans are
that model's own. Nothing here is decorated with LlamaIndex's callbacks: that would count twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Annotated, Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.tools.types import BaseTool
from pydantic import BaseModel, Field, PrivateAttr, SkipValidation

from llamaindex_router._history import history_for
from llamaindex_router._messages import author_of, read_prompt, stamp, with_turns
from llamaindex_router._models import common_metadata, look_at
from llamaindex_router._transport import LLMTransport, Request
from llamaindex_router.events import announce
from shared_core.arguments import check_arguments
from shared_core.decision.policy import Policy
from shared_core.execution.health import Cooldown
from shared_core.prediction.base import Predictor
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.router import Router
from shared_core.scope import current_scope
from shared_core.settings import Steered
from shared_core.strategies.base import Strategy
from shared_core.strategies.single import Single
from shared_core.types import Answer, Candidate, Decision, Scope, Turn

__all__ = ["RouterLLM"]

_DEFAULTS = ("temperature", "max_tokens")
"""Constructor arguments that become defaults of the candidates' calls."""

_ABOUT_THE_CALL = ("model", "subject_to")
"""Arguments of a call that are the router's, not the chosen LLM's."""


class RouterLLM(Steered, FunctionCallingLLM):
    """An LLM that sends each call to the cheapest candidate that is good enough.

    Args:
        candidates: `Candidate`s or a mapping of names to LLMs, weakest first.
        policy: How much quality may be given up, and what may never happen.
        strategy: How a decision becomes calls.
        predictor: Tells how well each candidate would do.
        temperature: Default for the candidates' calls; so is `max_tokens`.
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
        context_window: What `metadata` states instead of the candidates' smallest window, in
            tokens: indexes and chat engines cut their texts by it.
        api_key: Accepted for compatibility and not used: keys belong to the candidates.
        system_prompt: As for any LLM; so are the other fields of LlamaIndex's base class.

    Raises:
        ConfigurationError: An argument is wrong or unknown; the message says what to change.

    Example:
        ```python
        Settings.llm = RouterLLM(candidates={"small": small_llm, "large": large_llm})
        ```
    """

    candidates: Annotated[Sequence[Candidate] | Mapping[str, Any], SkipValidation] = Field(
        exclude=True
    )
    policy: Annotated[Policy, SkipValidation] = Field(default=Policy(), exclude=True)
    strategy: Annotated[Strategy, SkipValidation] = Field(default=Single(), exclude=True)
    predictor: Annotated[Predictor, SkipValidation] = Field(
        default=FallbackPredictor(), exclude=True
    )
    cooldown: Annotated[Cooldown, SkipValidation] = Field(default=Cooldown(), exclude=True)
    budgets: Annotated[Any, SkipValidation] = Field(default=None, exclude=True)
    ledger: Annotated[Any, SkipValidation] = Field(default=None, exclude=True)
    shadow: str | None = None
    step: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_retries: int | None = None
    max_attempts: int = 100
    context_window: int | None = None

    _router: Router = PrivateAttr()

    def __init__(self, candidates: Any = None, **kwargs: Any) -> None:
        """Check the arguments, complete the candidates; no model is called."""
        known = type(self).model_fields
        super().__init__(
            **check_arguments("RouterLLM", candidates, kwargs, known, ("rate_limiter",))
        )
        if "callback_manager" in kwargs:
            self._hand_down_callbacks()

    def model_post_init(self, context: Any, /) -> None:
        """Build the core once all fields are there."""
        super().model_post_init(context)
        self._begin()

    def _look_at(self, candidate: Candidate) -> tuple[Any, Mapping[str, Any]]:
        return look_at(candidate)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; a callback manager reaches the candidates, which do the calls."""
        super().__setattr__(name, value)
        if name == "callback_manager" and getattr(self, "_router", None) is not None:
            self._hand_down_callbacks()

    # --- deciding ---

    def explain(
        self,
        input: str | ChatMessage | Sequence[ChatMessage],
        *,
        detail: bool = False,
        **kwargs: Any,
    ) -> Decision:
        """Return the decision that a call with this input would make; no model is called.

        Args:
            input: A prompt, a message, or messages.
            detail: Also say what moved the estimates, and what would have changed the choice.
            **kwargs: `model=` to force a candidate; `tools`, `tool_required` as for
                `chat_with_tools`.

        Raises:
            NoCandidateError: No candidate may answer.
        """
        messages = [ChatMessage(content=input)] if isinstance(input, str) else input
        history = [messages] if isinstance(messages, ChatMessage) else list(messages)
        tools = kwargs.pop("tools", ())
        request = self._tools_request(tools, None, history, kwargs)
        return self._router.explain(request.prompt, request.force, detail=detail)

    # --- chat and completion ---

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Route one chat; the record is in `additional_kwargs["router"]`.

        Args:
            messages: The conversation.
            **kwargs: `model="<candidate>"` forces that candidate; `subject_to=[...]` are
                constraints of this call; both in every other call form too. The rest goes to the
                chosen LLM.

        Raises:
            NoCandidateError: No candidate may answer.
            UnknownCandidateError: `model` names no candidate.
        """
        return cast("ChatResponse", self._answer(self._chat_request(messages, kwargs)))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Route one chat without blocking; see `chat`."""
        return cast("ChatResponse", await self._aanswer(self._chat_request(messages, kwargs)))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Route one chat and stream its answer; a last response, without text, has the record."""
        return self._stream(self._chat_request(messages, kwargs))

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Route one chat without blocking and stream its answer; see `stream_chat`."""
        return await self._astream(self._chat_request(messages, kwargs))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Route one completion; see `chat`."""
        request = self._completion_request(prompt, formatted, kwargs)
        return cast("CompletionResponse", self._answer(request))

    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Route one completion without blocking; see `chat`."""
        request = self._completion_request(prompt, formatted, kwargs)
        return cast("CompletionResponse", await self._aanswer(request))

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Route one completion and stream it; see `stream_chat`."""
        return self._stream(self._completion_request(prompt, formatted, kwargs))

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Route one completion without blocking and stream it; see `stream_chat`."""
        return await self._astream(self._completion_request(prompt, formatted, kwargs))

    # --- tools: prepared, sent and decoded by one LLM ---

    def chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """Route one chat with tools to a candidate that can call them; see `chat`."""
        kwargs |= _tool_options(verbose, allow_parallel_tool_calls, tool_required)
        request = self._tools_request(tools, user_msg, chat_history, kwargs)
        return cast("ChatResponse", self._answer(request))

    async def achat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """Route one chat with tools without blocking; see `chat_with_tools`."""
        kwargs |= _tool_options(verbose, allow_parallel_tool_calls, tool_required)
        request = self._tools_request(tools, user_msg, chat_history, kwargs)
        return cast("ChatResponse", await self._aanswer(request))

    def stream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseGen:
        """Route one chat with tools and stream its answer; see `chat_with_tools`."""
        kwargs |= _tool_options(verbose, allow_parallel_tool_calls, tool_required)
        return self._stream(self._tools_request(tools, user_msg, chat_history, kwargs))

    async def astream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseAsyncGen:
        """Route one chat with tools without blocking and stream its answer."""
        kwargs |= _tool_options(verbose, allow_parallel_tool_calls, tool_required)
        return await self._astream(self._tools_request(tools, user_msg, chat_history, kwargs))

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Have the candidate that wrote the response decode its tool calls.

        A response without a record, or with another router's (out of a store, or of a router that
        is a candidate itself), is decoded by the strongest candidate that calls tools.
        """
        candidates = self._router.candidates
        authors = (author_of(response), author_of(response.message))
        writers = [c for author in authors for c in candidates if c.name == author]
        callers = [c for c in candidates if c.capabilities.get("tool_calling")]
        decoder: FunctionCallingLLM = (writers[:1] or callers or candidates)[-1].model
        return decoder.get_tool_calls_from_response(
            response, error_on_no_tool_call=error_on_no_tool_call, **kwargs
        )

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Prepare for whoever calls this private method: the chosen LLM, and then no other."""
        kwargs |= _tool_options(verbose, allow_parallel_tool_calls, tool_required)
        request = self._tools_request(tools, user_msg, chat_history, kwargs)
        decision = self._router.decide(request.prompt, request.force)
        chosen = self._router[decision.candidate]
        args, options = request.arguments(chosen, ())
        prepared = chosen.model._prepare_chat_with_tools_compat(*args, **options)
        return {**prepared, "model": decision.candidate}

    # --- structured output, in the chosen LLM's native way ---

    def structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """Route one call for structured output.

        Args:
            output_cls: The pydantic class of the output.
            prompt: The template.
            llm_kwargs: For the chosen LLM's call; `model="<candidate>"` forces a candidate (also
                among `prompt_args`, unless the template has a variable of that name).
            **prompt_args: Values of the template's variables.
        """
        return self._answer(self._schema_request(output_cls, prompt, llm_kwargs, prompt_args))

    async def astructured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """Route one call for structured output without blocking; see `structured_predict`."""
        request = self._schema_request(output_cls, prompt, llm_kwargs, prompt_args)
        return await self._aanswer(request)

    def stream_structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        """Route one call for structured output and stream it; see `structured_predict`."""
        return self._stream(self._schema_request(output_cls, prompt, llm_kwargs, prompt_args))

    async def astream_structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        """Route one call for structured output without blocking and stream it."""
        request = self._schema_request(output_cls, prompt, llm_kwargs, prompt_args)
        return await self._astream(request)

    # --- what code that looks at the LLM sees ---

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "RouterLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What holds for every candidate: the smallest window, tools if any can call them."""
        return common_metadata(self._router.candidates, self.context_window)

    def __repr_args__(self) -> Generator[tuple[str | None, Any], None, None]:
        """Show names and settings, never the models."""
        yield "candidates", [candidate.name for candidate in self._router.candidates]
        yield "policy", self.policy
        yield "strategy", self.strategy

    # --- inside: requests ---

    def _chat_request(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Request:
        force, scope, params = self._params(kwargs)
        asked = list(messages)  # a stream begins later, and the caller may write on by then
        view = read_prompt(asked, scope=scope, params=params)

        def arguments(
            candidate: Candidate, turns: Sequence[Turn]
        ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
            return (history_for(candidate, with_turns(asked, turns)),), params

        return Request("chat", view, arguments, force)

    def _completion_request(self, prompt: str, formatted: bool, kwargs: dict[str, Any]) -> Request:
        force, scope, params = self._params(kwargs)
        asked = [ChatMessage(content=prompt)]
        view = read_prompt(asked, scope=scope, params=params)

        def arguments(
            candidate: Candidate, turns: Sequence[Turn]
        ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
            return (_with_texts(prompt, turns), formatted), params

        return Request("complete", view, arguments, force)

    def _tools_request(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None,
        chat_history: Sequence[ChatMessage] | None,
        kwargs: dict[str, Any],
    ) -> Request:
        force, scope, params = self._params(kwargs)
        history = list(chat_history or ())
        asked = ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg
        views = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        choice = params.get("tool_choice")
        must_call = bool(params.get("tool_required")) or choice not in (None, "auto", "none")

        def arguments(
            candidate: Candidate, turns: Sequence[Turn]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            sent, last = history, [asked] if asked else []
            if turns:
                sent, last = with_turns([*sent, *last], turns), []
            read = next(iter(history_for(candidate, last)), None)
            copies = {"user_msg": read, "chat_history": history_for(candidate, sent)}
            return (list(tools),), {**params, **copies}

        messages = [*history, asked] if asked else history
        view = read_prompt(messages, views, must_call=must_call, scope=scope, params=params)
        return Request("chat_with_tools", view, arguments, force)

    def _schema_request(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> Request:
        given = dict(llm_kwargs or {})
        for name in _ABOUT_THE_CALL:
            if name in prompt_args and name not in prompt.template_vars:
                given[name] = prompt_args.pop(name)
        force, scope, params = self._params(given)
        formatted = prompt.format_messages(llm=self, **prompt_args)
        messages = self._extend_messages(formatted)

        def arguments(
            candidate: Candidate, turns: Sequence[Turn]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            # Integrations write into `llm_kwargs` and set the output parser of a template.
            options = {"llm_kwargs": dict(params)}
            sent = history_for(candidate, with_turns(messages, turns))
            if sent != formatted:
                return (output_cls, ChatPromptTemplate(sent)), options
            return (output_cls, prompt.model_copy()), {**options, **prompt_args}

        schema = output_cls.model_json_schema()
        view = read_prompt(messages, schema=schema, scope=scope, params=params)
        return Request("structured_predict", view, arguments, force)

    def _params(self, kwargs: Mapping[str, Any]) -> tuple[str | None, Scope, dict[str, Any]]:
        params = {name: value for name in _DEFAULTS if (value := getattr(self, name)) is not None}
        params.update(kwargs)
        rules, scope = params.pop("subject_to", ()), current_scope()
        if rules != () or self.step is not None:
            scope = Scope(subject_to=rules, step=self.step).within(scope)
        return params.pop("model", None), scope, params

    # --- inside: calls ---

    def _answer(self, request: Request) -> Any:
        router = self._router
        decision = router.decide(request.prompt, request.force)
        announce(decision)
        transport = LLMTransport(request, decision, router.__getitem__)
        return _finished(router.answer(request.prompt, decision, transport))

    async def _aanswer(self, request: Request) -> Any:
        router = self._router
        decision = await router.adecide(request.prompt, request.force)
        announce(decision)
        transport = LLMTransport(request, decision, router.__getitem__)
        return _finished(await router.aanswer(request.prompt, decision, transport))

    def _stream(self, request: Request) -> Generator[Any, None, None]:
        router = self._router
        decision = router.decide(request.prompt, request.force)
        announce(decision)
        transport = LLMTransport(request, decision, router.__getitem__)
        items = router.stream(request.prompt, decision, transport)

        def responses() -> Generator[Any, None, None]:
            with closing(items):
                for item in items:
                    yield from _ending(item) if isinstance(item, Answer) else (item,)

        return responses()

    async def _astream(self, request: Request) -> AsyncGenerator[Any, None]:
        router = self._router
        decision = await router.adecide(request.prompt, request.force)
        announce(decision)
        transport = LLMTransport(request, decision, router.__getitem__)
        items = router.astream(request.prompt, decision, transport)

        async def responses() -> AsyncGenerator[Any, None]:
            async with aclosing(items):
                async for item in items:
                    for response in _ending(item) if isinstance(item, Answer) else (item,):
                        yield response

        return responses()

    def _hand_down_callbacks(self) -> None:
        for candidate in self._router.candidates:
            candidate.model.callback_manager = self.callback_manager


def _with_texts(prompt: str, turns: Sequence[Turn]) -> str:
    """Return a completion's text with turns said besides it: what a system says comes first."""
    before = [turn.text for turn in turns if turn.role == "system"]
    after = [turn.text for turn in turns if turn.role != "system"]
    return "\n\n".join([*before, prompt, *after])


def _tool_options(verbose: bool, parallel: bool, required: bool) -> dict[str, bool]:
    """Return the arguments that differ from LlamaIndex's defaults; not every LLM knows them all."""
    given = {
        "verbose": verbose,
        "allow_parallel_tool_calls": parallel,
        "tool_required": required,
    }
    return {name: value for name, value in given.items() if value}


def _finished(answer: Answer) -> Any:
    return stamp(answer.reply.native, answer.entry.as_dict())


def _ending(answer: Answer) -> tuple[Any, ...]:
    """Return the last response again with nothing new in it but the complete record."""
    native = answer.reply.native
    if not isinstance(native, (ChatResponse, CompletionResponse)):
        return ()
    return (stamp(native.model_copy(update={"delta": ""}), answer.entry.as_dict()),)
