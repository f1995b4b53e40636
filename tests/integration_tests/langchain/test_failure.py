"""What happens when candidates fail, in all four call forms."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain_core.exceptions import ModelAuthenticationError, ModelRateLimitError
from openai import AuthenticationError

from langchain_router import ChatRouter
from shared_core import AllCandidatesFailedError, StreamInterruptedError
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.script import Break
from tests.integration_tests.langchain.forms import (
    FORMS,
    Form,
    Runs,
    Way,
    router,
    structured,
    with_tool,
)

every_form = pytest.mark.parametrize("form", FORMS)
BUSY = ModelRateLimitError("busy")


@every_form
def test_after_a_retryable_failure_the_next_answers(form: Form) -> None:
    runs = Runs()
    llm = router(ScriptedChat(replies=[BUSY]))
    message = form(llm, "Hello", {"callbacks": [runs]})
    record = message.response_metadata["router"]
    assert record["attempts"] == [
        {"candidate": "small", "outcome": "failed"},
        {"candidate": "large", "outcome": "answered"},
    ]
    assert record["candidate"] == "large"
    assert record["reason"].startswith("large stepped in for small, which failed")
    assert runs.ended == [("model", "error"), ("model", "end"), ("chain", "end")]


@every_form
def test_an_error_that_no_other_could_mend_is_raised_as_it_is(form: Form) -> None:
    wrong_key = ModelAuthenticationError("wrong key")
    large = ScriptedChat(model_name="large")
    with pytest.raises(ModelAuthenticationError) as caught:
        form(router(ScriptedChat(replies=[wrong_key]), large), "Hello")
    assert caught.value is wrong_key
    assert large.calls == []


@every_form
def test_all_failed_names_everyone(form: Form) -> None:
    llm = router(ScriptedChat(replies=[BUSY]), ScriptedChat(replies=[ConnectionError("lost")]))
    with pytest.raises(AllCandidatesFailedError, match=r"small: .*busy; large: .*lost"):
        form(llm, "Hello")


@every_form
def test_the_last_ones_failure_stands_behind_all(form: Form) -> None:
    lost = ConnectionError("lost")
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(router(ScriptedChat(replies=[BUSY]), ScriptedChat(replies=[lost])), "Hello")
    assert caught.value.errors == (("small", BUSY), ("large", lost))
    assert caught.value.__cause__ is lost


@pytest.mark.parametrize("settings", [{"max_retries": 0}, {}])
@every_form
def test_with_nobody_else_to_ask_the_error_is_raised_as_it_is(form: Form, settings: Any) -> None:
    large = ScriptedChat(model_name="large")
    llm = router(ScriptedChat(replies=[BUSY]), large, **settings)
    with pytest.raises(ModelRateLimitError) as caught:
        form(llm, "Hello", **({} if settings else {"model": "small"}))
    assert caught.value is BUSY
    assert large.calls == []


@pytest.mark.parametrize("way", [with_tool, structured])
@every_form
def test_with_tools_and_schemas_the_next_answers_too(form: Form, way: Way) -> None:
    runs, large = Runs(), ScriptedChat(model_name="large")
    answer = form(way(router(ScriptedChat(replies=[BUSY]), large)), "Hello", {"callbacks": [runs]})
    assert answer
    assert len(large.calls) == 1
    ends = [end for end in runs.ended if end[0] == "model"]
    assert ends == [("model", "error"), ("model", "end")]
    assert runs.ended[-1] == ("chain", "end")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("error", [BUSY, ValueError("broken")])
async def test_nothing_is_spliced(asynchronous: bool, error: Exception) -> None:
    runs, large = Runs(), ScriptedChat(model_name="large")
    llm = router(ScriptedChat(replies=[Break(error, after=1, reply=["Hel", "lo"])]), large)
    seen: list[Any] = []

    async def ask() -> None:
        config = {"callbacks": [runs]}
        if asynchronous:
            async for chunk in llm.astream("Hello", config):
                seen.append(chunk)  # noqa: PERF401 - what came before the error counts
        for chunk in llm.stream("Hello", config):
            seen.append(chunk)  # noqa: PERF402

    with pytest.raises(StreamInterruptedError) as caught:
        await ask()
    assert (caught.value.candidate, caught.value.partial) == ("small", "Hel")
    assert caught.value.__cause__ is error
    assert [chunk.content for chunk in seen] == ["Hel"]
    assert large.calls == []
    assert runs.ended == [("model", "error"), ("chain", "error")]


@pytest.mark.parametrize(("after", "who"), [(0, "large"), (1, "large"), (3, None)])
@pytest.mark.parametrize("form", FORMS[2:])
def test_a_real_stream_that_breaks_before_it_says_anything_is_taken_over(
    form: Form, after: int, who: str | None, server: OpenAIServer, llm: ChatRouter
) -> None:
    server.script("small", [Fault("reset", after=after)])  # the first event names the role alone
    if who is None:
        with pytest.raises(StreamInterruptedError) as caught:
            form(llm, "Hello there")
        assert isinstance(caught.value.__cause__, httpx.ReadError)
        assert server.asked("large") == []
    else:
        message = form(llm, "Hello there")
        assert message.content == "large answers: Hello there"
        assert message.response_metadata["router"]["candidate"] == who


@pytest.mark.parametrize("status", [429, 500, 503])
@every_form
def test_a_real_clients_errors_are_told_apart(
    form: Form, status: int, server: OpenAIServer, llm: ChatRouter
) -> None:
    server.script("small", [Fault("status", status=status), Fault("status", status=401)])
    message = form(llm, "Hello")
    assert message.response_metadata["router"]["candidate"] == "large"
    with pytest.raises(AuthenticationError):  # LangChain's own is one too, where it is raised
        form(llm, "Hello")
