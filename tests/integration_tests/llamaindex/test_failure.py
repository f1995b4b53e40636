"""What happens when candidates fail or are slow, in every call form."""

from __future__ import annotations

from typing import Any

import pytest

from shared_core import AllCandidatesFailedError, StreamInterruptedError
from tests.fakes.script import Break
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    RECORDED,
    STREAMED,
    TOOL,
    City,
    Form,
)
from tests.integration_tests.llamaindex.scripted import Busy, Denied, router

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.llms import ScriptedLLM  # isort: skip

every_form = pytest.mark.parametrize("form", FORMS)


@every_form
@pytest.mark.parametrize("error", [Busy(), ConnectionError("lost"), TimeoutError()])
def test_after_a_retryable_failure_the_next_answers(form: Form, error: Exception) -> None:
    large = ScriptedLLM(model="large")
    response = form(router(ScriptedLLM(replies=[error]), large))
    assert len(large.calls) == 1
    if form not in RECORDED:
        assert City.model_validate(response.model_dump())
        return
    record = response.additional_kwargs["router"]
    assert record["candidate"] == "large"
    assert record["reason"].startswith("large stepped in for small, which failed")
    assert record["attempts"] == [
        {"candidate": "small", "outcome": "failed"},
        {"candidate": "large", "outcome": "answered"},
    ]


@every_form
def test_an_error_that_no_other_could_mend_is_raised_as_it_is(form: Form) -> None:
    denied, large = Denied(), ScriptedLLM(model="large")
    with pytest.raises(Denied) as caught:
        form(router(ScriptedLLM(replies=[denied]), large))
    assert caught.value is denied
    assert large.calls == []


@every_form
def test_all_failed_names_everyone(form: Form) -> None:
    llm = router(ScriptedLLM(replies=[Busy("busy")]), ScriptedLLM(replies=[TimeoutError("late")]))
    with pytest.raises(AllCandidatesFailedError, match=r"small: .*busy; large: .*late"):
        form(llm)


@every_form
def test_who_was_asked_for_by_name_has_no_substitute(form: Form) -> None:
    small = ScriptedLLM(model="small")
    with pytest.raises(Busy):
        form(router(small, ScriptedLLM(replies=[Busy()])), model="large")
    assert small.calls == []


@pytest.mark.parametrize("form", [f for f in STREAMED if f in RECORDED[:8]])
def test_nothing_is_spliced(form: Form) -> None:
    large = ScriptedLLM(model="large")
    busy = Busy("busy")
    broken = ScriptedLLM(replies=[Break(busy, after=1, reply=["Hel", "lo"])])
    with pytest.raises(StreamInterruptedError, match=r"'small' broke off.*busy") as caught:
        form(router(broken, large))
    assert (caught.value.candidate, caught.value.partial) == ("small", "Hel")
    assert caught.value.__cause__ is busy
    assert large.calls == []


@pytest.mark.parametrize("form", [f for f in STREAMED if f not in RECORDED[:8]])
def test_half_a_tool_call_is_visible_too(form: Form) -> None:
    large = ScriptedLLM(model="large")
    busy = Busy()
    broken = ScriptedLLM(replies=[Break(busy, after=1)])  # after half of its arguments
    with pytest.raises(StreamInterruptedError) as caught:
        form(router(broken, large))
    assert caught.value.__cause__ is busy
    assert large.calls == []


@pytest.mark.parametrize("emptied", ["blocks", "additional_kwargs"])
def test_half_a_tool_call_is_visible_wherever_it_is(emptied: str) -> None:
    class Onefold(ScriptedLLM):
        """Has tool calls in one place alone: older integrations know no blocks."""

        def stream_chat_with_tools(self, *args: Any, **kwargs: Any) -> Any:
            for response in super().stream_chat_with_tools(*args, **kwargs):
                getattr(response.message, emptied).clear()
                yield response

    large = ScriptedLLM(model="large")
    llm = router(Onefold(replies=[Break(Busy(), after=1)]), large)
    stream = llm.stream_chat_with_tools([TOOL], user_msg="weather?", tool_required=True)
    assert next(stream).additional_kwargs["router"]["candidate"] == "small"
    with pytest.raises(StreamInterruptedError):
        list(stream)
    assert large.calls == []
