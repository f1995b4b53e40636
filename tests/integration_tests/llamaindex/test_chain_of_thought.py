"""Chain of thought over LlamaIndex LLMs: what reaches a provider, what the caller gets of it."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, TextBlock
from llama_index.core.llms.llm import LLM
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import Candidate, ChainOfThought, RouterLLM
from llamaindex_router._models import look_at
from llamaindex_router._reasoning import reasoning
from shared_core.decision.candidates import prepare_candidates
from shared_core.types import Prompt
from tests.fakes.core import FixedPredictor, prompt
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import REASONING_TOKENS, Answer
from tests.integration_tests.accounts import last, outcomes, tokens
from tests.integration_tests.llamaindex.forms import FORMS, RECORDED, Form, client
from tests.integration_tests.llamaindex.scripted import ScriptedLLM

HELD = "I add.\n=== ANSWER ===\n42"
HARD = FixedPredictor({"small": 0.3, "large": 0.3})
EASY = FixedPredictor({"small": 0.99, "large": 0.99})
LEVELS = {"reasoning_effort_levels": ["minimal", "low", "medium", "high"]}
every_form = pytest.mark.parametrize("form", FORMS)
each_text_form = pytest.mark.parametrize("form", RECORDED[:8])


def own(server: OpenAIServer, model: str, **settings: Any) -> OpenAI:
    """OpenAI's own class, of a model that it knows to reason."""
    given = {"api_base": server.base_url, "api_key": "test", "max_retries": 0, **settings}
    return OpenAI(model=model, **given)


def over(server: OpenAIServer, capabilities: Any = LEVELS, **settings: Any) -> RouterLLM:
    """A router that reasons, over two real clients."""
    made = [
        Candidate(name, client(server, name), capabilities=capabilities) for name in server.models
    ]
    about: dict[str, Any] = {"predictor": HARD, "strategy": ChainOfThought(), **settings}
    return RouterLLM(made, **about)


def thinking(*replies: Any) -> tuple[RouterLLM, ScriptedLLM]:
    """A router that reasons, over a scripted LLM that does so on request."""
    small = ScriptedLLM(model="small", replies=list(replies))
    large = ScriptedLLM(model="large")
    made = {"small": small, "large": large}
    return RouterLLM(made, predictor=HARD, strategy=ChainOfThought(easy="low")), small


def text_of(response: Any) -> str:
    return (response.message.content if isinstance(response, ChatResponse) else response.text) or ""


# --- the parameter ---


@every_form
def test_the_effort_reaches_the_provider(server: OpenAIServer, form: Form) -> None:
    llm = over(server)
    form(llm)
    (body,) = server.asked("small")
    assert body["reasoning_effort"] == "medium"
    assert "=== ANSWER" not in str(body)
    # There is none in streams of clients that are merely like it.
    counted = last(llm)["attempts"][0]["usage"]
    assert counted is None or tokens(llm)[3] == REASONING_TOKENS
    assert (counted is None) == ("stream_" in form.__name__)


@every_form
def test_of_openais_own_class_too(server: OpenAIServer, form: Form) -> None:
    for effort in (None, "high"):
        server.reset()
        models = {"small": own(server, "o4-mini", reasoning_effort=effort)}
        form(RouterLLM(models, strategy=ChainOfThought(), predictor=HARD))
        assert server.asked("o4-mini")[0]["reasoning_effort"] == "medium"
        assert models["small"].reasoning_effort == effort


@each_text_form
def test_an_easy_prompt_gets_the_least_effort_that_the_model_knows(
    server: OpenAIServer, form: Form
) -> None:
    form(over(server, predictor=EASY))
    assert server.asked("small")[0]["reasoning_effort"] == "minimal"


@pytest.mark.parametrize("form", FORMS[8:])
def test_a_model_that_nobody_says_reasons_is_asked_as_ever_for_forms(
    server: OpenAIServer, form: Form
) -> None:
    form(over(server, {}))
    (body,) = server.asked("small")
    assert "reasoning_effort" not in body
    assert "=== ANSWER" not in str(body)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [("o3", True), ("gpt-5", True), ("o1-mini", False), ("gpt-5-chat", False), ("gpt-4o", False)],
)
def test_openais_own_class_knows_its_models(name: str, reasons: bool) -> None:
    made = [Candidate("it", OpenAI(model=name, api_key="test"))]
    (known,) = prepare_candidates(made, look_at)
    assert bool(known.capabilities.get("reasoning_output")) is reasons
    (like,) = prepare_candidates([Candidate("it", OpenAILike(model=name))], look_at)
    assert "reasoning_output" not in like.capabilities


class Claude(ScriptedLLM):
    """Has the fields that `Anthropic` has."""

    thinking_dict: dict[str, Any] | None = None
    temperature: float = 0.1


class Llama(ScriptedLLM):
    """Has the field that `Ollama` has."""

    thinking: bool | str | None = None


class Responses(ScriptedLLM):
    """Has the field that `OpenAIResponses` has."""

    reasoning_options: dict[str, Any] | None = None


ENABLED = {"type": "enabled", "budget_tokens": 8192}


@pytest.mark.parametrize(
    ("model", "level", "asked", "levels", "fields"),
    [
        (Claude(), "medium", prompt(), (), {"thinking_dict": ENABLED, "temperature": 1.0}),
        (Claude(thinking_dict=ENABLED), "none", prompt(), (), {"thinking_dict": None}),
        (Claude(), "high", prompt(max_tokens=1500), (), {"thinking_dict": None}),
        (Claude(), "high", prompt(tools=({},)), (), {"thinking_dict": None, "temperature": 0.1}),
        (Llama(), "low", prompt(), (), {"thinking": True}),
        (Llama(), "none", prompt(), (), {"thinking": False}),
        (Llama(), "medium", prompt(), ("low", "high"), {"thinking": "low"}),
        (Llama(), "none", prompt(), ("none", "high"), {"thinking": False}),
        (
            *(Responses(reasoning_options={"summary": "auto"}), "low", prompt(), ()),
            {"reasoning_options": {"summary": "auto", "effort": "low"}},
        ),
        (ScriptedLLM(), "high", prompt(), (), {}),
    ],
)
def test_each_class_is_told_in_its_own_words(
    model: LLM, level: Any, asked: Prompt, levels: Any, fields: dict[str, Any]
) -> None:
    before = model.model_dump()
    can = {"reasoning_output": True, "reasoning_effort_levels": list(levels)}
    stated = Candidate("it", model, capabilities=can)
    told, kwargs = reasoning(stated, model, {"stop": ["x"]}, level, asked, None)
    assert {name: getattr(told, name) for name in fields} == fields
    assert kwargs == {"stop": ["x"]}
    assert model.model_dump() == before
    assert reasoning(Candidate("it", model), model, {}, level, asked, None) == (model, {})


# --- the answer ---


@each_text_form
def test_the_answer_alone_reaches_the_caller(form: Form) -> None:
    llm, small = thinking(HELD)
    response = form(llm)
    assert text_of(response) == "42"
    assert response.additional_kwargs["router"]["candidate"] == "small"
    (call,) = small.calls
    assert "=== ANSWER ===" in str(call.messages)
    assert tokens(llm)[1] == len(HELD.split())


@each_text_form
def test_blocks_stay_but_for_the_text(form: Form) -> None:
    image = ImageBlock(image=b"aGk=", image_mimetype="image/png")
    message = ChatMessage(role="assistant", blocks=[TextBlock(text=HELD), image])
    response = form(thinking(message)[0])
    assert text_of(response) == "42"
    if isinstance(response, ChatResponse):
        assert [block.block_type for block in response.message.blocks] == ["text", "image"]


@each_text_form
def test_cut_off_while_it_thought_it_is_asked_again(server: OpenAIServer, form: Form) -> None:
    def says(body: dict[str, Any]) -> Answer:
        thinks = "=== ANSWER ===" in str(body)
        return Answer("I add and", finish_reason="length") if thinks else Answer("42")

    server.say("small", says)
    llm = over(server, {}, strategy=ChainOfThought(easy="low"))
    assert text_of(form(llm)) == "42"
    assert outcomes(last(llm)) == [("small", "answered"), ("small", "answered")]
