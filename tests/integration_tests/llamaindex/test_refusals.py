"""Who may answer which prompt, what a refusal says, and what wrong arguments say."""

from __future__ import annotations

import math
from typing import Any

import pytest
from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockLLM

from llamaindex_router import Candidate, Policy, RouterLLM, local_only
from shared_core import ConfigurationError, NoCandidateError
from tests.integration_tests.llamaindex.forms import FORMS, QUESTION, TOOL, Form
from tests.integration_tests.llamaindex.scripted import Busy, router

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.llms import ScriptedLLM, ScriptedTextLLM  # isort: skip

tools_form = pytest.mark.parametrize("form", [f for f in FORMS if "tools" in f.__name__])


class ToolessLLM(ScriptedLLM):
    """Of a class that can call tools, over a model that cannot."""

    @property
    def metadata(self) -> Any:
        return super().metadata.model_copy(update={"is_function_calling_model": False})


@pytest.mark.parametrize("kind", [ScriptedTextLLM, ToolessLLM])
@tools_form
def test_17_who_cannot_call_tools_is_never_asked(form: Form, kind: Any) -> None:
    text = kind(model="text")
    response = form(router(text))
    assert response.additional_kwargs["router"]["candidate"] == "large"
    with pytest.raises(Busy):  # not even after a failure
        form(router(ScriptedLLM(replies=[Busy()]), text))
    with pytest.raises(NoCandidateError, match="small: cannot call tools"):
        form(router(text), model="small")
    both = RouterLLM({"a": text, "b": kind(model="text")})
    with pytest.raises(NoCandidateError, match=r"a: cannot call tools .*; b: cannot call tools"):
        form(both)
    assert text.calls == []


def test_17_a_declared_capability_overrides_what_the_model_says() -> None:
    small = Candidate("small", ScriptedLLM(), capabilities={"tool_calling": False})
    llm = RouterLLM([small, Candidate("large", ScriptedLLM())])
    (refusal,) = llm.explain("weather?", tools=[TOOL]).refusals
    assert (refusal.candidate, refusal.reason) == ("small", "cannot call tools (1 bound)")
    assert llm.explain("weather?").refusals == ()


def test_26_images_pass_and_the_blind_are_refused() -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    llm = RouterLLM(
        [Candidate("small", small, capabilities={"image_inputs": False}), Candidate("large", large)]
    )
    picture = ImageBlock(url="https://example.org/a.png")
    message = ChatMessage(blocks=[TextBlock(text="What is it?"), picture])
    assert llm.explain(message).refusals[0].reason == "cannot read images"
    llm.chat([message])
    assert small.calls == []
    assert large.calls[0].messages[0].blocks == message.blocks


@pytest.mark.parametrize(
    "small",
    [
        Candidate("small", ScriptedLLM(context_window=100)),
        Candidate("small", ScriptedLLM(context_window=8000), context_window=100),
    ],
    ids=["the model's", "declared"],
)
def test_a_prompt_over_the_window_is_refused(small: Candidate) -> None:
    llm = RouterLLM([small, Candidate("large", ScriptedLLM(context_window=8000))])
    assert llm.metadata.context_window == 100
    decision = llm.explain("word " * 200)
    assert decision.candidate == "large"
    assert "its window holds 100" in decision.refusals[0].reason
    with pytest.raises(NoCandidateError, match="its window holds 8000"):
        llm.complete("word " * 20_000)


def test_explain_and_with_policy() -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    llm = router(small, large)
    strict = llm.with_policy(Policy(quality=1))
    assert llm.explain(QUESTION).candidate == "small"
    assert strict.explain([ChatMessage(content=QUESTION)]).candidate == "large"
    assert llm.explain(QUESTION, model="large").reason == "large was asked for by name"
    detail = llm.explain(QUESTION, detail=True).detail
    assert detail is not None
    assert "large would answer" in detail.flips[0]
    assert small.calls == large.calls == []
    assert strict.complete(QUESTION).additional_kwargs["router"]["candidate"] == "large"
    with pytest.raises(NoCandidateError, match="run locally"):
        llm.with_policy(Policy(subject_to=[local_only()])).complete(QUESTION)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RouterLLM(), "candidates is missing"),
        (lambda: RouterLLM([]), "candidates is empty"),
        (lambda: RouterLLM({"a": "gpt-5"}), "must be a LlamaIndex LLM, not str"),
        (lambda: RouterLLM([MockLLM()]), "candidates holds a MockLLM: wrap it"),
        (
            lambda: RouterLLM([Candidate("a", MockLLM()), Candidate("a", MockLLM())]),
            "two candidates are named 'a'",
        ),
        (lambda: Candidate("a", MockLLM(), price=(-1, 0)), "must not be negative"),
        (lambda: Candidate("a", MockLLM(), strength=math.nan), "finite number"),
        (lambda: router(polcy=Policy()), "did you mean 'policy'"),
        (lambda: router(rate_limiter=object()), "rate_limiter belongs to the candidates"),
        (lambda: router(policy=0.9), "policy must be a Policy"),
        (lambda: router(max_retries=-1), "max_retries must be 0 or more"),
    ],
)
def test_wrong_arguments_say_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_a_key_of_the_routers_own_is_told_where_to_go() -> None:
    with pytest.warns(UserWarning, match="keys belong to the candidates"):
        assert "sk-secret" not in repr(router(api_key="sk-secret"))


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
