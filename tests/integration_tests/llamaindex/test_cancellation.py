"""A call that is cancelled, left or interrupted, wherever it is, ends and leaves nothing behind.

Nobody else is asked, the LLM's own call ends too, and a candidate that was on trial is free for the
next call.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest
from llama_index.core.llms import LLM

from llamaindex_router import Policy, RouterLLM, deadline_s
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import Break
from tests.integration_tests.cancelling import (
    CUTS,
    Cut,
    cancel_everywhere,
    cancel_when_due,
    cancel_while_it_hangs,
    nothing_left,
    on_trial,
)
from tests.integration_tests.llamaindex.forms import METHODS, QUESTION, begin, client, collect
from tests.integration_tests.llamaindex.scripted import Watched, router

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.contracts.llamaindex import awaited, observed, text_of  # isort: skip
from tests.fakes.llms import ScriptedLLM  # isort: skip

ASYNC = METHODS[1::2]
STREAMS = [method for method in METHODS if "stream_" in method]
IN_TIME = {"policy": Policy(subject_to=[deadline_s(60)])}

each_deadline = pytest.mark.parametrize("settings", [{}, IN_TIME], ids=["no deadline", "deadline"])


def asked(method: str, llm: LLM) -> Coroutine[Any, Any, Any]:
    """An async call and all of its stream."""

    async def ask() -> Any:
        return await awaited(method, begin(method, llm))

    return ask()


def flat(small: LLM, large: LLM, **settings: Any) -> RouterLLM:
    return router(small, large, **settings)


def nested(small: LLM, large: LLM, **settings: Any) -> RouterLLM:
    """A router whose weaker candidate is a router."""
    return router(router(small, ScriptedLLM(model="middle"), **settings), large, **settings)


each_make = pytest.mark.parametrize("make", [flat, nested])


@pytest.mark.parametrize("cut", CUTS)
@each_deadline
@each_make
@pytest.mark.parametrize("method", ASYNC)
async def test_22_a_call_may_be_cancelled_at_every_await_point(
    method: str, make: Any, settings: Any, cut: Cut
) -> None:
    ends: set[str] = set()

    def start() -> Any:
        small, large = Watched(model="small"), ScriptedLLM(model="large")
        llm = make(small, large, **settings)
        on_trial(llm, "small")

        def check() -> None:
            ends.update(small.log)
            assert len(small.log) <= 1
            assert large.calls == []
            assert llm.explain(QUESTION).resting == ()

        return asked(method, llm), check

    with observed() as seen:
        assert await cancel_everywhere(start, cut) >= 1
    assert "CancelledError" in ends
    assert "under way" not in ends
    assert sorted(seen.closed) == sorted(seen.opened)


@pytest.mark.parametrize(
    "method", ["achat", "astream_chat", "acomplete", "astream_chat_with_tools"]
)
def test_22_a_real_client_leaves_its_server_wherever_it_is_cancelled(
    method: str, server: OpenAIServer
) -> None:
    def make() -> RouterLLM:
        return RouterLLM({name: client(server, name) for name in ("small", "large")})

    assert cancel_while_it_hangs(make, lambda llm: asked(method, llm), server) > 5
    assert server.abandoned > 0
    assert server.asked("large") == []


@each_deadline
@each_make
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("method", STREAMS)
async def test_22_a_stream_that_is_left_ends_its_call(
    method: str, dropped: bool, make: Any, settings: Any
) -> None:
    small, large = Watched(model="small"), ScriptedLLM(model="large")
    llm = make(small, large, **settings)
    on_trial(llm, "small")
    async with nothing_left():
        unread = begin(method, llm)
        if method.startswith("a"):
            unread = await unread
        del unread
        gc.collect()
    assert small.calls == []  # never read, never asked
    async with nothing_left():
        if method.startswith("a"):
            responses = await begin(method, llm)
            await anext(responses)
            await (asyncio.sleep(0) if dropped else responses.aclose())
        else:
            responses = begin(method, llm)
            next(responses)
            if not dropped:
                responses.close()
                assert "under way" not in small.log  # at once; LlamaIndex closes async ones late
        del responses
    assert len(small.log) == 1
    assert "under way" not in small.log
    assert large.calls == []
    assert llm.explain(QUESTION).resting == ()


@each_deadline
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_23_an_interrupt_inside_a_candidate_passes_through(
    method: str, after: int, error: type[BaseException], settings: Any
) -> None:
    large = ScriptedLLM(model="large")
    broken = Break(error("stop"), after=after)
    llm = router(ScriptedLLM(model="small", replies=[broken, None]), large, **settings)
    on_trial(llm, "small")
    with pytest.raises(error) as caught:
        collect(method, llm)
    assert caught.value is broken.error
    assert large.calls == []
    assert llm.explain(QUESTION).resting == ()
    assert text_of(collect("chat", llm)[-1]).startswith("small answers")


def in_timeout(call: Any) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(0.02):
            return await call

    return limited()


def in_wait_for(call: Any) -> Any:
    return asyncio.wait_for(call, 0.02)


@each_deadline
@pytest.mark.parametrize("limit", [in_timeout, in_wait_for])
@pytest.mark.parametrize("method", ASYNC)
async def test_22_the_callers_own_time_limit_is_no_failure_of_the_candidate(
    method: str, limit: Any, settings: Any
) -> None:
    small, large = Watched(model="small", delay_s=60), ScriptedLLM(model="large")
    llm = router(small, large, **settings)
    async with nothing_left():
        for _ in range(4):  # more often than a candidate may fail
            with pytest.raises(TimeoutError):
                await limit(asked(method, llm))
    assert small.log == ["CancelledError"] * 4
    assert large.calls == []
    assert llm.explain(QUESTION).resting == ()


@pytest.mark.parametrize("deadline_first", [False, True])
@pytest.mark.parametrize("method", ["achat", "astream_chat"])
async def test_22_a_cancellation_wins_over_a_deadline_of_the_same_moment(
    method: str, deadline_first: bool
) -> None:
    small, large = Watched(model="small", delay_s=60), ScriptedLLM(model="large")
    llm = router(small, large, policy=Policy(subject_to=[deadline_s(0.1)]))
    await cancel_when_due(asked(method, llm), small.log, 0.1, late=deadline_first)
    assert small.log == ["CancelledError"]
    assert large.calls == []
    assert llm.explain(QUESTION).resting == ()
