"""Drafts, checks and verdicts: what they are charged, what is learned from them, what is said."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest

from shared_core import Router
from shared_core.accounting.account import Account
from shared_core.accounting.books import Books
from shared_core.accounting.budgets.budget import Budget
from shared_core.accounting.budgets.stores import NOTHING, Amounts
from shared_core.accounting.experience import Experience
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.decision.candidates import prepare_candidates
from shared_core.errors import DraftDroppedError
from shared_core.tokens import estimate_tokens
from shared_core.types import Ask, Candidate, Entry, Prompt, Reply, Turn, Usage, Verdict, Watch
from tests.fakes.core import FixedPredictor, candidate, prompt
from tests.fakes.spending import LISTED, conversation, router, standing

VIEW = prompt("Hi", tokens=40)
WATCH = Watch(lambda reply: False)
DRAFT = Ask("a", visible=False, watch=WATCH)
CHECK = Ask(
    "b", visible=False, turns=(Turn("user", "Is it right? " * 10),), purpose="check", replace=True
)
BOTH = (candidate("a", price=(1, 2), energy=(5, 6)), candidate("b", price=(10, 20)))
COUNTED = Usage(10, 5)


def begun(llm: Router, view: Prompt = VIEW, chosen: str = "a") -> Account:
    """The account of a call for which the policy has chosen that candidate."""
    decision = replace(llm.decide(view), candidate=chosen)
    return llm.books.account(view, decision, 0.0, lambda entry: None)


def answered(account: Account, ask: Ask, text: str = "yes", usage: Any = COUNTED) -> Reply:
    """Have an ask answered, and the answer be the call's."""
    hold = account.open(ask)
    reply = Reply(ask.candidate, text=text, usage=usage)
    account.close(hold, reply)
    account.reply = reply
    return reply


def dropped(account: Account, shown: str | None, ask: Ask = DRAFT) -> None:
    """Break a draft off."""
    account.fail(account.open(ask), DraftDroppedError(), billed=True, shown=shown)


def written(account: Account) -> Entry:
    assert account.entry is not None
    return account.entry


# --- drafts that are broken off ---


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_dropped_draft_costs_what_its_texts_tell(asynchronous: bool) -> None:
    llm, text = router(Budget(usd=1), among=BOTH), "a draft that leads nowhere " * 4
    account = begun(llm)

    async def drop() -> None:
        async with account:
            hold = await account.aopen(DRAFT)
            await account.afail(hold, DraftDroppedError(), billed=True, shown=text)
            answered(account, Ask("b"))

    if asynchronous:
        asyncio.run(drop())
    else:
        with account:
            dropped(account, text)
            answered(account, Ask("b"))
    entry = written(account)
    draft, answer = entry.attempts
    assert (draft.outcome, draft.error, draft.purpose) == ("dropped", None, "answer")
    assert draft.usage == Usage(40, estimate_tokens(text), estimated=True)
    assert draft.cost_usd == pytest.approx((40 * 1 + estimate_tokens(text) * 2) / 1e6)
    assert draft.cost_usd_high is None
    assert draft.energy is not None
    assert draft.energy.mid == pytest.approx((40 * 5 + estimate_tokens(text) * 6) / 1e6)
    assert answer.outcome == "answered"
    assert entry.cost_usd == pytest.approx((draft.cost_usd or 0) + (answer.cost_usd or 0))
    assert entry.outcome == "answered"


def test_a_dropped_draft_is_charged_by_its_text() -> None:
    def charged(text: str | None) -> Amounts:
        llm = router(Budget(usd=1), among=BOTH)
        with begun(llm) as account:
            dropped(account, text)
            account.reply = Reply("a")
        state = standing(llm)
        assert state.held == NOTHING
        return state.spent

    short, long = charged("ab"), charged("ab" * 50)
    assert long.nano_usd == short.nano_usd + 98 * 2000, "a byte is a token at most"
    assert (short.calls, long.tokens) == (1, short.tokens + 98)
    for unknown in ("", None):  # something came that is no text
        assert charged(unknown).tokens > 4096


def test_the_energy_of_a_dropped_draft_is_as_measured() -> None:
    books = metered_books()
    llm = Router(books.candidates, books=books, predictor=FixedPredictor({"m": 0.9}))
    with begun(llm, chosen="m") as account:
        dropped(account, "text", Ask("m"))
        account.reply = Reply("m")
    (attempt,) = written(account).attempts
    assert attempt.energy is not None
    assert attempt.energy.method == "measured (test)"
    assert llm.books.experience.energy_rates("m") is None, "of tokens that nobody counted"


# --- drafts that are streamed only to be watched ---


@pytest.mark.parametrize("usage", [None, Usage(0, 0)])
def test_a_watched_draft_without_usage_is_told_from_its_text(usage: Usage | None) -> None:
    llm = router(Budget(usd=1), among=BOTH)
    with begun(llm) as account:
        answered(account, DRAFT, "yes " * 25, usage)
    (attempt,) = written(account).attempts
    assert attempt.usage == Usage(40, 25, estimated=True)
    assert attempt.cost_usd == pytest.approx((40 + 50) / 1e6)
    plain = router(Budget(usd=1), among=BOTH)
    with begun(plain) as account:
        answered(account, Ask("a"), "yes " * 25, usage)
    assert written(account).attempts[0].usage is None
    assert standing(llm) == standing(plain), "budgets are on the safe side in both"


def test_a_watched_draft_with_usage_costs_what_was_counted() -> None:
    llm = router(Budget(usd=1), among=BOTH)
    with begun(llm) as account:
        answered(account, DRAFT)
    assert written(account).attempts[0].usage == COUNTED
    assert standing(llm).spent.tokens == 15


def test_calls_of_tools_are_part_of_what_is_told() -> None:
    with begun(router(among=BOTH)) as account:
        reply = Reply("a", tool_calls=(("search", {"query": "the weather in Paris"}),))
        account.close(account.open(DRAFT), reply)
        account.reply = reply
    usage = written(account).attempts[0].usage
    assert usage is not None
    assert usage.output_tokens > 8


# --- checks ---


def test_a_check_is_spent_and_never_the_answer() -> None:
    llm = router(among=BOTH)
    with begun(llm) as account:
        draft = answered(account, Ask("a", visible=False), usage=Usage(40, 7))
        answered(account, replace(CHECK, candidate="a"), usage=Usage(900, 1))
        account.reply = draft
    entry = written(account)
    assert [a.purpose for a in entry.attempts] == ["answer", "check"]
    assert entry.cost_usd == pytest.approx((40 + 14 + 900 + 2) / 1e6)
    assert entry.alternatives[1].cost_usd == pytest.approx((40 * 10 + 100 * 20) / 1e6)
    connection = llm.books.ledger._connected()
    assert len(llm.books.ledger) == 1
    kept = connection.execute("SELECT purpose, kept FROM attempts ORDER BY place").fetchall()
    assert kept == [("answer", 1), ("check", 0)]
    assert connection.execute("SELECT alone FROM entries").fetchone() == (0,)


def test_a_check_that_is_refused_says_what_it_was_for() -> None:
    with begun(router(among=BOTH)) as account:
        account.note(CHECK, "refused", ValueError())
        answered(account, Ask("a"))
    assert written(account).attempts[0].purpose == "check"


def test_what_is_said_besides_the_prompt_is_held_and_charged() -> None:
    def charged(ask: Ask) -> tuple[int, int]:
        llm = router(Budget(usd=1), among=BOTH)
        with begun(llm) as account:
            hold = account.open(ask)
            held = standing(llm).held.tokens
            assert hold.ask == replace(ask, params={"max_tokens": 4096})
            account.close(hold, Reply("b", text="yes"))
            account.reply = Reply("b")
        return held, standing(llm).spent.tokens

    plain, more = charged(Ask("b")), charged(CHECK)
    size = len("Is it right? " * 10)
    assert more[0] >= plain[0] + size
    assert more[1] >= plain[1] + size


def test_what_is_said_besides_the_prompt_leaves_less_room_for_the_answer() -> None:
    def room(ask: Ask) -> int:
        llm = router(Budget(tokens=1500), among=BOTH)
        with begun(llm) as account:
            hold = account.open(ask)
            assert standing(llm).held.tokens <= 1500
            account.close(hold, Reply("b", text="yes"))
            account.reply = Reply("b")
        return int(hold.ask.params["max_tokens"])

    size = len("Is it right? " * 10)
    assert size <= room(Ask("b")) - room(CHECK) <= 1.5 * size


def test_estimated_tokens_are_those_of_what_was_put() -> None:
    with begun(router(among=BOTH)) as account:
        answered(account, replace(CHECK, watch=WATCH), usage=None)
    usage = written(account).attempts[0].usage
    assert usage is not None
    added = estimate_tokens("Is it right? " * 10)
    assert added <= usage.input_tokens <= added + 8


def test_without_the_callers_tools_a_helpers_text_is_all_there_is() -> None:
    view = prompt("Hi", tools=({"type": "function"},))
    llm = router(Budget(usd=1), among=BOTH)
    with begun(llm, view) as account:
        answered(account, CHECK, usage=None)
    assert standing(llm).spent.tokens < 1000


# --- what is learned ---


class Listening(Experience):
    """Remembers the names of those from whom it was told anything."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, float | None, int | None]] = []

    def note(self, name: str, usage: Usage, seconds: float | None, **known: Any) -> None:
        self.told.append((name, seconds, known.get("predicted")))
        super().note(name, usage, seconds, **known)


def learned(*asks: Ask, usage: Usage | None = COUNTED) -> list[Any]:
    llm = router(among=BOTH)
    llm.books.experience = heard = Listening()
    with begun(llm) as account:
        for ask in asks:
            answered(account, ask, usage=usage)
    return heard.told


@pytest.mark.parametrize(
    "ask",
    [
        CHECK,
        replace(CHECK, purpose="answer"),
        Ask("a", purpose="check"),
    ],
)
def test_nothing_is_learned_from_other_prompts(ask: Ask) -> None:
    assert learned(ask) == []
    ((name, seconds, predicted),) = learned(ask, Ask("a"))
    assert (name, predicted) == ("a", 100)
    assert seconds is not None


def test_nothing_is_learned_from_what_nobody_counted() -> None:
    assert learned(DRAFT, usage=None) == []
    assert len(learned(DRAFT)) == 1
    llm = router(among=BOTH)
    llm.books.experience = heard = Listening()
    with begun(llm) as account:
        dropped(account, "text")
        answered(account, Ask("b"))
    assert [name for name, *_ in heard.told] == ["b"]


def test_what_energy_a_token_takes_is_learned_from_checks_too() -> None:
    books = metered_books()
    llm = Router(books.candidates, books=books, predictor=FixedPredictor({"m": 0.9}))
    with begun(llm, chosen="m") as account:
        for _ in range(5):
            answered(account, replace(CHECK, candidate="m"))
    assert books.experience.energy_rates("m") is not None
    assert books.experience.seconds("m", 5) is None
    assert books.experience.output_tokens("m", 100) == 100


def test_a_restart_learns_from_answers_that_were_counted_only(tmp_path: Any) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        llm = router(among=BOTH, ledger=ledger)
        with begun(llm) as account:
            dropped(account, "text")
            answered(account, replace(CHECK, candidate="a"), usage=Usage(1, 1))
            answered(account, DRAFT, usage=None)
            answered(account, Ask("a", turns=CHECK.turns), usage=Usage(2, 2))
            answered(account, Ask("a"), usage=Usage(3, 3))
        found = [(one.usage, one.predicted_tokens) for one in ledger.past("a")]
    assert found == [(Usage(2, 2), None), (Usage(3, 3), 100)]


@dataclass(frozen=True, eq=False)
class Meter:
    """Counts a Wh a reading."""

    readings: list[float]
    method: str = "measured (test)"
    spread: tuple[float, float] = (1.0, 1.0)

    def joules(self) -> float:
        self.readings.append(0.0)
        return 3600.0 * len(self.readings)


def metered_books() -> Books:
    """Books of one local candidate "m" whose energy is measured."""
    given = [Candidate("m", None, energy=Meter([]), local=True)]
    return Books(prepare_candidates(given, lambda c: (None, {})))


# --- verdicts ---


def judged(answered_by: str, *said: Verdict, chosen: str = "b", drop: str | None = None) -> Entry:
    """The entry of a call with these verdicts."""
    llm = router(among=BOTH)
    with begun(llm, chosen=chosen) as account:
        if drop is not None:
            dropped(account, "text", Ask(drop))
        for verdict in said:
            account.judged(verdict)
        answered(account, Ask(answered_by))
    return written(account)


def of(name: str, probability: float | None) -> Verdict:
    return Verdict("judge", probability, "", name)


@pytest.mark.parametrize(
    ("answered_by", "chosen", "said", "words"),
    [
        ("b", "b", [of("a", 0.31)], "b answers: the draft of a has a probability of 0.31"),
        ("b", "a", [of("a", 0.31)], "b answers: the draft of a has a probability of 0.31"),
        ("a", "b", [of("a", 0.93)], "a answers: its draft has a probability of 0.93"),
        ("a", "a", [of("a", 0.93)], "a answers: its draft has a probability of 0.93"),
        ("a", "b", [of("a", 0.2), of("a", 0.9)], "a answers: its draft has a probability of 0.90"),
        ("b", "b", [of("a", None)], "b answers: the draft of a could not be judged"),
        (
            "b",
            "b",
            [of("a", 0.31), of("b", 0.8)],
            "b answers: the draft of a has a probability of 0.31, "
            "its draft has a probability of 0.80",
        ),
    ],
)
def test_the_reason_says_what_was_made_of_drafts(
    answered_by: str, chosen: str, said: list[Verdict], words: str
) -> None:
    entry = judged(answered_by, *said, chosen=chosen)
    assert entry.reason.startswith(f"{words}; ")
    assert not entry.reason.endswith("; ")
    assert (entry.chosen, entry.candidate) == (chosen, answered_by)
    assert entry.verdicts == tuple(said)


def test_the_reason_says_that_a_draft_was_broken_off() -> None:
    plain = judged("b", chosen="a", drop="a")
    assert plain.reason.startswith("b stepped in for a, whose draft was broken off; ")
    told = judged("b", of("a", 0.1), chosen="a", drop="a")
    assert told.reason.startswith("b answers: the draft of a has a probability of 0.10; ")
    assert "stepped in" not in told.reason


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Verdict("vote", None, "3 of 5 say so"), "a answers: 3 of 5 say so; "),
        (Verdict("sums", None, "no sums", "b"), "a answers: the draft of b could not be judged; "),
        (Verdict("sums", 0.5, "1 of 2", "a"), "a answers: its draft has a probability of 0.50; "),
    ],
)
def test_the_reason_gives_a_strategys_own_words(said: Verdict, words: str) -> None:
    with begun(router(among=BOTH)) as account:
        account.judged(said)
        answered(account, Ask("a"))
    assert written(account).reason.startswith(words)


def test_a_strategys_own_words_are_no_draft_that_was_looked_at() -> None:
    llm = router(among=BOTH)
    for said in (Verdict("vote", None, "3 of 5 say so"), of("b", 0.4), of("b", None)):
        with begun(llm) as account:
            account.judged(said)
            account.reply = answered(account, Ask("a"))
    (row,) = llm.books.ledger.report().drafts
    assert (row["name"], row["drafts"]) == ("b", 2)


def test_of_several_words_the_last_one_counts_and_a_probability_before_any() -> None:
    with begun(router(among=BOTH)) as account:
        for chance, note in ((None, "first"), (None, "second")):
            account.judged(Verdict("v", chance, note))
        account.judged(Verdict("v", 0.25, "", "b"))
        account.judged(Verdict("v", None, "no sums", "b"))
        answered(account, Ask("a"))
    expected = "a answers: second, the draft of b has a probability of 0.25; "
    assert written(account).reason.startswith(expected)


def test_the_reason_says_both_where_the_chosen_one_failed_and_a_draft_answers() -> None:
    llm = router(among=BOTH)
    with begun(llm, chosen="b") as account:
        draft = answered(account, Ask("a"))
        account.judged(of("a", 0.4))
        account.fail(account.open(Ask("b")), ConnectionError(), billed=False)
        account.reply = draft
    assert written(account).reason.startswith(
        "a stepped in for b, which failed; a answers: its draft has a probability of 0.40; "
    )


def test_a_check_that_failed_is_no_reason_to_step_in() -> None:
    llm = router(among=BOTH)
    with begun(llm, chosen="b") as account:
        account.fail(account.open(CHECK), ConnectionError(), billed=False)
        answered(account, Ask("a"))
    assert written(account).reason.startswith("a stepped in for b, by the strategy's choice; ")


def test_a_call_without_an_answer_keeps_its_verdicts_and_its_reason() -> None:
    llm = router(among=BOTH)
    account = begun(llm)
    account.judged(of("a", 0.31))
    account.__exit__(ConnectionError, ConnectionError(), None)
    entry = written(account)
    assert entry.verdicts == (of("a", 0.31),)
    assert "answers" not in entry.reason
    (found,) = llm.books.ledger.entries()
    assert found["verdicts"][0]["probability"] == 0.31


def test_verdicts_of_many_threads_are_all_kept_and_each_threads_in_order() -> None:
    llm = router(among=BOTH)
    with begun(llm) as account:

        def say(name: str) -> None:
            for number in range(200):
                account.judged(Verdict(name, number / 200))

        threads = [threading.Thread(target=say, args=(f"v{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answered(account, Ask("a"))
    verdicts = written(account).verdicts
    assert len(verdicts) == 1600
    for number in range(8):
        own = [v.probability for v in verdicts if v.verifier == f"v{number}"]
        assert own == sorted(own)  # type: ignore[type-var]


def test_a_lost_cache_is_not_told_from_estimated_tokens() -> None:
    listed = [candidate("a", listing=LISTED), candidate("b", price=(1, 1))]
    view = conversation("b")

    def lost(usage: Usage | None) -> float:
        with begun(router(among=listed), view) as account:
            answered(account, DRAFT, usage=usage)
        return written(account).lost_cache_usd

    assert lost(Usage(8010, 5)) > 0
    assert lost(None) == 0


def test_nothing_is_negative_where_verdicts_took_longer_than_the_call() -> None:
    llm = router(among=BOTH)
    with begun(llm) as account:
        account.judged(replace(of("a", 0.5), seconds=1e6))
        answered(account, Ask("a"))
    entry = written(account)
    assert 0 <= entry.overhead_s <= entry.seconds


# --- what is said besides the prompt ---


def test_others_would_not_have_read_what_an_aggregator_reads() -> None:
    llm = router(among=BOTH)
    told = Ask("b", turns=(Turn("user", "The proposals are: " * 30),), place=2)
    with begun(llm) as account:
        answered(account, Ask("a", visible=False, place=1), usage=Usage(40, 9))
        answered(account, told, usage=Usage(400, 9))
    entry = written(account)
    paid = {alternative.candidate: alternative.cost_usd for alternative in entry.alternatives}
    assert paid["b"] == pytest.approx((40 * 10 + 100 * 20) / 1e6)  # 100 tokens are predicted


def test_attempts_are_written_in_the_order_in_which_they_were_asked_for() -> None:
    with begun(router(among=BOTH)) as account:
        first, second = (account.open(Ask("a", place=place)) for place in (1, 2))
        for hold, text in ((second, "second"), (first, "first")):
            account.close(hold, Reply("a", text=text, usage=Usage(1, len(text))))
        account.reply = Reply("a")
    lengths = [
        attempt.usage and attempt.usage.output_tokens for attempt in written(account).attempts
    ]
    assert lengths == [len("first"), len("second")]
