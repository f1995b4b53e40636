"""A cascade over LLMs in the process, in all sixteen forms of a call.

Drafts are held, the caller gets one answer, and nothing but the form differs between the forms.
"""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage

from llamaindex_router import Cascade, Draft, RouterLLM, Verdict
from shared_core import AllCandidatesFailedError, StreamInterruptedError
from shared_core.types import Ask, Turn, Verification
from tests.fakes.script import Break
from tests.integration_tests.accounts import last, outcomes, tokens
from tests.integration_tests.llamaindex.cascades import (
    CHANCES,
    Noting,
    bad,
    cascade,
    good,
    judged,
    steady,
)
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    METHODS,
    RECORDED,
    STREAMED,
    STRUCTURED,
    City,
    Form,
    collect,
)
from tests.integration_tests.llamaindex.scripted import Busy, Denied

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from llama_index.core.base.llms.types import ToolCallBlock  # isort: skip
from tests.contracts.llamaindex import PREFIXES, observed, text_of  # isort: skip
from tests.fakes.llms import ScriptedLLM  # isort: skip

NAMES = ("small", "middle", "large")
CALL = {"city": "some city"}
"""What the tool is called with."""
LONG = " ".join(f"word{number}" for number in range(200))
KINDS = ("chat", "complete", "chat_with_tools", "structured_predict")

every_form = pytest.mark.parametrize("form", FORMS)
every_method = pytest.mark.parametrize("method", METHODS)
each_text_stream = pytest.mark.parametrize("method", [*METHODS[2:4], *METHODS[6:8]])
each_tool_call = pytest.mark.parametrize("form", FORMS[8:12])
each_structured_call = pytest.mark.parametrize("form", STRUCTURED)


def pair(verify: Any = good, *, small: Any = (), large: Any = (), **settings: Any) -> RouterLLM:
    """A cascade of two LLMs that say these things."""
    about = settings.pop("llms", {})
    made = {
        "small": ScriptedLLM(model="small", replies=small, **about),
        "large": ScriptedLLM(model="large", replies=large, **about),
    }
    return cascade(made, verify, **settings)


def calls(llm: RouterLLM, name: str) -> Any:
    """The calls that a candidate got."""
    return llm._router[name].model.calls


def said(llm: Any, response: Any) -> Any:
    """What a response says, without what is random in it."""
    if not hasattr(response, "additional_kwargs"):
        return response.model_dump()
    if not hasattr(response, "message"):
        return text_of(response)
    found = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    return text_of(response), [(call.tool_name, call.tool_kwargs) for call in found]


class Judge:
    """Asks the large LLM about each draft.

    Attributes:
        replies: What it said.
    """

    name = "judge"

    def __init__(self) -> None:
        self.replies: list[Any] = []

    def verify(self, draft: Draft) -> Verification:
        """Ask it."""
        turns = Turn("system", "Judge."), Turn("user", f"Is it right? {draft.reply.text}")
        params = {"temperature": 0.0, "max_tokens": 5, "logprobs": True}
        (reply,) = yield (Ask("large", False, params, turns, purpose="check", replace=True),)
        self.replies.append(reply)
        return Verdict(self.name, 0.9 if reply.text == "yes" else 0.1)


class Glancing:
    """Looks at drafts while they grow; gives them up once they hold a word.

    Attributes:
        seen: How many words each look saw.
    """

    name = "glancing"
    inline_glance = True

    def __init__(self, word: str = "nothing does") -> None:
        self.seen: list[int] = []
        self._word = word

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        """Look at what there is."""
        assert not draft.whole
        self.seen.append(len(draft.reply.text.split()))
        return (0.001, 0.1) if self._word in draft.reply.text else None

    def verify(self, draft: Draft) -> Verification:
        """Like what came to its end."""
        yield from ()
        return Verdict(self.name, 0.9)


# --- every form alike ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "writer"), [(lambda: good, "small"), (lambda: bad, "large"), (Glancing, "small")]
)
def test_a_call_is_the_same_in_all_its_forms(kind: str, make: Any, writer: str) -> None:
    answers, records, entries = [], [], []
    for prefix in PREFIXES:
        llm = pair(make())
        response = collect(prefix + kind, llm)[-1]
        answers.append(said(llm, response))
        entries.append(steady(last(llm)))
        if kind != "structured_predict":
            records.append(steady(response.additional_kwargs["router"]))
    for found in (answers, records, entries):
        assert all(one == found[0] for one in found)
    assert answers[0] == said(llm, collect(kind, ScriptedLLM(model=writer))[-1])
    assert entries[0]["candidate"] == writer
    asked = ["small"] if writer == "small" else ["small", "large"]
    assert outcomes(entries[0]) == [(name, "answered") for name in asked]
    (verdict,) = entries[0]["verdicts"]
    assert (verdict["candidate"], verdict["probability"] > 0.65) == ("small", writer == "small")
    for record in records:
        assert record["attempts"] == [{"candidate": n, "outcome": "answered"} for n in asked]
        (stamped,) = record["verdicts"]
        assert stamped["probability"] == pytest.approx(verdict["probability"], abs=1e-4)


@every_form
def test_three_rungs_are_climbed_in_order_and_each_is_written_down(form: Form) -> None:
    made = {name: ScriptedLLM(model=name) for name in NAMES}
    llm = cascade(made, bad)
    form(llm)
    assert outcomes(last(llm)) == [(name, "answered") for name in NAMES]
    assert [candidate for candidate, *_ in judged(llm)] == ["small", "middle"]
    assert tokens(llm)[:2] == tuple(
        sum(column) for column in zip(*(used(form, name) for name in NAMES), strict=True)
    )


def used(form: Form, name: str) -> tuple[int, int]:
    """The tokens of the same call to one LLM alone."""
    alone = RouterLLM({name: ScriptedLLM(model=name)})
    form(alone)
    return tokens(alone)[:2]


# --- what the caller of a stream sees ---


@each_text_stream
def test_a_rejected_draft_is_never_seen_and_the_last_rung_streams(method: str) -> None:
    llm = pair(bad)
    responses = collect(method, llm)
    grown = ""
    for response in responses:
        grown += response.delta or ""
        assert text_of(response) == grown
        assert response.additional_kwargs["router"]["candidate"] == "large"
    assert grown == text_of(collect(method, ScriptedLLM(model="large"))[-1])
    assert len([response for response in responses if response.delta]) > 3
    attempts = [response.additional_kwargs["router"]["attempts"] for response in responses]
    assert not any(attempts[:-1])
    assert [one["candidate"] for one in attempts[-1]] == ["small", "large"]


@each_text_stream
@pytest.mark.parametrize("make", [lambda: good, Glancing], ids=["sent", "watched"])
def test_an_accepted_draft_arrives_once(method: str, make: Any) -> None:
    whole, last_one = collect(method, pair(make()))
    assert whole.delta == text_of(whole) == text_of(last_one)
    assert text_of(whole).startswith("small answers: ")
    assert last_one.delta == ""
    assert whole.additional_kwargs["router"]["candidate"] == "small"
    assert whole.additional_kwargs["router"]["attempts"] == []
    (attempt,) = last_one.additional_kwargs["router"]["attempts"]
    assert attempt == {"candidate": "small", "outcome": "answered"}


@pytest.mark.parametrize("method", [m for m in METHODS if "stream_" in m and "structured" in m])
def test_an_accepted_object_arrives_once(method: str) -> None:
    (found,) = collect(method, pair(good))
    assert found == collect("structured_predict", ScriptedLLM(model="small"))[0]


@pytest.mark.parametrize("method", ["stream_chat_with_tools", "astream_chat_with_tools"])
def test_the_tool_calls_of_an_accepted_draft_are_in_its_stream(method: str) -> None:
    llm = pair(good)
    responses = collect(method, llm)
    assert len(responses) == 2
    assert said(llm, responses[0]) == said(llm, responses[1]) == ("", [("weather", CALL)])
    assert responses[0].delta == ""


@every_form
def test_who_calls_whole_gets_no_delta(form: Form) -> None:
    response = form(pair(Glancing()))
    if form in RECORDED and form not in STREAMED:
        assert response.delta is None


# --- what observers see ---


@every_method
def test_each_attempt_has_its_own_events(method: str) -> None:
    kind = "Completion" if "complete" in method else "Chat"

    def events(*llms: Any) -> tuple[list[str], int, bool]:
        with observed() as seen:
            for llm in llms:
                collect(method, llm)
        starts = [e.model_dict["model_name"] for e in seen.of(f"LLM{kind}StartEvent")]
        ends = len(seen.of(f"LLM{kind}EndEvent"))
        return starts, ends, sorted(seen.closed) == sorted(seen.opened)

    bare = [ScriptedLLM(model=name) for name in ("small", "large")]
    assert events(pair(good)) == events(bare[0]) == (["small"], 1, True)
    assert events(pair(bad)) == events(*bare) == (["small", "large"], 2, True)


@every_form
def test_the_tokens_of_every_attempt_are_counted_once(form: Form) -> None:
    def counted(llm: Any) -> int:
        counter = TokenCountingHandler(tokenizer=str.split)
        llm.callback_manager = CallbackManager([counter])
        form(llm)
        return int(counter.total_llm_token_count)

    bare = [counted(ScriptedLLM(model=name)) for name in ("small", "large")]
    assert counted(pair(good)) == bare[0] > 0
    assert counted(pair(bad)) == sum(bare)


# --- structured output and tools ---


WRONG = ToolCallBlock(tool_call_id="1", tool_name="City", tool_kwargs={"name": 5, "country": None})


@each_structured_call
@pytest.mark.parametrize(
    ("native", "reply"),
    [(True, "no JSON"), (False, ChatMessage(role="assistant", blocks=[WRONG]))],
)
def test_a_draft_that_cannot_be_parsed_is_never_accepted(
    form: Form, native: bool, reply: Any
) -> None:
    llm = pair(good, small=[reply], llms={"native_structured": native})
    found = form(llm)
    assert City.model_validate(found.model_dump())
    entry = last(llm)
    assert (entry["candidate"], outcomes(entry)) == (
        "large",
        [("small", "answered"), ("large", "answered")],
    )
    assert entry["attempts"][0]["usage"]["output_tokens"] > 0


@each_structured_call
def test_where_nobodys_answer_can_be_parsed_the_last_error_is_raised(form: Form) -> None:
    llm = pair(good, small=["no JSON"], large=["nor this"], llms={"native_structured": True})
    bare = ScriptedLLM(model="large", replies=["nor this"], native_structured=True)
    if form in STREAMED:  # LlamaIndex makes what it can of a stream
        assert form(llm).model_dump() == form(bare).model_dump()
        return
    with pytest.raises(Exception) as expected:
        form(bare)
    with pytest.raises(expected.type):
        form(llm)
    assert last(llm)["outcome"] == "failed"


@each_tool_call
def test_a_verifier_sees_tool_calls_decoded(form: Form) -> None:
    verify = Noting()
    form(pair(verify))
    (draft,) = verify.drafts
    assert draft.reply.tool_calls == (("weather", CALL),)
    assert draft.prompt.tools[0]["function"]["name"] == "weather"


@each_tool_call
def test_tool_calls_that_cannot_be_decoded_are_never_accepted(form: Form) -> None:
    class Garbled(ScriptedLLM):
        """Cannot read what it wrote."""

        def get_tool_calls_from_response(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("no JSON")

    made = {"small": Garbled(model="small"), "large": ScriptedLLM(model="large")}
    llm = cascade(made, good)
    response = form(llm)
    assert said(llm, response) == ("", [("weather", CALL)])
    assert last(llm)["candidate"] == "large"


# --- a judge says something of its own ---


@every_form
@pytest.mark.parametrize(("word", "writer"), [("yes", "small"), ("no", "large")])
def test_a_judge_is_asked_in_its_own_words_and_its_say_is_no_answer(
    form: Form, word: str, writer: str
) -> None:
    judge = Judge()
    llm = pair(judge, large=[word, None])
    response = form(llm)
    asked = calls(llm, "large")[0]
    assert asked.method == ("achat" if form.__name__.startswith("a") else "chat")
    draft = "" if form not in RECORDED[:8] else text_of(collect("chat", llm, model="small")[0])
    assert [(m.role, m.content) for m in asked.messages] == [
        ("system", "Judge."),
        ("user", f"Is it right? {draft}"),
    ]
    assert "tools" not in asked.kwargs
    assert "response_format" not in asked.kwargs
    assert [reply.text for reply in judge.replies] == [word]
    entry = next(iter(llm.ledger.entries()))
    purposes = [(one["candidate"], one["purpose"]) for one in entry["attempts"]]
    assert purposes == [
        ("small", "answer"),
        ("large", "check"),
        *([("large", "answer")] if writer == "large" else []),
    ]
    assert entry["candidate"] == writer
    if form in RECORDED:
        assert response.additional_kwargs["router"]["candidate"] == writer
        assert word != text_of(response)


@every_form
def test_a_judge_that_fails_is_no_failure_of_the_call(form: Form) -> None:
    llm = pair(Judge(), large=[Busy(), None])
    form(llm)
    assert outcomes(last(llm)) == [
        ("small", "answered"),
        ("large", "failed"),
        ("large", "answered"),
    ]


# --- verifiers that misbehave ---


def _raising(draft: Draft) -> Any:
    raise RuntimeError(draft.reply.text)


@every_form
@pytest.mark.parametrize(
    "verify", [_raising, lambda _: float("nan"), lambda _: "fine", lambda _: None, lambda _: 7]
)
def test_a_verifier_that_cannot_tell_is_no_pass(form: Form, verify: Any) -> None:
    llm = pair(verify)
    form(llm)
    assert last(llm)["candidate"] == "large"
    assert [chance for *_, chance in judged(llm)] == [None]


# --- early abort ---


@pytest.mark.parametrize("form", RECORDED[:8])
@pytest.mark.parametrize("inline", [False, True])
def test_a_growing_draft_is_dropped_and_the_next_answers(form: Form, inline: bool) -> None:
    verify = Glancing("word30")
    verify.inline_glance = inline
    llm = pair(verify, small=[LONG], large=["Short."])
    assert text_of(form(llm)) == "Short."
    entry = last(llm)
    assert entry["candidate"] == "large"
    assert outcomes(entry) == [("small", "dropped"), ("large", "answered")]
    assert verify.seen == sorted(verify.seen)
    assert 30 < verify.seen[-1] < 60  # of 200 words
    assert judged(llm) == [("small", "glancing", 0.001)]


@pytest.mark.parametrize("form", FORMS[8:])
def test_tool_calls_and_objects_are_not_watched(form: Form) -> None:
    verify = Glancing()
    llm = pair(verify)
    form(llm)
    assert verify.seen == []
    assert "stream" not in calls(llm, "small")[0].method
    assert last(llm)["candidate"] == "small"


@pytest.mark.parametrize("form", RECORDED[:8])
def test_a_draft_that_grows_well_is_as_one_that_came_whole(form: Form) -> None:
    watched, whole = pair(Glancing(), small=[LONG]), pair(lambda _: 0.86, small=[LONG])
    assert text_of(form(watched)) == text_of(form(whole)) == LONG
    assert last(watched)["attempts"][0]["usage"] == last(whole)["attempts"][0]["usage"]


# --- rungs that fail ---


@every_form
@pytest.mark.parametrize("broken", NAMES)
def test_a_rung_that_fails_is_stepped_over(form: Form, broken: str) -> None:
    made = {
        name: ScriptedLLM(model=name, replies=[Busy("busy")] if name == broken else [])
        for name in NAMES
    }
    llm = cascade(made, bad)
    form(llm)
    entry = last(llm)
    wells = [name for name in NAMES if name != broken]
    assert entry["outcome"] == "answered"
    assert outcomes(entry) == [(name, "failed" if name == broken else "answered") for name in NAMES]
    # The best draft is better than nothing, where the best candidate fails.
    assert entry["candidate"] == ("middle" if broken == "large" else wells[-1])


@every_form
@pytest.mark.parametrize("well", [*NAMES, None])
def test_one_that_is_well_is_enough(form: Form, well: str | None) -> None:
    made = {
        name: ScriptedLLM(model=name, replies=[] if name == well else [Busy(name)])
        for name in NAMES
    }
    llm = cascade(made, good)
    if well is not None:
        form(llm)
        assert last(llm)["candidate"] == well
        return
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(llm)
    assert [name for name, _ in caught.value.errors] == list(NAMES)


@every_form
@pytest.mark.parametrize("broken", NAMES)
def test_an_error_that_no_other_could_mend_ends_the_call(form: Form, broken: str) -> None:
    denied = Denied()
    made = {
        name: ScriptedLLM(model=name, replies=[denied] if name == broken else []) for name in NAMES
    }
    llm = cascade(made, bad)
    with pytest.raises(Denied) as caught:
        form(llm)
    assert caught.value is denied
    assert last(llm)["outcome"] == "failed"
    assert outcomes(last(llm))[-1] == (broken, "failed")


@pytest.mark.parametrize("form", STREAMED)
def test_a_draft_that_breaks_off_has_shown_nothing(form: Form) -> None:
    llm = pair(good, small=[Break(Busy(), after=1, reply=["Hel", "lo"])])
    llm = llm if form in RECORDED[:8] else pair(good, small=[Break(Busy(), after=1)])
    response = form(llm)
    assert last(llm)["candidate"] == "large"
    if form in RECORDED:
        assert "Hel" not in text_of(response)


@pytest.mark.parametrize("form", [f for f in STREAMED if f in RECORDED[:8]])
def test_the_last_rung_that_breaks_off_is_not_spliced(form: Form) -> None:
    busy = Busy()
    llm = pair(bad, large=[Break(busy, after=1, reply=["Hel", "lo"])])
    with pytest.raises(StreamInterruptedError) as caught:
        form(llm)
    assert (caught.value.candidate, caught.value.partial) == ("large", "Hel")
    assert caught.value.__cause__ is busy
    assert outcomes(last(llm)) == [("small", "answered"), ("large", "failed")]


# --- cascades in cascades, and the one that is told nothing ---


@every_form
@pytest.mark.parametrize(("inner", "writer"), [(good, "small"), (bad, "middle")])
def test_a_cascade_may_draft_for_another(form: Form, inner: Any, writer: str) -> None:
    low = cascade({name: ScriptedLLM(model=name) for name in NAMES[:2]}, inner)
    large = ScriptedLLM(model="large")
    llm = cascade({"small": low, "large": large}, good)
    response = form(llm)
    assert large.calls == []
    assert outcomes(last(llm)) == [("small", "answered")]
    assert last(low)["candidate"] == writer
    assert said(llm, response) == said(llm, form(ScriptedLLM(model=writer)))
    if form in RECORDED:
        record = response.additional_kwargs["router"]
        assert (record["candidate"], record["inner"]["candidate"]) == ("small", writer)
    assert tokens(llm) == tokens(low)


@every_form
def test_without_arguments_it_looks_at_drafts_too(form: Form) -> None:
    refusal = "I'm sorry, but I cannot help with that."
    made = {"small": ScriptedLLM(model="small", replies=[refusal]), "large": ScriptedLLM()}
    llm = RouterLLM(made, strategy=Cascade(), predictor=CHANCES)
    response = form(llm)
    entry = last(llm)
    assert {attempt["candidate"] for attempt in entry["attempts"]} <= {"small", "large"}
    assert entry["verdicts"]
    if form in RECORDED[:8]:
        assert entry["candidate"] == "large"
        assert refusal not in text_of(response)


# --- what it says before ---


def test_explain_says_who_would_draft() -> None:
    decision = pair(good).explain("Hello")
    assert "small drafts; looked at by good; accepted from a probability of 0.65" in str(decision)


@every_form
def test_who_is_asked_for_by_name_answers_without_a_draft(form: Form) -> None:
    llm = pair(bad)
    for name in ("small", "large"):
        form(llm, model=name)
        assert outcomes(last(llm)) == [(name, "answered")]
