"""The conformance suite fails for chat models that break one promise each."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel

from tests.contracts.langchain import ChatModelContract, invoke, stream
from tests.fakes.chat_models import ScriptedChat


class MutatesMessages(ScriptedChat):
    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        messages[0].content = "Be very brief."
        return super()._generate(messages, *args, **kwargs)


class DoublesRuns(ScriptedChat):
    """Delegates to a public method with the callbacks of its own run."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        message = ScriptedChat().invoke(messages, {"callbacks": run_manager.handlers})
        result = super()._generate(messages, stop)
        result.generations[0].message = message
        return result


class LosesUsage(ScriptedChat):
    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        for chunk in super()._stream(*args, **kwargs):
            chunk.message.usage_metadata = None
            yield chunk


class EndsTwice(ScriptedChat):
    def stream(self, *args: Any, **kwargs: Any) -> Any:
        for chunk in super().stream(*args, **kwargs):
            yield chunk.model_copy(update={"chunk_position": "last"})


class ShowsItsKey(ScriptedChat):
    def __repr_args__(self) -> Any:
        yield "api_key", "sk-secret"


class BindsNothing(ScriptedChat):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


class IgnoresStop(ScriptedChat):
    def _generate(self, messages: Any, stop: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super()._generate(messages, None, *args, **kwargs)


class BlocksTheLoop(ScriptedChat):
    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.1)  # noqa: ASYNC251 - that is the fault
        return self._generate(*args, **kwargs)


class LeavesRunsOpen(ScriptedChat):
    def stream(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        inner = super().stream(input, *args, **kwargs)
        HELD.append(inner)
        yield next(inner)


HELD: list[Any] = []


class Quick(ChatModelContract):
    secret = "sk-secret"
    slow_s = 0.1


suite = Quick()
CHECKS: dict[type[ScriptedChat], Callable[[Any], Any]] = {
    MutatesMessages: lambda model: suite.test_messages_and_tools_stay_as_they_are(invoke, model),
    DoublesRuns: lambda model: suite.test_a_call_is_one_model_run_in_a_closed_tree(invoke, model),
    LosesUsage: lambda model: suite.test_usage_is_counted_as_the_message_says(stream, model),
    EndsTwice: lambda m: suite.test_a_stream_is_chunks_of_which_one_is_the_last(False, m),
    ShowsItsKey: lambda model: suite.test_no_secret_is_shown("repr", model),
    BindsNothing: suite.test_bound_tools_can_be_looked_at,
    IgnoresStop: lambda model: suite.test_an_answer_ends_before_a_stop_sequence(invoke, model),
    LeavesRunsOpen: lambda model: suite.test_a_stream_that_is_left_closes_its_runs(False, model),
    BlocksTheLoop: suite.test_no_async_call_blocks_the_loop,
}


async def run(check: Callable[[Any], Any], model: BaseChatModel) -> None:
    suite.subject = model
    outcome = check(model)
    if inspect.isawaitable(outcome):
        await outcome


@pytest.mark.parametrize("broken", CHECKS, ids=lambda broken: broken.__name__)
async def test_what_a_model_breaks_is_found(broken: type[ScriptedChat]) -> None:
    slow = {"delay_s": suite.slow_s} if broken is BlocksTheLoop else {}
    await run(CHECKS[broken], ScriptedChat(**slow))
    with pytest.raises(AssertionError):
        await run(CHECKS[broken], broken(**slow))
    for held in HELD:
        held.close()
