"""Budgets through the LLM: what is held and sent, who is refused, what is given back."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from pydantic import SkipValidation

from llamaindex_router import Budget, Budgets, Candidate, Cooldown, Policy, RouterLLM, call_scope
from shared_core import (
    AllCandidatesFailedError,
    BudgetExceededError,
    NoCandidateError,
    StreamInterruptedError,
)
from shared_core.accounting.budgets.stores import NOTHING, Amounts, MemoryStore, Standing
from tests.fakes.core import Choosing, FixedPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.script import Break
from tests.integration_tests.accounts import (
    KNOWN,
    PRICE,
    declared_usd,
    entries,
    last,
    nothing_held,
    outcomes,
    standing,
    take,
)
from tests.integration_tests.cancelling import CUTS, Cut, cancel_everywhere, on_trial
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    METHODS,
    QUESTION,
    STREAMED,
    STRUCTURED,
    Form,
    begin,
    client,
    collect,
    weather,
)
from tests.integration_tests.llamaindex.scripted import Busy

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.contracts.llamaindex import awaited  # isort: skip
from tests.fakes.llms import ScriptedLLM, ScriptedTextLLM  # isort: skip

DAY = Budget(usd=1, per="day")
every_form = pytest.mark.parametrize("form", FORMS)
each_stream = pytest.mark.parametrize("form", STREAMED)


def routed(server: OpenAIServer, budgets: Any = DAY, **settings: Any) -> RouterLLM:
    """A router over two clients of the server, both at `PRICE`, which picks the small one."""
    settings.setdefault("predictor", Choosing())
    made = [Candidate(name, client(server, name), price=PRICE) for name in server.models]
    return RouterLLM(made, budgets=budgets, **settings)


def scripted(budgets: Any = DAY, price: Any = PRICE, **settings: Any) -> RouterLLM:
    """A router over two LLMs in the process, which picks the small one."""
    settings.setdefault("predictor", Choosing())
    models: dict[str, Any] = {name: ScriptedLLM(model=name) for name in ("small", "large")}
    models |= settings.pop("models", {})
    made = [Candidate(name, model, price=price) for name, model in models.items()]
    return RouterLLM(made, budgets=budgets, **settings)


# --- what is held is what is sent ---


class During:
    """Answers as by default, and notes what is held while a request is on its way."""

    def __init__(self) -> None:
        self.llm: Any = None
        self.held: list[Amounts] = []

    def __call__(self, body: Any) -> None:
        self.held.append(standing(self.llm).held)


@every_form
def test_the_longest_answer_that_is_held_is_what_the_server_is_told(
    form: Form, server: OpenAIServer
) -> None:
    during = During()
    server.say("small", during)
    during.llm = llm = routed(server)
    form(llm)
    (sent,), (held,) = server.requests, during.held
    longest = sent["max_tokens"]
    read = held.tokens - longest
    assert longest == 4096
    assert 0 < read < 2000
    assert held.nano_usd == pytest.approx((read * PRICE[0] + longest * PRICE[1]) * 1000, abs=1)
    assert nothing_held(llm)


@every_form
def test_the_callers_own_limit_is_held_and_sent(form: Form, server: OpenAIServer) -> None:
    during = During()
    server.say("small", during)
    during.llm = llm = routed(server)
    form(llm, max_tokens=30)
    assert [r["max_tokens"] for r in server.requests] == [30]
    assert during.held[0].nano_usd < 2000 * PRICE[0] * 1000 + 30 * PRICE[1] * 1000


@every_form
def test_a_candidates_own_limit_is_never_raised(form: Form, server: OpenAIServer) -> None:
    small = client(server, "small", max_tokens=50)
    llm = RouterLLM([Candidate("small", small, price=PRICE)], budgets=DAY)
    for kwargs in ({}, {"max_tokens": 30}, {"max_tokens": 60}):
        form(llm, **kwargs)
    assert [r["max_tokens"] for r in server.requests] == [50, 30, 50]
    assert small.max_tokens == 50


@every_form
def test_a_default_of_the_router_is_held_and_sent(form: Form, server: OpenAIServer) -> None:
    form(routed(server, max_tokens=40))
    assert [r["max_tokens"] for r in server.requests] == [40]


@every_form
def test_one_answer_is_held_and_so_one_is_asked_for(form: Form, server: OpenAIServer) -> None:
    for small, params in (
        (client(server, "small", additional_kwargs={"n": 8}), {}),
        (client(server, "small"), {"n": 8}),
    ):
        form(RouterLLM([Candidate("small", small, price=PRICE)], budgets=DAY), **params)
    assert [request.get("n") or 1 for request in server.requests] == [1, 1]


@pytest.mark.parametrize(
    ("kept", "params"),
    [
        ({"tool_calls": [{"function": {"name": "f", "arguments": "a" * 9000}}]}, {}),
        ({}, {"tools": [{"function": {"name": "f", "description": "d" * 9000}}]}),
    ],
)
def test_what_a_model_reads_besides_the_text_is_held_too(kept: Any, params: Any) -> None:
    small = Candidate("small", ScriptedLLM(model="small"), price=PRICE)
    llm = RouterLLM([small], budgets=Budget(tokens=9000))
    message = ChatMessage(role="assistant", content="Hi", additional_kwargs=kept)
    with pytest.raises(BudgetExceededError, match="has 9,000 tokens left"):
        llm.chat([message], **params)


@pytest.mark.parametrize("budget", [None, Budget(calls=9), Budget(usd=1, hard=False)])
@every_form
def test_without_a_budget_on_tokens_nothing_is_sent_that_was_not_asked_for(
    form: Form, budget: Any, server: OpenAIServer
) -> None:
    form(routed(server, budget))
    assert not {"max_tokens", "max_completion_tokens"} & set(server.requests[0])


@every_form
def test_a_model_that_knows_no_limit_is_asked_as_it_is(form: Form) -> None:
    small = ScriptedLLM(model="small")
    form(RouterLLM([Candidate("small", small, price=PRICE)], budgets=DAY))
    assert "max_tokens" not in small.calls[0].kwargs


class NewTokens(ScriptedLLM):
    """Names the limit as Hugging Face's integration does."""

    max_new_tokens: int | None = None


@every_form
def test_the_limit_has_the_models_own_name(form: Form) -> None:
    small = NewTokens(model="small")
    llm = RouterLLM([Candidate("small", small, price=PRICE)], budgets=DAY)
    form(llm)
    form(llm, max_tokens=30)
    limits = [(c.kwargs["max_new_tokens"], "max_tokens" in c.kwargs) for c in small.calls]
    assert limits == [(4096, False), (30, False)]


# --- near the limit, at the limit ---

TERMS = {"small": (1.0, 2.0), "large": (10.0, 20.0)}


@every_form
def test_near_the_limit_the_cheaper_one_answers_and_it_is_said(form: Form) -> None:
    made = [Candidate(n, ScriptedLLM(model=n), price=price) for n, price in TERMS.items()]
    budget = Budget(usd=10, per="day", near=0.5)
    predictor = FixedPredictor({"small": 0.6, "large": 0.9})
    llm = RouterLLM(made, budgets=budget, predictor=predictor)
    form(llm)
    take(llm, "somebody", 9.0)
    form(llm)
    before, after = entries(llm)
    assert (before["candidate"], after["candidate"]) == ("large", "small")
    assert "is used or held" not in before["reason"]
    assert "90% of 10 USD per day is used or held, so δ is" in after["reason"]
    assert after["delta"] > before["delta"]


def refused(error: BudgetExceededError) -> None:
    assert error.budget == "1 USD per day"
    assert error.left == {"USD": 0.0}
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow += timedelta(days=1)
    assert error.resets_at == tomorrow.timestamp()
    assert f"it resets at {tomorrow:%Y-%m-%d} 00:00 UTC" in str(error)
    assert {refusal.candidate for refusal in error.refusals} == {"small", "large"}


@every_form
def test_at_the_limit_nobody_is_asked(form: Form, server: OpenAIServer) -> None:
    llm = routed(server)
    take(llm, "somebody", 1.0)
    with pytest.raises(BudgetExceededError) as caught:
        form(llm)
    refused(caught.value)
    assert server.requests == []
    assert standing(llm) == Standing(Amounts(1_000_000_000, 0, 0, 1), NOTHING)


def query(llm: RouterLLM) -> Any:
    index = SummaryIndex.from_documents([Document(text="Oslo.")], transformations=[])
    return index.as_query_engine(llm=llm).query(QUESTION)


def streamed_query(llm: RouterLLM) -> Any:
    index = SummaryIndex.from_documents([Document(text="Oslo.")], transformations=[])
    return str(index.as_query_engine(llm=llm, streaming=True).query(QUESTION))


def chat(llm: RouterLLM) -> Any:
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    return SimpleChatEngine.from_defaults(llm=llm, memory=memory).chat(QUESTION)


def agent(llm: RouterLLM) -> Any:
    async def run() -> Any:
        memory = ChatMemoryBuffer.from_defaults(llm=llm)
        return await FunctionAgent(tools=[weather], llm=llm).run(QUESTION, memory=memory)

    return asyncio.run(run())


@pytest.mark.parametrize("stack", [query, streamed_query, chat, agent])
def test_at_the_limit_the_error_comes_through_every_stack(stack: Any) -> None:
    llm = scripted()
    take(llm, "somebody", 1.0)
    with pytest.raises(BudgetExceededError) as caught:
        stack(llm)
    refused(caught.value)
    assert nothing_held(llm)


# --- what is given back ---


@every_form
@pytest.mark.parametrize("status", [401, 500])
def test_a_failed_call_is_given_back(status: int, form: Form, server: OpenAIServer) -> None:
    for model in server.models:
        server.script(model, [Fault("status", status=status)])
    llm = routed(server)
    with pytest.raises(Exception, match=str(status)):
        form(llm)
    assert standing(llm) == Standing(NOTHING, NOTHING)


@every_form
def test_a_call_that_falls_back_is_charged_once(form: Form, server: OpenAIServer) -> None:
    server.report("large", KNOWN)
    server.script("small", [Fault("status", status=503)])
    llm = routed(server)
    options = {"stream_options": {"include_usage": True}} if form in STREAMED else {}
    form(llm, **options)
    assert standing(llm).spent == Amounts(round(declared_usd() * 1e9), 0, 1270, 1)
    assert nothing_held(llm)


@every_form
def test_an_interrupt_is_given_back(form: Form) -> None:
    llm = scripted(models={"small": ScriptedLLM(replies=[KeyboardInterrupt("stop")])})
    with pytest.raises(KeyboardInterrupt):
        form(llm)
    assert standing(llm) == Standing(NOTHING, NOTHING)


class SlowStore(MemoryStore):
    """In memory, and asked in a thread, as those on a disk are."""

    slow = True


def asked(method: str, llm: Any) -> Coroutine[Any, Any, Any]:
    """An async call and all of its stream."""

    async def ask() -> Any:
        return await awaited(method, begin(method, llm))

    return ask()


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
@pytest.mark.parametrize("method", METHODS[1::2])
async def test_a_call_cancelled_anywhere_leaves_no_hold(method: str, store: Any, cut: Cut) -> None:
    made: list[RouterLLM] = []

    def one() -> Any:
        made.append(scripted(Budgets(Budget(usd=1, calls=9), store=store())))
        return asked(method, made[-1]), lambda: None

    assert await cancel_everywhere(one, cut) >= 1
    async with asyncio.timeout(10):  # a thread that was left behind gives back what it holds
        while not all(map(nothing_held, made)):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("method", [m for m in METHODS if "stream_" in m])
async def test_a_stream_that_is_left_pays_for_what_it_showed(
    method: str, server: OpenAIServer
) -> None:
    llm = routed(server)
    made = begin(method, llm)
    if method.startswith("a"):
        later = await made
        await anext(later)
        await later.aclose()
    else:
        next(made)
        made.close()
    (attempt,), spent = last(llm)["attempts"], standing(llm).spent
    assert nothing_held(llm)
    assert (attempt["outcome"], attempt["cost_usd"]) == ("cancelled", None)
    assert spent.calls == 1
    assert attempt["cost_usd_high"] == pytest.approx(spent.nano_usd / 1e9)
    # A token of text has a byte at least; nobody counts those of a tool call or an object for us.
    by_text = "tools" not in method and "structured" not in method
    assert (spent.tokens < 200) == by_text
    assert (spent.tokens > 4096) == (not by_text)


@every_form
def test_a_stream_that_breaks_off_pays_for_what_it_showed(form: Form) -> None:
    broken = Break(Busy(), after=1, reply=["Hel", "lo", " world"])
    llm = scripted(models={"small": ScriptedLLM(replies=[broken])})
    if form in STREAMED:
        with pytest.raises(StreamInterruptedError):
            form(llm)
        assert standing(llm).spent.calls == 1
        assert last(llm)["attempts"][0]["cost_usd_high"] > 0
    else:
        form(llm)
        assert outcomes(last(llm)) == [("small", "failed"), ("large", "answered")]
        assert standing(llm).spent.calls == 1
    assert nothing_held(llm)


@every_form
def test_an_answer_of_unknown_usage_is_charged_at_its_most(
    form: Form, server: OpenAIServer
) -> None:
    server.report("small", None)
    llm = routed(server)
    form(llm, max_tokens=500)
    (attempt,), spent = last(llm)["attempts"], standing(llm).spent
    assert attempt["cost_usd"] is None
    assert attempt["cost_usd_high"] == pytest.approx(spent.nano_usd / 1e9)
    plain = "tools" not in form.__name__ and form not in STRUCTURED
    assert (spent.tokens > 500) == (not plain)  # a text bounds its own tokens
    assert spent.tokens > 0
    assert nothing_held(llm)


# --- whose money ---


@pytest.mark.parametrize("key", ["user", "thread", "tenant", "run"])
@every_form
def test_each_has_an_account_of_its_own(form: Form, key: str) -> None:
    llm = scripted(Budget(calls=1, per=key))
    for who in "ab":
        with call_scope(**{key: who}):  # type: ignore[arg-type]
            form(llm)
            with pytest.raises(BudgetExceededError, match=f"1 call per {key} has 0 calls left"):
                form(llm)
    form(llm)  # nobody is somebody too
    assert [standing(llm, **{key: who}).spent.calls for who in "abc"] == [1, 1, 0]
    assert [entry[key] for entry in entries(llm)] == ["a", "b", None]


@pytest.mark.parametrize(
    "twin",
    [
        lambda llm: llm.with_policy(Policy(quality=1)),
        copy.copy,
        copy.deepcopy,
        lambda llm: llm.model_copy(deep=True),
    ],
    ids=["with_policy", "copy", "deepcopy", "model_copy"],
)
def test_copies_spend_the_same_money(twin: Callable[[RouterLLM], RouterLLM]) -> None:
    models = {name: ScriptedTextLLM(model=name) for name in ("small", "large")}
    llm = scripted(Budget(calls=2, per="day"), models=models)
    other = twin(llm)
    llm.complete(QUESTION)
    other.complete(QUESTION)
    for one in (llm, other):
        with pytest.raises(BudgetExceededError):
            one.complete(QUESTION)
        assert standing(one).spent.calls == 2
    assert entries(llm) == entries(other)
    assert len(entries(llm)) == 2


# --- what nobody knows the price of ---


@every_form
def test_an_unknown_price_is_refused_and_it_is_said_what_to_declare(form: Form) -> None:
    llm = scripted(price=None)
    with pytest.raises(NoCandidateError) as caught:
        form(llm)
    assert not isinstance(caught.value, BudgetExceededError)
    wanted = "small: its price is unknown, and there is a budget of 1 USD per day: declare price="
    assert wanted in str(caught.value)
    assert standing(llm) == Standing(NOTHING, NOTHING)


@every_form
def test_an_unknown_price_may_count_as_the_worst(form: Form) -> None:
    small, large = (ScriptedLLM(model=name) for name in ("small", "large"))
    made = [Candidate("small", small), Candidate("large", large, price=PRICE)]
    llm = RouterLLM(made, budgets=Budget(usd=1, unknown="worst"), predictor=Choosing())
    form(llm)
    (attempt,), spent = last(llm)["attempts"], standing(llm).spent
    assert (attempt["cost_usd"], last(llm)["cost_usd"]) == (None, None)
    assert attempt["cost_usd_high"] == pytest.approx(spent.nano_usd / 1e9)
    assert spent.nano_usd > 4096 * PRICE[1] * 1000
    assert nothing_held(llm)


# --- fallbacks, trials ---


@every_form
def test_a_fallback_is_refused_by_the_budget_too(form: Form) -> None:
    def spends_all(_: Any) -> Any:
        take(llm, "somebody", 1.0)
        return Busy()

    large = ScriptedLLM(model="large")
    small = ScriptedLLM(model="small", replies=[spends_all])
    llm = scripted(models={"small": small, "large": large})
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(llm)
    assert [type(e) for _, e in caught.value.errors] == [Busy, BudgetExceededError]
    assert large.calls == []
    assert outcomes(last(llm)) == [("small", "failed"), ("large", "refused")]
    assert standing(llm).spent.calls == 1
    assert nothing_held(llm)


@every_form
def test_a_trial_that_a_budget_refuses_is_the_next_ones(form: Form) -> None:
    class Full(MemoryStore):
        """Has room when it is asked for its standing, and none any more a moment later."""

        def reserve(self, *args: Any) -> Any:
            return 0

    llm = scripted(Budget(calls=9))
    on_trial(llm, "small")
    real, llm.budgets.store = llm.budgets.store, Full()
    with pytest.raises(BudgetExceededError):
        form(llm)
    llm.budgets.store = real
    assert llm.explain(QUESTION).resting == ()
    form(llm)
    assert last(llm)["candidate"] == "small"


# --- races ---


class Gated(ScriptedLLM):
    """Answers once all who were refused have been: everybody admitted is under way at once."""

    may_answer: SkipValidation[Callable[[], bool]]
    asked: SkipValidation[list[int]]

    def _whole(self, *args: Any) -> Any:
        self.asked.append(1)
        while not self.may_answer():
            threading.Event().wait(0.001)
        return super()._whole(*args)

    async def _awhole(self, *args: Any) -> Any:
        self.asked.append(1)
        while not self.may_answer():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return await super()._awhole(*args)


ROOM = 7
MOST = 100
"""Output tokens of each call."""
MESSAGES = [ChatMessage(content=QUESTION)]


class Race:
    """Calls of which only some find room.

    Attributes:
        llm: A router over one LLM that answers when so many have been decided on.
    """

    def __init__(self, budgets: Any, callers: int) -> None:
        self.refusals: list[BudgetExceededError] = []
        self.asked: list[int] = []
        small = Gated(
            may_answer=lambda: len(self.refusals) + len(self.asked) >= callers, asked=self.asked
        )
        self.llm = RouterLLM(
            [Candidate("small", small, price=PRICE)], budgets=budgets, cooldown=Cooldown(failures=0)
        )

    def call(self) -> None:
        try:
            self.llm.chat(MESSAGES, max_tokens=MOST)
        except BudgetExceededError as error:
            self.refusals.append(error)

    async def acall(self) -> None:
        try:
            await self.llm.achat(MESSAGES, max_tokens=MOST)
        except BudgetExceededError as error:
            self.refusals.append(error)

    def run(self, asynchronous: bool, callers: int) -> None:
        async def gathered() -> None:
            await asyncio.gather(*(self.acall() for _ in range(callers)))

        if asynchronous:
            asyncio.run(gathered())
            return
        threads = [threading.Thread(target=self.call) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)


def most_of_a_call() -> Amounts:
    """What one call holds."""
    llm = scripted()
    prompt = llm._chat_request(MESSAGES, {"max_tokens": MOST}).prompt
    most = llm._router.books.most(prompt, 0.0)
    assert most is not None
    return most.amounts("small", MOST)


@pytest.mark.parametrize("unit", ["calls", "usd"])
@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
@pytest.mark.parametrize(("asynchronous", "callers"), [(True, 1000), (False, 64)])
def test_overshoot_never_happens_and_exactly_those_with_room_are_admitted(
    asynchronous: bool, callers: int, store: Any, unit: str
) -> None:
    limit: Any = {"calls": ROOM, "usd": ROOM * most_of_a_call().nano_usd / 1e9}
    budget = Budget(**{unit: limit[unit]}, per="day", near=1)
    race = Race(Budgets(budget, store=store()), callers)
    race.run(asynchronous, callers)
    assert len(race.asked) == ROOM
    assert len(race.refusals) == callers - ROOM
    now = standing(race.llm)
    assert now.held == NOTHING
    assert now.spent.calls == ROOM
    for spent, most in zip(now.spent, budget.limits, strict=True):
        assert most is None or 0 < spent <= most
    answered = [e for e in entries(race.llm) if e["outcome"] == "answered"]
    assert len(answered) == ROOM


def test_every_form_spends_and_leaves_nothing_held() -> None:
    llm = scripted(Budget(calls=len(METHODS), per="day"))
    for method in METHODS:
        collect(method, llm)
        assert nothing_held(llm)
    assert standing(llm).spent.calls == len(METHODS)
    with pytest.raises(BudgetExceededError):
        llm.complete(QUESTION)
