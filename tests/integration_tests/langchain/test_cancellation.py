"""A call that is cancelled, left or interrupted, wherever it is, ends and leaves nothing behind.

Nobody else is asked, the model's own call ends too, every run is closed, and a candidate that was
on trial is free for the next call.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel

from langchain_router import Budget, Cascade, ChatRouter, Policy, deadline_s
from shared_core.types import (
    Ask,
    Check,
    Decision,
    Draft,
    Prompt,
    Steps,
    Turn,
    Verdict,
    Verification,
)
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import Break
from tests.integration_tests.accounts import nothing_held
from tests.integration_tests.cancelling import (
    CUTS,
    Cut,
    at_turn,
    cancel_everywhere,
    cancel_when_due,
    cancel_while_it_hangs,
    nothing_left,
    on_trial,
)
from tests.integration_tests.langchain.forms import (
    WAYS,
    Way,
    ainvoke,
    astream,
    invoke,
    plain,
    router,
    stream,
    structured,
    with_tool,
)
from tests.integration_tests.langchain.watching import (
    QUESTION,
    Asks,
    Told,
    Watched,
    events,
    streamed,
    whole,
)

IN_TIME = {"policy": Policy(subject_to=[deadline_s(60)])}


def flat(small: BaseChatModel, large: BaseChatModel, **settings: Any) -> ChatRouter:
    return router(small, large, **settings)


def nested(small: BaseChatModel, large: BaseChatModel, **settings: Any) -> ChatRouter:
    """A router whose weaker candidate is a router."""
    return router(router(small, ScriptedChat(model_name="middle"), **settings), large, **settings)


Made = Callable[..., ChatRouter]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("settings", [{}, IN_TIME], ids=["no deadline", "deadline"])
@pytest.mark.parametrize("make", [flat, nested])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ask", [whole, streamed])
async def test_22_a_call_may_be_cancelled_at_every_await_point(
    ask: Asks, way: Way, make: Made, settings: Any, cut: Cut
) -> None:
    ends: set[str] = set()
    whole_below = ask is whole or (way is structured and make is nested)

    def begin() -> Any:
        small, large = Watched(model_name="small"), ScriptedChat(model_name="large")
        llm, told = make(small, large, **settings), Told()
        on_trial(llm, "small")

        def check() -> None:
            ends.update(small.log)
            assert len(small.log) <= 1
            assert "under way" not in small.log
            assert large.calls == []
            assert llm.explain(QUESTION).resting == ()
            # LangChain leaves the run of a model open where its `ainvoke` is cancelled.
            assert set(told.open) <= ({"model"} if whole_below else set())

        return ask(way(llm), {"callbacks": [told]}), check

    assert await cancel_everywhere(begin, cut) >= 3
    assert "CancelledError" in ends


@pytest.mark.parametrize("cut", CUTS)
async def test_22_a_stream_of_events_may_be_cancelled_at_every_await_point(cut: Cut) -> None:
    def begin() -> Any:
        small, large = Watched(model_name="small"), ScriptedChat(model_name="large")
        llm, told = router(small, large), Told()
        on_trial(llm, "small")

        def check() -> None:
            assert "under way" not in small.log
            assert large.calls == []
            assert llm.explain(QUESTION).resting == ()
            assert told.open == []

        return events(llm, {"callbacks": [told]}), check

    assert await cancel_everywhere(begin, cut) >= 3


class Both:
    """Asks both side by side and takes the first one's reply."""

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        names = (decision.candidate, *decision.fallbacks)
        first, *_ = yield tuple(Ask(name, visible=False) for name in names)
        return first


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("ask", [whole, streamed])
async def test_22_calls_that_go_side_by_side_are_cancelled_together(ask: Asks, cut: Cut) -> None:
    ends: set[str] = set()

    def begin() -> Any:
        models = [Watched(model_name=name) for name in ("small", "large")]
        llm, told = router(*models, strategy=Both()), Told()

        def check() -> None:
            ends.update(*(model.log for model in models))
            assert "chain" not in told.open

        return ask(llm, {"callbacks": [told]}), check

    assert await cancel_everywhere(begin, cut) >= 1
    assert "under way" not in ends
    assert "CancelledError" in ends


class Asking:
    """Looks at a draft in a thread, then has a model say a word on it."""

    name = "asking"

    def __init__(self, says: str) -> None:
        self.says = says

    def verify(self, draft: Draft) -> Verification:
        yield (Check(self.name, lambda draft: None, draft),)
        turns = (Turn("user", "Is this right?"),)
        reply: Any
        (reply,) = yield (Ask("helper", visible=False, turns=turns, purpose="check", replace=True),)
        return Verdict(self.name, 0.99 if reply.text == self.says else 0.02)


class Glancing(Asking):
    """Looks at a draft while it grows, too."""

    inline_glance = False

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        return None


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("says", ["yes", "no"], ids=["accepted", "escalated"])
@pytest.mark.parametrize(
    ("verifier", "settings"), [(Asking, {}), (Glancing, {}), (Glancing, IN_TIME)]
)
@pytest.mark.parametrize("ask", [whole, streamed])
async def test_22_a_cascade_may_be_cancelled_at_every_await_point(
    ask: Asks, settings: Any, verifier: Any, says: str, cut: Cut
) -> None:
    ends: set[str] = set()

    def begin() -> Any:
        models = {name: Watched(model_name=name) for name in ("helper", "small", "large")}
        models["helper"].replies = ["yes"]
        models["small"].replies = ["a draft of many words " * 4]
        told = Told()
        llm = ChatRouter(
            models,
            strategy=Cascade(verifier(says)),
            predictor=FixedPredictor({"helper": 0.01, "small": 0.6, "large": 0.95}),
            budgets=[Budget(tokens=10**6)],
            **settings,
        )

        def check() -> None:
            logs = [log for model in models.values() for log in model.log]
            ends.update(logs)
            assert "under way" not in logs
            assert nothing_held(llm)
            assert llm.explain(QUESTION).resting == ()
            # LangChain leaves the run of a model open where its `ainvoke` is cancelled.
            assert set(told.open) <= {"model"}
            assert len(told.open) <= 1

        return ask(llm, {"callbacks": [told]}), check

    assert await cancel_everywhere(begin, cut) >= 3
    assert "CancelledError" in ends


@pytest.mark.parametrize("ask", [whole, streamed, events])
async def test_22_a_cascade_is_cancelled_while_a_check_runs(ask: Asks) -> None:
    looking, over = threading.Event(), threading.Event()

    def look(draft: Draft) -> bool:
        looking.set()
        return over.wait(10)

    small, large, told = Watched(model_name="small"), ScriptedChat(model_name="large"), Told()
    llm = router(small, large, strategy=Cascade(look), budgets=[Budget(tokens=10**6)])
    async with nothing_left():
        task = asyncio.ensure_future(ask(llm, {"callbacks": [told]}))
        while not looking.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told.open == []
        over.set()
    assert small.log == ["returned"]
    assert large.calls == []
    assert nothing_held(llm)


@pytest.mark.parametrize("form", [stream, astream])
def test_22_a_cascade_whose_stream_is_closed_ends_its_call(form: Any) -> None:
    def wrong(draft: Draft) -> bool:
        return False

    large, told = Watched(model_name="large"), Told()
    llm = router(None, large, strategy=Cascade(wrong), budgets=[Budget(tokens=10**6)])

    async def leave() -> None:
        async with nothing_left():
            chunks = llm.astream(QUESTION, {"callbacks": [told]})
            await anext(chunks)
            await chunks.aclose()  # type: ignore[attr-defined]

    if form is astream:
        asyncio.run(leave())
    else:
        chunks = llm.stream(QUESTION, {"callbacks": [told]})
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
    assert large.log == ["GeneratorExit"]
    assert told.open == []
    assert nothing_held(llm)


@pytest.mark.parametrize("return_exceptions", [False, True])
async def test_22_a_batch_is_cancelled_as_a_whole(return_exceptions: bool) -> None:
    def begin() -> Any:
        small, large, told = Watched(model_name="small"), ScriptedChat(model_name="large"), Told()

        def check() -> None:
            assert "under way" not in small.log
            assert large.calls == []
            assert "chain" not in told.open

        llm, config = router(small, large), {"callbacks": [told]}
        batch = llm.abatch(list("abc"), config, return_exceptions=return_exceptions)  # type: ignore[call-overload]
        return batch, check

    assert await cancel_everywhere(begin, at_turn) >= 3


@pytest.mark.parametrize("way", [plain, with_tool])
@pytest.mark.parametrize("ask", [whole, streamed])
def test_22_a_real_client_leaves_its_server_wherever_it_is_cancelled(
    ask: Asks, way: Way, server: OpenAIServer, llm: ChatRouter
) -> None:
    assert cancel_while_it_hangs(lambda: way(llm), lambda model: ask(model, {}), server) > 5
    assert server.abandoned > 0
    assert server.asked("large") == []


@pytest.mark.parametrize("settings", [{}, IN_TIME], ids=["no deadline", "deadline"])
@pytest.mark.parametrize("way", WAYS)
async def test_22_a_stream_that_is_dropped_ends_its_call(way: Way, settings: Any) -> None:
    small, told = Watched(model_name="small"), Told()
    llm = router(small, **settings)
    on_trial(llm, "small")
    model = way(llm)
    async with nothing_left():
        model.astream(QUESTION, {"callbacks": [told]})
        model.stream(QUESTION, {"callbacks": [told]})
        gc.collect()
    assert (small.calls, told.runs) == ([], {})  # never read, never asked
    async with nothing_left():
        chunks = model.astream(QUESTION, {"callbacks": [told]})
        await anext(chunks)
        del chunks
    async with nothing_left():
        later = model.stream(QUESTION, {"callbacks": [told]})
        next(later)
        del later
    assert len(small.log) == 2
    assert "under way" not in small.log
    assert told.open == []
    assert llm.explain(QUESTION).resting == ()


@pytest.mark.parametrize("settings", [{}, IN_TIME], ids=["no deadline", "deadline"])
@pytest.mark.parametrize("make", [flat, nested])
@pytest.mark.parametrize("way", WAYS)
async def test_22_a_stream_that_is_closed_ends_its_call(
    way: Way, make: Made, settings: Any
) -> None:
    small, large, told = Watched(model_name="small"), ScriptedChat(model_name="large"), Told()
    llm = make(small, large, **settings)
    on_trial(llm, "small")
    model: Any = way(llm)
    async with nothing_left():
        chunks = model.astream(QUESTION, {"callbacks": [told]})
        await anext(chunks)
        await chunks.aclose()
        if way is not with_tool:  # LangChain's binding closes late
            assert "under way" not in small.log
            assert told.open == []
    async with nothing_left():
        later = model.stream(QUESTION, {"callbacks": [told]})
        next(later)
        later.close()
    assert len(small.log) == 2
    assert "under way" not in small.log
    assert large.calls == []
    assert told.open == []
    assert llm.explain(QUESTION).resting == ()


@pytest.mark.parametrize("settings", [{}, IN_TIME], ids=["no deadline", "deadline"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("form", [invoke, ainvoke, stream, astream])
def test_23_an_interrupt_inside_a_candidate_passes_through(
    form: Any, after: int, error: type[BaseException], settings: Any
) -> None:
    told, large = Told(), ScriptedChat(model_name="large")
    broken = Break(error("stop"), after=after, reply=["Hel", "lo"])
    llm = router(ScriptedChat(model_name="small", replies=[broken, "fine"]), large, **settings)
    on_trial(llm, "small")
    with pytest.raises(error) as caught:
        form(llm, QUESTION, {"callbacks": [told]})
    assert caught.value is broken.error
    assert large.calls == []
    assert told.open == ["model"] * (form is ainvoke)  # which LangChain leaves open
    assert llm.explain(QUESTION).resting == ()
    assert form(llm, QUESTION).text == "fine"


def in_timeout(call: Any) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(0.02):
            return await call

    return limited()


def in_wait_for(call: Any) -> Any:
    return asyncio.wait_for(call, 0.02)


@pytest.mark.parametrize("settings", [{}, IN_TIME], ids=["no deadline", "deadline"])
@pytest.mark.parametrize("limit", [in_timeout, in_wait_for])
@pytest.mark.parametrize("ask", [whole, streamed])
async def test_22_the_callers_own_time_limit_is_no_failure_of_the_candidate(
    ask: Asks, limit: Any, settings: Any
) -> None:
    small, large, told = Watched(model_name="small", delay_s=60), ScriptedChat(), Told()
    llm = router(small, large, **settings)
    async with nothing_left():
        for _ in range(4):  # more often than a candidate may fail
            with pytest.raises(TimeoutError):
                await limit(ask(llm, {"callbacks": [told]}))
    assert small.log == ["CancelledError"] * 4
    assert large.calls == []
    assert "chain" not in told.open
    assert llm.explain(QUESTION).resting == ()


@pytest.mark.parametrize("deadline_first", [False, True])
@pytest.mark.parametrize("ask", [whole, streamed])
async def test_22_a_cancellation_wins_over_a_deadline_of_the_same_moment(
    ask: Asks, deadline_first: bool
) -> None:
    small, large, told = Watched(model_name="small", delay_s=60), ScriptedChat(), Told()
    llm = router(small, large, policy=Policy(subject_to=[deadline_s(0.1)]))
    await cancel_when_due(ask(llm, {"callbacks": [told]}), small.log, 0.1, late=deadline_first)
    assert small.log == ["CancelledError"]
    assert large.calls == []
    assert "chain" not in told.open
    assert llm.explain(QUESTION).resting == ()
