"""What happens when candidates fail, in all four call forms."""

from __future__ import annotations

import pytest
from langchain_core.exceptions import ModelAuthenticationError, ModelRateLimitError
from openai import AuthenticationError

from shared_core import AllCandidatesFailedError
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.script import Break
from tests.fakes.standard_gates import openai_chat
from tests.integration_tests.langchain.forms import FORMS, Form, Runs, router

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


@pytest.mark.parametrize("form", FORMS[2:])
def test_nothing_is_spliced(form: Form) -> None:
    large = ScriptedChat(model_name="large")
    llm = router(ScriptedChat(replies=[Break(BUSY, after=1, reply=["Hel", "lo"])]), large)
    with pytest.raises(ModelRateLimitError):
        form(llm, "Hello")
    assert large.calls == []


@pytest.mark.parametrize("status", [429, 500, 503])
@every_form
def test_a_real_clients_errors_are_told_apart(form: Form, status: int) -> None:
    with OpenAIServer() as server:
        server.script("small", [Fault("status", status=status)])
        llm = router(openai_chat(server, "small"), openai_chat(server, "large"))
        message = form(llm, "Hello")
        assert message.response_metadata["router"]["candidate"] == "large"
        server.script("small", [Fault("status", status=401)])
        with pytest.raises(AuthenticationError):  # LangChain's own is one too, where it is raised
            form(llm, "Hello")
