"""What an entry says: totals, alternatives, what a cold cache lost, how a call ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared_core import Policy, Scope
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.types import Alternative, Ask, Entry, Prompt, Reply, Turn, Usage
from tests.fakes.core import candidate, prompt
from tests.fakes.spending import LISTED, Asking, Metered, conversation, router

BOTH = (candidate("a", price=(1, 2), energy=(5, 6)), candidate("b", price=(10, 20)))


def entry(view: Prompt, transport: Metered, among: Any = BOTH, **settings: Any) -> Entry:
    llm = router(among=among, **settings)
    return llm.answer(view, llm.decide(view), transport).entry


def test_every_candidate_is_priced_at_what_was_really_read() -> None:
    found = entry(prompt(tokens=10), Metered({"a": ["x"]}, usage=Usage(5000, 7)))
    a, b = found.alternatives
    assert a.cost_usd == pytest.approx((5000 * 1 + 100 * 2) / 1e6)
    assert b.cost_usd == pytest.approx((5000 * 10 + 100 * 20) / 1e6)
    assert a.energy is not None
    assert a.energy.mid == pytest.approx((5000 * 5 + 100 * 6) / 1e6)
    assert (b.energy, b.quality, b.local) == (None, 0.9, False)


def test_without_usage_they_are_priced_at_the_estimate() -> None:
    found = entry(prompt(tokens=10), Metered({"a": ["x"]}, usage=None))
    assert found.alternatives[1].cost_usd == pytest.approx((10 * 10 + 100 * 20) / 1e6)


def test_who_is_unknown_stays_unknown() -> None:
    found = entry(prompt(), Metered({"a": ["x"]}), among=[candidate("a"), candidate("b")])
    assert found.alternatives == (
        Alternative("a", 0.9, False),
        Alternative("b", 0.9, False),
    )
    assert found.cost_usd is None
    assert found.energy is None


def test_alternatives_have_a_warm_cache_whoever_wrote_the_conversation() -> None:
    listed = [candidate("a", listing=LISTED), candidate("b", listing=LISTED)]
    found = entry(conversation("b"), Metered({"b": ["x"]}, usage=Usage(8010, 5, 8000)), listed)
    one, other = found.alternatives
    assert one.cost_usd == other.cost_usd
    cold = entry(prompt(tokens=8010), Metered({"a": ["x"]}, usage=Usage(8010, 5)), listed)
    assert one.cost_usd is not None
    assert cold.alternatives[0].cost_usd is not None
    assert one.cost_usd < 0.6 * cold.alternatives[0].cost_usd


@pytest.mark.parametrize(
    ("author", "cached", "lost"),
    [("b", 0, True), ("b", 4000, True), ("b", 8000, False), ("a", 0, False), (None, 0, False)],
)
def test_what_a_cold_cache_lost(author: str | None, cached: int, lost: bool) -> None:
    listed = [candidate("a", listing=LISTED), candidate("b", price=(1, 1))]
    usage = Usage(8010, 5, cached)
    found = entry(conversation(author), Metered({"a": ["x"], "b": ["x"]}, usage=usage), listed)
    assert found.candidate == "a"
    per_token = 0.15e-6 / 2
    assert found.lost_cache_usd == pytest.approx((8000 - cached) * per_token if lost else 0)


def test_totals_are_of_every_attempt_and_unknown_as_soon_as_one_is() -> None:
    class Both(Metered):
        def join(self, ask: Ask, chunks: list[Any]) -> Reply:
            usage = self.usage if ask.candidate in "".join(chunks) else None
            return replace(super().join(ask, chunks), usage=usage)

    draft = Asking(((Ask("a", visible=False),), (Ask("b"),)))
    known = [
        candidate("a", price=(1, 2), energy=(5, 6)),
        candidate("b", price=(10, 20), energy=(1, 1)),
    ]
    found = entry(prompt(), Both({"a": ["a"], "b": ["b"]}), known, strategy=draft)
    assert found.cost_usd == pytest.approx(2e-5 + 2e-4)
    assert found.energy_wh == pytest.approx((10 * 5 + 5 * 6 + 15) / 1e6)
    assert found.candidate == "b"
    assert found.reason.startswith("b stepped in for a, by the strategy's choice; ")
    half = entry(prompt(), Both({"a": ["?"], "b": ["b"]}), known, strategy=draft)
    assert (half.cost_usd, half.energy) == (None, None)


def test_texts_are_kept_only_where_that_is_asked_for() -> None:
    secret, told = prompt("my secret"), Metered({"a": ["an answer"]})
    plain = entry(secret, told)
    assert (plain.prompt_text, plain.answer_text) == (None, None)
    assert "secret" not in repr(plain)
    kept = entry(secret, told, ledger=Ledger(keep_text=True))
    assert (kept.prompt_text, kept.answer_text) == ("my secret", "an answer")
    assert kept.prompt_hash == plain.prompt_hash


def test_a_prompts_hash_tells_apart_who_said_what() -> None:
    def hashed(*turns: Any) -> str:
        return entry(Prompt(turns, 5), Metered({"a": ["x"]})).prompt_hash

    one = hashed(Turn("user", "ab"), Turn("user", "c"))
    assert one == hashed(Turn("user", "ab"), Turn("user", "c"))
    others = {
        hashed(Turn("user", "a"), Turn("user", "bc")),
        hashed(Turn("user", "abc")),
        hashed(Turn("user", "ab"), Turn("assistant", "c")),
        hashed(Turn("user", "ab\0userc")),
        hashed(Turn("user", "\ud800")),
    }
    assert one not in others
    assert len(others) == 5


def test_it_says_who_called_when_and_in_which_mode() -> None:
    scope = Scope(user="u", thread="t", step="plan")
    found = entry(prompt(scope=scope), Metered({"b": ["x"]}), shadow="b")
    assert (found.candidate, found.chosen, found.shadow, found.scope) == ("b", "a", True, scope)
    assert found.started_at > 1.6e9
    assert 0 < found.overhead_s <= found.seconds
    assert found.delta == pytest.approx(0.05)


def test_what_a_local_one_took_is_priced_by_the_kwh() -> None:
    local = candidate("a", local=True, energy=(1000, 1000))
    found = entry(prompt(), Metered({"a": ["x"]}), among=[local], policy=Policy(usd_per_kwh=0.5))
    wh = 15 * 1000 / 1e6
    assert found.energy_wh == pytest.approx(wh)
    assert found.cost_usd == pytest.approx(wh / 1000 * 0.5)


def test_a_refused_request_costs_nothing_even_where_each_request_has_its_price() -> None:
    class Busy(ConnectionError):
        status_code = 429

    transport = Metered({"a": [Busy()]})
    llm = router(among=[candidate("a", listing="perplexity:sonar")])
    with pytest.raises(Busy):
        llm.answer(prompt(), llm.decide(prompt()), transport)
    assert transport.entries[0].cost_usd == 0
