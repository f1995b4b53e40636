"""Wrong arguments say what to change; keys are never shown."""

from __future__ import annotations

import math
from typing import Any

import pytest
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import collect_runs
from langchain_openai import ChatOpenAI

from langchain_router import Candidate, ChatRouter, Policy
from shared_core import ConfigurationError, NotCalibratedError, RouterError, UnknownCandidateError
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.standard_gates import openai_params
from tests.integration_tests.langchain.forms import FORMS, WAYS, Form, Way, router


def model(**known: Any) -> Candidate:
    return Candidate("a", ScriptedChat(), **known)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ChatRouter(), "candidates is missing: give a list"),
        (lambda: ChatRouter([]), "candidates is empty: give at least one"),
        (lambda: ChatRouter({}), "candidates is empty: give at least one"),
        (lambda: ChatRouter("small"), "candidates must be a list of Candidate"),
        (lambda: ChatRouter({"a": "no such model"}), "candidate 'a': Unable to infer model"),
        (lambda: ChatRouter({"a": "openai:gpt-5"}), "candidate 'a': .*OPENAI_API_KEY"),
        (lambda: ChatRouter({"a": ScriptedChat}), "'a': model must be a LangChain BaseChatModel"),
        (lambda: ChatRouter({"a": RunnableLambda(len)}), "BaseChatModel,.* not RunnableLambda"),
        (lambda: ChatRouter([ScriptedChat()]), r"wrap it as Candidate\(name, model\)"),
        (lambda: ChatRouter([model(), model()]), "two candidates are named 'a': give each"),
        (lambda: Candidate("", ScriptedChat()), "name must be a non-empty string"),
        (lambda: model(price=(-1, 0)), "'a': price must not be negative"),
        (lambda: model(price=1), "'a': price must be a pair"),
        (lambda: model(strength=math.nan), "'a': strength must be a finite number"),
        (lambda: model(strength=2), "'a': strength must be between 0 and 1"),
        (lambda: model(capabilities={"tools": True}), "'a': capabilities has an unknown key"),
        (lambda: router(polcy=Policy()), "no argument 'polcy'; did you mean 'policy'"),
        (lambda: router(cache=True), "cache belongs to the candidates: set it on their models"),
        (
            lambda: router(rate_limiter=InMemoryRateLimiter()),
            "rate_limiter belongs to the candidates: set it on their models",
        ),
        (lambda: router(policy=0.9), "policy must be a Policy"),
        (lambda: router(predictor=3), "predictor must have a method 'predict'"),
        (lambda: router(strategy="cascade"), "strategy must have a method 'steps'"),
        (lambda: router(max_retries=-1), "max_retries must be 0 or more"),
        (lambda: router().with_policy(0.9), "policy must be a Policy"),
        (lambda: Policy(quality=1.5), "quality is a share and must not exceed 1"),
        (lambda: Policy(quality=0), "quality must be over 0"),
        (lambda: Policy(quality=math.nan), "quality must be a number from 0 up"),
        (lambda: Policy(strong_share=-1), "strong_share must be a number from 0 up"),
        (lambda: Policy(quality=0.9, strong_share=0.3), "quality or strong_share, not both"),
        (lambda: Policy(subject_to="local"), "subject_to must be a list of constraints"),
    ],
)
def test_wrong_arguments_say_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_a_share_needs_a_calibration() -> None:
    with pytest.raises(NotCalibratedError, match=r"use Policy\(quality="):
        router(policy=Policy(strong_share=0.3))
    with pytest.raises(NotCalibratedError, match="calibration"):
        router().with_policy(Policy(strong_share=0.3))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_19_an_unknown_model_is_named_beside_those_there_are(form: Form, way: Way) -> None:
    small = ScriptedChat(model_name="small")
    with pytest.raises(UnknownCandidateError, match="'gpt-9'; there are: small, large"):
        form(way(router(small)), "Hello", model="gpt-9")
    assert small.calls == []


def test_our_errors_are_not_swallowed_by_pydantic() -> None:
    assert not issubclass(RouterError, (ValueError, AssertionError))


@pytest.mark.filterwarnings("ignore:api_key is not used")
@pytest.mark.parametrize("bound", [False, True])
def test_40_a_key_is_never_shown(bound: bool, server: OpenAIServer) -> None:
    secret = "sk-secret"
    chat: Any = ChatOpenAI(model="small", **{**openai_params(server), "api_key": secret})
    chat = chat.bind(temperature=0) if bound else chat
    for candidates in ({"small": chat}, [Candidate("small", chat)]):
        llm = ChatRouter(candidates, api_key=secret)
        server.script("small", [None, Fault("status", status=500)])
        with collect_runs() as collected:
            answer = llm.invoke("Hello")
            with pytest.raises(Exception, match="scripted fault") as failure:
                llm.invoke("Hello")
        traced = [run.model_dump() for run in collected.traced_runs]
        assert traced
        shown = [llm, llm.candidates, llm.model_dump(), llm.explain("Hello"), llm._serialized]
        shown += [answer, failure.value, traced, llm.bind_tools([]), llm.lc_attributes]
        assert secret not in " ".join(f"{one!r} {one!s}" for one in shown)


def test_40_what_a_model_shows_of_itself_is_not_shown_either() -> None:
    class Careless(ScriptedChat):
        token: str = ""

    careless = Careless(token="sk-secret")
    llm = ChatRouter({"small": careless})
    bound = llm.bind(temperature=0)
    assert "sk-secret" in repr(careless)
    assert "sk-secret" not in f"{llm!r} {llm!s} {bound!r} {llm.explain('Hello')!r}"


def test_a_key_of_the_routers_own_is_not_used() -> None:
    with pytest.warns(UserWarning, match="keys belong to the candidates"):
        router(api_key="sk-router")


def test_a_field_set_later_takes_effect_or_is_refused() -> None:
    llm = router()
    llm.policy = Policy(quality=1)
    assert llm.explain("Hello").candidate == "large"
    assert router().model_copy(update={"policy": Policy(quality=1)}).explain("Hello").candidate == (
        "large"
    )
    with pytest.raises(ConfigurationError, match="must be a Policy"):
        llm.policy = "cheap"  # type: ignore[assignment]
    assert llm.policy == Policy(quality=1)
    assert llm.explain("Hello").candidate == "large"
    llm.candidates = {"only": llm.candidates["small"]}  # type: ignore[call-overload]
    assert llm.explain("Hello").candidate == "only"
