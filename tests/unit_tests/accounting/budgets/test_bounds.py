"""What a call can take at most, and the longest answer that fits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_core.accounting.budgets.bounds import Most, Shortage, most_input, most_output
from shared_core.accounting.budgets.budget import Budget, BudgetState
from shared_core.accounting.budgets.stores import NOTHING, Amounts, Standing
from shared_core.accounting.experience import Experience
from shared_core.accounting.terms import terms_of
from shared_core.tokens import estimate_tokens
from shared_core.types import Candidate, Prompt, Turn, Usage
from tests.fakes.core import candidate, estimate, prompt

TEXT = st.text() | st.sampled_from(["\ud800", "中文" * 50, "🙂" * 9, "plain " * 99])
CHEAP = candidate("a", price=(1, 2), energy=(10, 20))


def most(view: Prompt, *among: Candidate, budgets: tuple[Budget, ...] = (), kwh: float = 0) -> Most:
    some = among or (CHEAP,)
    return Most(view, budgets or (Budget(calls=1),), terms_of(some), Experience(), kwh)


def state(budget: Budget, spent: Amounts = NOTHING) -> BudgetState:
    return BudgetState(budget, Standing(spent, NOTHING), None)


def longest(view: Prompt, budget: Budget, spent: Amounts = NOTHING, **known: Any) -> int | Shortage:
    asked = known.pop("asked", None)
    expected = estimate("a", 0.9, output_tokens=known.pop("expected", 10))
    of = known.pop("of", CHEAP)
    bound = most(view, of, *known.pop("beside", ()), budgets=(budget,), **known)
    return bound.longest(of, expected, [state(budget, spent)], asked)


# --- what a prompt can be ---


@given(st.lists(TEXT, max_size=4))
def test_a_prompt_is_never_more_tokens_than_bytes_and_its_frame(texts: list[str]) -> None:
    turns = tuple(Turn("user", text) for text in texts)
    view = Prompt(turns, sum(map(estimate_tokens, texts)))
    assert most_input(view, 1) >= sum(len(t.encode("utf-8", "surrogatepass")) for t in texts)


@given(st.lists(TEXT, min_size=1, max_size=4), TEXT, st.floats(0.5, 4), st.floats(0, 4))
def test_more_text_is_never_less_and_more_bytes_a_token_never_more(
    texts: list[str], more: str, share: float, step: float
) -> None:
    turns = tuple(Turn("user", text) for text in texts)
    view = Prompt(turns, sum(map(estimate_tokens, texts)))
    longer = Prompt((*turns, Turn("tool", more)), view.tokens + estimate_tokens(more))
    assert most_input(longer, share) > most_input(view, share)
    assert most_input(view, share + step) <= most_input(view, share)


@pytest.mark.parametrize("words", ["Look it up", "查一下天气预报" * 20])
def test_tools_and_a_schema_count_by_their_bytes(words: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": words}}
    size = len(json.dumps(tool, ensure_ascii=False).encode())
    plain = most_input(prompt(tokens=0), 1)
    assert most_input(prompt(tokens=0, tools=(tool,)), 1) >= plain + size
    assert most_input(prompt(tokens=0, schema=tool), 1) >= plain + size


def test_arguments_of_tool_calls_count_though_no_turn_has_them() -> None:
    arguments = "x" * 40_000
    view = Prompt((Turn("assistant", ""),), 4 + estimate_tokens(arguments))
    assert most_input(view, 1) >= len(arguments)


def test_what_is_attached_counts() -> None:
    seen = prompt(modalities=frozenset({"image", "pdf"}))
    assert most_input(seen, 1) >= most_input(prompt(), 1) + 2 * 1600


@given(st.lists(TEXT, max_size=3), st.floats(0.5, 4))
def test_what_is_said_after_the_prompt_counts_like_a_turn_of_it(
    texts: list[str], share: float
) -> None:
    turns = tuple(Turn("user", text) for text in texts)
    bound = most(prompt(tokens=0), budgets=(Budget(calls=1, bytes_per_token=share),))
    whole = most_input(Prompt((*prompt().turns, *turns), 0), share)
    assert abs(bound.input_tokens + bound.added(turns) - whole) <= 1, "but for rounding"


def test_what_is_said_after_the_prompt_is_held_too() -> None:
    bound = most(prompt(), budgets=(Budget(usd=1, wh=1),))
    one, more = bound.amounts("a", 10), bound.amounts("a", 10, 1000)
    assert more.tokens == one.tokens + 1000
    assert more.nano_usd == one.nano_usd + 1000 * 1000
    assert more.micro_wh == pytest.approx(one.micro_wh + 1000 * 10, abs=1)
    assert bound.amounts("a", 10) == one
    assert bound.added(()) == 0


def test_what_is_said_after_the_prompt_leaves_less_room_for_the_answer() -> None:
    budget = Budget(tokens=2000)
    bound, expected = most(prompt(), budgets=(budget,)), estimate("a", 0.9, output_tokens=10)
    whole = bound.longest(CHEAP, expected, [state(budget)])
    shorter = bound.longest(CHEAP, expected, [state(budget)], None, 1000)
    assert isinstance(whole, int)
    assert isinstance(shorter, int)
    assert 900 < whole - shorter < 1100
    assert isinstance(bound.longest(CHEAP, expected, [state(budget)], None, 2000), Shortage)


# --- how long an answer may get ---


@pytest.mark.parametrize(
    ("asked", "able", "length"),
    [
        (None, None, 4096),
        (None, 1000, 1000),
        (None, 100_000, 4096),
        (50, None, 50),
        (50, 1000, 50),
        (100_000, None, 100_000),
        (100_000, 8192, 8192),
        (0, None, 4096),
    ],
)
def test_an_answer_is_as_long_as_asked_for_and_as_the_candidate_can(
    asked: int | None, able: int | None, length: int
) -> None:
    stated = {} if able is None else {"max_output_tokens": able}
    assert most_output(asked, candidate("a", capabilities=stated)) == length


def test_with_room_enough_nothing_is_made_shorter() -> None:
    assert longest(prompt(), Budget(usd=1)) == 4096
    assert longest(prompt(max_tokens=9000), Budget(usd=1)) == 9000
    assert longest(prompt(max_tokens=9000), Budget(usd=1), asked=7) == 7


@given(left=st.integers(0, 10_000), expected=st.integers(0, 300), kind=st.sampled_from("utwc"))
def test_the_longest_answer_fits_and_a_little_more_would_not(
    left: int, expected: int, kind: str
) -> None:
    budget = {
        "u": Budget(usd=left * 2e-6),  # 2 USD per million tokens: so many tokens of output
        "t": Budget(tokens=left),
        "w": Budget(wh=left * 20e-6),
        "c": Budget(calls=min(left, 1)),
    }[kind]
    view = prompt("Hi")
    found = longest(view, budget, expected=expected)
    bound, now = most(view, budgets=(budget,)), state(budget)
    least = max(64, 2 * expected)
    if isinstance(found, Shortage):
        assert found.state is not None
        assert now.lacks(bound.amounts("a", least)) == found.reason
    else:
        assert least <= found <= 4096
        assert now.lacks(bound.amounts("a", found)) is None
        assert found == 4096 or now.lacks(bound.amounts("a", found + max(1, found // 64)))


@given(left=st.integers(0, 10_000), asked=st.integers(1, 10_000), by=st.booleans())
def test_who_asks_for_a_length_gets_it_or_nothing(left: int, asked: int, by: bool) -> None:
    budget = Budget(tokens=left)
    view = prompt("Hi") if by else prompt("Hi", max_tokens=asked)
    found = longest(view, budget, asked=asked if by else None)
    fits = most_input(view, 1) + asked <= left
    assert (found == asked) is fits
    assert isinstance(found, int) is fits


def test_a_budget_near_its_end_makes_an_answer_shorter_but_not_too_short() -> None:
    budget, view = Budget(tokens=10_000), prompt("Hi")
    spent = Amounts(tokens=9_000)
    shorter = longest(view, budget, spent)
    assert isinstance(shorter, int)
    assert 500 < shorter < 1000
    expected = longest(view, budget, spent, expected=400)
    assert isinstance(expected, int)
    assert expected >= 800
    assert isinstance(longest(view, budget, spent, expected=500), Shortage)


def test_soft_budgets_make_nothing_shorter() -> None:
    assert longest(prompt(), Budget(usd=0, hard=False)) == 4096


def test_the_tightest_budget_decides() -> None:
    wide, tight = Budget(usd=1), Budget(tokens=1000)
    bound = most(prompt("Hi"), budgets=(wide, tight))
    found = bound.longest(CHEAP, estimate("a", 0.9), [state(wide), state(tight)])
    assert isinstance(found, int)
    assert found < 1000
    full = bound.longest(
        CHEAP, estimate("a", 0.9), [state(wide), state(tight, Amounts(tokens=999))]
    )
    assert isinstance(full, Shortage)
    assert full.state is not None
    assert full.state.budget is tight


# --- unknown prices, unknown energy ---


@pytest.mark.parametrize(
    ("budget", "what"),
    [(Budget(usd=1), "price"), (Budget(wh=1), "energy"), (Budget(usd=1, wh=1), "price")],
)
def test_who_is_of_unknown_price_or_energy_is_refused_with_what_to_do(
    budget: Budget, what: str
) -> None:
    found = longest(prompt(), budget, of=candidate("a"), beside=(candidate("b", price=(1, 1)),))
    assert isinstance(found, Shortage)
    assert found.state is None
    assert f"its {what} is unknown" in found.reason
    assert f"declare {what}=(input, output) per million tokens" in found.reason


def test_only_what_is_limited_must_be_known() -> None:
    assert longest(prompt(), Budget(calls=1, tokens=10_000), of=candidate("a")) == 4096
    assert longest(prompt(), Budget(usd=1), of=candidate("a", price=(1, 1))) == 4096
    assert longest(prompt(), Budget(wh=1), of=candidate("a", energy=(1, 1))) == 4096
    assert longest(prompt(), Budget(usd=1, hard=False), of=candidate("a")) == 4096


def test_what_is_unknown_counts_at_the_worst_that_is_known() -> None:
    a, b = candidate("a"), candidate("b", price=(10, 30), energy=(5, 6))
    c = candidate("c", price=(1, 90))
    bound = most(prompt("Hi"), a, b, c, budgets=(Budget(usd=1, wh=1),))
    usage = Usage(bound.input_tokens, 100)
    held = bound.amounts("a", 100)
    assert held.nano_usd == round(1000 * (usage.input_tokens * 1 + 100 * 90))
    assert held.micro_wh == usage.input_tokens * 5 + 100 * 6
    assert held.tokens == usage.input_tokens + 100
    assert bound.amounts("b", 100).nano_usd == round(1000 * (usage.input_tokens * 10 + 100 * 30))


def test_what_no_budget_limits_is_not_held() -> None:
    some = candidate("a"), candidate("b", price=(1, 1), energy=(1, 1))
    held = most(prompt("Hi"), *some, budgets=(Budget(calls=1),)).amounts("a", 100)
    assert (held.nano_usd, held.micro_wh, held.calls) == (0, 0, 1)
    assert held.tokens > 100


def test_worst_needs_somebody_who_is_known() -> None:
    worst = Budget(usd=1, unknown="worst")
    assert (
        longest(prompt(), worst, of=candidate("a"), beside=(candidate("b", price=(1, 1)),)) == 4096
    )
    alone = longest(prompt(), worst, of=candidate("a"), beside=(candidate("b"),))
    assert isinstance(alone, Shortage)
    assert "price is unknown" in alone.reason


def test_a_local_one_is_held_to_the_upper_end_of_its_energy() -> None:
    local = candidate("a", local=True, energy=(10, 1000))
    bound = most(prompt("Hi"), local, budgets=(Budget(usd=1),), kwh=0.5)
    held = bound.amounts("a", 100)
    assert held.micro_wh == bound.input_tokens * 10 + 100 * 1000
    assert held.nano_usd == pytest.approx(held.micro_wh / 1e6 / 1000 * 0.5 * 1e9, abs=1)
    assert most(prompt("Hi"), local).amounts("a", 100).nano_usd == 0
