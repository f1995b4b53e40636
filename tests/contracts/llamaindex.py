"""A conformance suite for any LlamaIndex `LLM`.

In: a subclass of `LLMContract` with a fixture `llm`, and `slow_llm` and `failing_llm` where the
model can be made slow or made to fail. Out: a test for each thing that query engines, chat engines,
agents and observers rely on.

    class TestMyLLM(LLMContract):
        @pytest.fixture
        def llm(self):
            return MyLLM()
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, TokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from tests.contracts.gates import (
    UNTYPED,
    Contract,
    assert_it_ticks,
    cancelled,
    is_that,
    needs,
    only,
    outcome_of,
)

QUESTION = "What is the capital of France?"
TOOL_QUESTION = "weather in Lisbon?"


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


def weather(city: str = "Lisbon") -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


def clock(city: str = "Lisbon") -> str:
    """Tell the time in a city."""
    return f"noon in {city}"


TOOL = FunctionTool.from_defaults(weather)
CLOCK = FunctionTool.from_defaults(clock)
TEMPLATE = PromptTemplate("Name a city in {place}.")

PREFIXES = ("", "a", "stream_", "astream_")
CHAT, COMPLETE, WITH_TOOLS, STRUCTURED = (
    tuple(prefix + kind for prefix in PREFIXES)
    for kind in ("chat", "complete", "chat_with_tools", "structured_predict")
)
METHODS = (*CHAT, *COMPLETE, *WITH_TOOLS, *STRUCTURED)

each_call = pytest.mark.parametrize("method", [*CHAT, *COMPLETE])
each_stream = pytest.mark.parametrize("method", [*CHAT[2:], *COMPLETE[2:]])
each_tool_call = pytest.mark.parametrize("method", WITH_TOOLS)
each_structured_call = pytest.mark.parametrize("method", STRUCTURED)
each_event_call = pytest.mark.parametrize("method", [*CHAT, *COMPLETE, *WITH_TOOLS])
each_method = pytest.mark.parametrize("method", METHODS)


# --- calling any method by its name ---


def _arguments(
    method: str, history: Sequence[ChatMessage], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if method in CHAT:
        return ([*history, ChatMessage(content=QUESTION)],), kwargs
    if method in COMPLETE:
        return (QUESTION,), kwargs
    if method in WITH_TOOLS:
        asked = {"user_msg": TOOL_QUESTION, "chat_history": list(history)}
        return ([TOOL],), {**asked, "tool_required": True, **kwargs}
    if history:
        return (City, ChatPromptTemplate([*history, ChatMessage(content="A city.")]), kwargs), {}
    return (City, TEMPLATE), {"llm_kwargs": kwargs, "place": "Europe"}


def begin(method: str, llm: Any, history: Sequence[ChatMessage] = (), **kwargs: Any) -> Any:
    """Call `method` of an LLM; return what it returns: a response, a stream or an awaitable."""
    args, named = _arguments(method, history, kwargs)
    return getattr(llm, method)(*args, **named)


async def awaited(method: str, made: Any) -> list[Any]:
    """Every response of an async call that has begun, one where it is no stream."""
    answer = await made
    if method.startswith("astream_"):
        return [response async for response in answer]
    return [answer]


def finish(method: str, made: Any) -> list[Any]:
    """Every response of a call that has begun, one where it is no stream."""
    if method.startswith("stream_"):
        return list(made)
    if not method.startswith("a"):
        return [made]
    return asyncio.run(awaited(method, made))


def collect(method: str, llm: Any, history: Sequence[ChatMessage] = (), **kwargs: Any) -> list[Any]:
    """Call `method` of an LLM to its end; return every response, one where it is no stream."""
    return finish(method, begin(method, llm, history, **kwargs))


def chat(method: str, llm: Any, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
    """Send these messages through one of the four chat methods; return the last response."""
    return finish(method, getattr(llm, method)(messages, **kwargs))[-1]


def text_of(response: ChatResponse | CompletionResponse) -> str:
    """The text that a response holds so far."""
    if isinstance(response, CompletionResponse):
        return response.text
    return response.message.content or ""


# --- observing a call ---


@dataclass
class Observed:
    """What observers saw: events, and the ids of the spans that were opened and closed."""

    events: list[Any] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[Any]:
        """The events of one class."""
        return [event for event in self.events if event.class_name() == name]


@contextmanager
def observed() -> Iterator[Observed]:
    """Listen to everything that is dispatched inside the block."""
    seen = Observed()

    class Events(BaseEventHandler):
        def handle(self, event: Any, **kwargs: Any) -> None:
            seen.events.append(event)

    class Spans(BaseSpanHandler[Any]):
        def new_span(self, id_: str, *args: Any, **kwargs: Any) -> None:
            seen.opened.append(id_)

        def prepare_to_exit_span(self, id_: str, *args: Any, **kwargs: Any) -> None:
            seen.closed.append(id_)

        prepare_to_drop_span = prepare_to_exit_span

    dispatcher, events, spans = get_dispatcher(), Events(), Spans()
    dispatcher.add_event_handler(events)
    dispatcher.add_span_handler(spans)
    try:
        yield seen
    finally:
        dispatcher.event_handlers.remove(events)
        dispatcher.span_handlers.remove(spans)


class Callbacks(BaseCallbackHandler):
    """Counts LLM calls that began and that ended, in LlamaIndex's older way."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[str] = []
        self.ended: list[str] = []

    def on_event_start(self, event_type: Any, *_: Any, event_id: str = "", **kwargs: Any) -> str:
        if event_type == CBEventType.LLM:
            self.started.append(event_id)
        return event_id

    def on_event_end(self, event_type: Any, *_: Any, event_id: str = "", **kwargs: Any) -> None:
        if event_type == CBEventType.LLM:
            self.ended.append(event_id)

    def start_trace(self, trace_id: str | None = None) -> None: ...

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None: ...


def _payload(llm: Any) -> Any:
    with observed() as seen:
        llm.complete(QUESTION)
    return [event.model_dict for event in seen.of("LLMCompletionStartEvent")]


VIEWS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "to_dict": lambda llm: llm.to_dict(),
    "to_json": lambda llm: llm.to_json(),
    "model_dump": lambda llm: llm.model_dump(),
    "metadata": lambda llm: llm.metadata.model_dump_json(),
    "payload": _payload,
}
"""What ends up in logs and traces."""


def _message(role: str, text: str) -> ChatMessage:
    return ChatMessage(role=role, content=text)


ODD_INPUTS: dict[str, list[ChatMessage]] = {
    "nothing": [],
    "empty": [_message("user", "")],
    "no blocks": [ChatMessage(role="user", blocks=[])],
    "whitespace": [_message("user", " \n\t\u00a0")],
    "NUL": [_message("user", "a\x00b")],
    "lone surrogate": [_message("user", "a\ud800b")],
    "system alone": [_message("system", "Be brief.")],
    "assistant last": [_message("user", QUESTION), _message("assistant", "Paris")],
    "developer": [_message("developer", "Be brief."), _message("user", QUESTION)],
    "function": [_message("user", QUESTION), _message("function", "42")],
    "tool without a call": [_message("user", QUESTION), _message("tool", "42")],
    "another's assistant": [
        _message("user", "Hi"),
        _message("chatbot", "Hi"),
        _message("user", QUESTION),
    ],
}

PIXEL = (
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    b"gg=="
)


class LLMContract(Contract):
    """What any LlamaIndex LLM promises; inherit it and give a fixture `llm`.

    The answers are expected to be the same each time that the same is asked: set the temperature
    to 0, or use a double of the model.

    Attributes:
        supports_images: Whether a message may hold an image.
        reports_usage: Whether responses hold token counts where LlamaIndex looks for them.
        picklable: Whether it can be copied deeply and pickled.
    """

    supports_images: ClassVar[bool] = False
    reports_usage: ClassVar[bool] = False
    picklable: ClassVar[bool] = True

    @pytest.fixture
    def llm(self) -> LLM:
        """The LLM under test, a new one for every test."""
        raise NotImplementedError

    @pytest.fixture
    def slow_llm(self) -> LLM:
        """The LLM, or its like, whose calls last `slow_s` seconds or more."""
        pytest.skip("no slow model was given")

    @pytest.fixture
    def failing_llm(self) -> tuple[LLM, Exception | type[Exception]]:
        """The LLM, or its like, and the error or its class that every call raises."""
        pytest.skip("no failing model was given")

    @pytest.fixture(autouse=True)
    def _read(self, llm: LLM) -> None:
        self.subject = llm

    # --- gates that the metadata decide ---

    @property
    def calls_tools(self) -> bool:
        """Whether it calls functions."""
        return self.subject.metadata.is_function_calling_model

    @property
    def calls_tools_in_parallel(self) -> bool:
        """Whether one answer may hold several calls."""
        return self.calls_tools

    @property
    def gives_structured_output(self) -> bool:
        """Whether it fills a pydantic class, in whichever way."""
        return self.calls_tools

    def _offered(self, method: str) -> None:
        needs(self.calls_tools or method not in WITH_TOOLS, "tool calls")
        needs(self.gives_structured_output or method not in STRUCTURED, "structured output")

    # --- what it is ---

    def test_its_metadata_agree_with_its_class(self, llm: LLM) -> None:
        metadata = llm.metadata
        assert isinstance(llm, LLM)
        assert isinstance(metadata, LLMMetadata)
        assert metadata == llm.metadata
        assert metadata.context_window > 0
        assert metadata.num_output == -1 or 0 < metadata.num_output <= metadata.context_window
        assert isinstance(metadata.model_name, str)
        assert isinstance(metadata.system_role, MessageRole)
        assert llm.class_name() not in ("", "base_component", "custom_llm")
        if metadata.is_function_calling_model:
            assert isinstance(llm, FunctionCallingLLM)

    # --- the eight ways to ask ---

    @each_call
    def test_a_call_gives_what_its_signature_promises(self, method: str, llm: LLM) -> None:
        made = begin(method, llm)
        if method.startswith("a"):
            assert inspect.iscoroutine(made), f"{method} must be a coroutine"
        elif method.startswith("stream_"):
            assert isinstance(made, Iterator)

        async def opened() -> list[Any]:
            answer = await made
            if method.startswith("astream_"):
                assert isinstance(answer, AsyncIterator), f"{method} must return an async generator"
                return [response async for response in answer]
            return [answer]

        responses = asyncio.run(opened()) if method.startswith("a") else finish(method, made)
        assert responses
        for response in responses:
            assert isinstance(response, CompletionResponse if method in COMPLETE else ChatResponse)
            if method in CHAT:
                assert response.message.role == MessageRole.ASSISTANT
        assert text_of(responses[-1])

    @each_call
    def test_every_way_of_asking_has_the_same_answer(self, method: str, llm: LLM) -> None:
        plain = "complete" if method in COMPLETE else "chat"
        assert text_of(collect(method, llm)[-1]) == text_of(collect(plain, llm)[-1])

    def test_the_input_may_be_named(self, llm: LLM) -> None:
        for method in CHAT:
            made = getattr(llm, method)(messages=[ChatMessage(content=QUESTION)])
            assert text_of(finish(method, made)[-1]), method
        for method in COMPLETE:
            assert text_of(finish(method, getattr(llm, method)(prompt=QUESTION))[-1]), method

    @each_stream
    def test_the_deltas_of_a_stream_add_up_to_its_text(self, method: str, llm: LLM) -> None:
        responses = collect(method, llm)
        assert "".join(response.delta or "" for response in responses) == text_of(responses[-1])

    @each_stream
    def test_the_text_of_a_stream_grows(self, method: str, llm: LLM) -> None:
        grown = ""
        for response in collect(method, llm):
            grown += response.delta or ""
            assert text_of(response) == grown

    async def test_a_template_is_filled_and_asked(self, llm: LLM) -> None:
        said = llm.predict(TEMPLATE, place="Asia")
        assert said
        assert said == await llm.apredict(TEMPLATE, place="Asia")
        assert said == "".join(llm.stream(TEMPLATE, place="Asia"))
        tokens = await llm.astream(TEMPLATE, place="Asia")
        assert said == "".join([token async for token in tokens])

    def test_an_image_is_taken(self, llm: LLM) -> None:
        needs(self.supports_images, "images")
        blocks = [TextBlock(text="What is it?"), ImageBlock(image=PIXEL)]
        message = ChatMessage(blocks=blocks)
        before = message.model_copy(deep=True)
        for method in CHAT:
            assert text_of(chat(method, llm, [message]))
        assert message == before

    def test_usage_is_reported(self, llm: LLM) -> None:
        needs(self.reports_usage, "usage")
        counts = {get_tokens_from_response(collect(method, llm)[-1]) for method in CHAT[:2]}
        assert len(counts) == 1
        assert all(count > 0 for count in counts.pop())

    # --- what the caller gave stays the caller's ---

    def test_the_messages_stay_as_they_are(self, llm: LLM) -> None:
        messages = self._conversation()
        before = copy.deepcopy(messages)
        for method in CHAT:
            chat(method, llm, messages)
            assert messages == before, method

    @each_tool_call
    def test_the_history_and_the_tools_stay_as_they_are(self, method: str, llm: LLM) -> None:
        self._offered(method)
        history, tools, asked = self._conversation()[:-1], [TOOL], ChatMessage(TOOL_QUESTION)
        before = copy.deepcopy((history, asked, TOOL.metadata))
        made = getattr(llm, method)(tools, user_msg=asked, chat_history=history, tool_required=True)
        finish(method, made)
        assert (history, asked, TOOL.metadata) == before
        assert tools == [TOOL]

    def test_the_template_and_its_values_stay_as_they_are(self, llm: LLM) -> None:
        needs(self.gives_structured_output, "structured output")
        template = PromptTemplate("Name a city in {place}.")
        options: dict[str, Any] = {}
        before = template.model_dump()
        for method in STRUCTURED:
            finish(method, getattr(llm, method)(City, template, llm_kwargs=options, place="Asia"))
            assert template.model_dump() == before, method
            assert template.output_parser is None, method
            assert options == {}, method

    def _conversation(self) -> list[ChatMessage]:
        return [
            ChatMessage(role="system", content="Be brief."),
            ChatMessage(role="user", content="Hello", additional_kwargs={}),
            ChatMessage(role="assistant", content="Hello to you"),
            ChatMessage(role="user", content=QUESTION),
        ]

    # --- tools ---

    @each_tool_call
    def test_a_forced_tool_call_is_decoded(self, method: str, llm: LLM) -> None:
        self._offered(method)
        response = collect(method, llm)[-1]
        assert response.message.role == MessageRole.ASSISTANT
        selection = only(self._calls(response))
        assert selection.tool_name == "weather"
        assert selection.tool_id
        assert isinstance(selection.tool_kwargs, dict)
        assert TOOL(**selection.tool_kwargs).content.startswith("sunny in ")

    @each_tool_call
    def test_a_tools_result_may_be_sent_back(self, method: str, llm: LLM) -> None:
        self._offered(method)
        history = [ChatMessage(TOOL_QUESTION), collect(method, llm)[-1].message]
        selection = only(self._calls_in(history[-1]))
        history.append(_result(selection))
        made = getattr(llm, method)([TOOL], chat_history=history)
        assert self._answered(finish(method, made)[-1])
        assert self._answered(chat(method.removesuffix("_with_tools"), llm, history))

    @each_tool_call
    def test_several_tools_may_be_called_at_once(self, method: str, llm: LLM) -> None:
        self._offered(method)
        needs(self.calls_tools_in_parallel, "several tool calls at once")
        question = "weather and clock in Lisbon?"
        options = {"tool_required": True, "allow_parallel_tool_calls": True}
        made = getattr(llm, method)([TOOL, CLOCK], question, chat_history=[], **options)
        message = finish(method, made)[-1].message
        selections = self._calls_in(message)
        assert {selection.tool_name for selection in selections} == {"weather", "clock"}
        assert len({selection.tool_id for selection in selections}) == 2
        history = [ChatMessage(question), message, *map(_result, selections)]
        assert self._answered(finish(method, getattr(llm, method)([TOOL], None, history))[-1])

    def test_an_answer_without_a_tool_call_is_an_error_or_not(self, llm: Any) -> None:
        needs(self.calls_tools, "tool calls")
        response = llm.chat([ChatMessage(QUESTION)])
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError):
            llm.get_tool_calls_from_response(response, error_on_no_tool_call=True)

    async def test_a_tool_is_predicted_and_called(self, llm: LLM) -> None:
        needs(self.calls_tools, "tool calls")
        for said in (
            llm.predict_and_call([TOOL], TOOL_QUESTION),
            await llm.apredict_and_call([TOOL], TOOL_QUESTION),
        ):
            assert isinstance(said, AgentChatResponse)
            source = only(said.sources)
            assert not source.is_error
            assert said.response == source.content
            assert said.response.startswith("sunny in ")

    def _calls(self, response: ChatResponse) -> list[Any]:
        return self.subject.get_tool_calls_from_response(response)  # type: ignore[attr-defined]

    def _calls_in(self, message: ChatMessage) -> list[Any]:
        """The tool calls of a message alone, which is what agents keep."""
        return self._calls(ChatResponse(message=message))

    def _answered(self, response: ChatResponse) -> bool:
        decode: Any = self.subject.get_tool_calls_from_response  # type: ignore[attr-defined]
        called = decode(response, error_on_no_tool_call=False)
        return response.message.role == MessageRole.ASSISTANT and bool(text_of(response) or called)

    # --- structured output ---

    @each_structured_call
    def test_structured_output_is_an_instance(self, method: str, llm: LLM) -> None:
        self._offered(method)
        last = collect(method, llm)[-1]
        assert City.model_validate(last.model_dump()).name
        if "stream" not in method:
            assert isinstance(last, City)

    async def test_it_may_be_wrapped_as_a_structured_llm(self, llm: LLM) -> None:
        needs(self.gives_structured_output, "structured output")
        structured, messages = llm.as_structured_llm(City), [ChatMessage("A city.")]
        for answer in (
            structured.chat(messages),
            await structured.achat(messages),
            structured.complete("A city."),
            await structured.acomplete("A city."),
        ):
            assert isinstance(answer.raw, City)

    # --- what observers see ---

    @each_event_call
    def test_a_call_is_one_pair_of_events_in_one_span(self, method: str, llm: LLM) -> None:
        self._offered(method)
        with observed() as seen:
            collect(method, llm)
        kind = "Completion" if method in COMPLETE else "Chat"
        start = only(seen.of(f"LLM{kind}StartEvent"))
        end = only(seen.of(f"LLM{kind}EndEvent"))
        assert start.span_id == end.span_id
        assert start.span_id in seen.opened
        assert start.model_dict["class_name"]
        assert end.response is not None
        assert sorted(seen.closed) == sorted(seen.opened)

    @each_structured_call
    def test_a_structured_call_closes_its_events_and_spans(self, method: str, llm: LLM) -> None:
        self._offered(method)
        with observed() as seen:
            collect(method, llm)
        for kind in ("Chat", "Completion"):
            assert len(seen.of(f"LLM{kind}StartEvent")) == len(seen.of(f"LLM{kind}EndEvent"))
        assert seen.of("LLMChatStartEvent") or seen.of("LLMCompletionStartEvent")
        assert sorted(seen.closed) == sorted(seen.opened)

    def test_callbacks_set_late_count_tokens(self, llm: LLM) -> None:
        tokens, calls = TokenCountingHandler(tokenizer=str.split), Callbacks()
        llm.callback_manager = CallbackManager([tokens, calls])
        for method in (*CHAT, *COMPLETE, *(WITH_TOOLS if self.calls_tools else ())):
            before = tokens.total_llm_token_count
            collect(method, llm)
            assert tokens.total_llm_token_count > before, method
            assert sorted(calls.ended) == sorted(calls.started), method

    @pytest.mark.parametrize("view", VIEWS)
    def test_no_secret_is_shown(self, view: str, llm: LLM) -> None:
        needs(self.secret is not None, "a secret to look for")
        assert str(self.secret) not in str(VIEWS[view](llm))

    @pytest.mark.parametrize(
        "twin",
        [copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))],  # noqa: S301
        ids=["copied", "pickled"],
    )
    def test_a_copy_answers_alike(self, twin: Callable[[LLM], LLM], llm: LLM) -> None:
        needs(self.picklable, "copies")
        said = text_of(llm.complete(QUESTION))
        made = twin(llm)
        assert made is not llm
        assert made.metadata == llm.metadata
        assert text_of(made.complete(QUESTION)) == said

    # --- slowness, cancelling, leaving, failing ---

    async def test_no_async_call_blocks_the_loop(self, slow_llm: LLM) -> None:
        methods = [*CHAT[1::2], *COMPLETE[1::2]] + [*WITH_TOOLS[1::2]] * self.calls_tools
        await assert_it_ticks(
            lambda: [awaited(m, begin(m, slow_llm)) for m in methods], self.slow_s
        )

    @pytest.mark.parametrize("method", [*CHAT[1::2], *COMPLETE[1::2]])
    async def test_a_cancelled_call_leaves_no_task(self, method: str, slow_llm: LLM) -> None:
        await cancelled(awaited(method, begin(method, slow_llm)))

    @each_stream
    async def test_a_stream_that_is_left_ends_its_call(self, method: str, llm: LLM) -> None:
        calls = Callbacks()
        llm.callback_manager = CallbackManager([calls])
        if method.startswith("a"):
            responses = await begin(method, llm)
            await anext(responses)
            await responses.aclose()
        else:
            stream = begin(method, llm)
            next(stream)
            stream.close()
        assert calls.started
        assert sorted(calls.ended) == sorted(calls.started)
        assert len(asyncio.all_tasks()) == 1

    @each_method
    def test_an_error_reaches_the_caller_as_it_is(
        self, method: str, failing_llm: tuple[LLM, Exception | type[Exception]]
    ) -> None:
        self._offered(method)
        llm, error = failing_llm
        calls = Callbacks()
        llm.callback_manager = CallbackManager([calls])
        with pytest.raises(Exception) as caught:
            collect(method, llm)
        assert is_that(caught.value, error)
        assert calls.started
        assert sorted(calls.ended) == sorted(calls.started)

    @pytest.mark.parametrize("name", ODD_INPUTS)
    def test_odd_input_is_answered_or_refused(self, name: str, llm: LLM) -> None:
        messages = ODD_INPUTS[name]
        before = copy.deepcopy(messages)
        for method in CHAT:
            outcome = outcome_of(lambda method=method: chat(method, llm, messages))
            assert not isinstance(outcome, UNTYPED), f"{method}: {outcome!r}"
            assert isinstance(outcome, (ChatResponse, Exception))
        assert messages == before
        assert text_of(collect("chat", llm)[-1])


def _result(selection: Any) -> ChatMessage:
    ids = {"tool_call_id": selection.tool_id, "name": selection.tool_name}
    return ChatMessage(role="tool", content="sunny", additional_kwargs=ids)
