"""What tests of money look at: a router's ledger, and how its budgets stand.

In: a router of either framework. Out: entries, their tokens added up, spent and held.
"""

from __future__ import annotations

from typing import Any

import genai_prices

from shared_core.accounting.budgets.stores import NOTHING, Amounts, Standing
from shared_core.types import Scope
from tests.fakes.replies import reported

READ, WROTE, CACHED, THOUGHT = 1200, 70, 300, 20
KNOWN = reported(READ, WROTE, CACHED, THOUGHT)
"""What a model of the loopback server is made to report."""

PRICE = (0.5, 3.0)
"""USD per million tokens, as declared."""

LISTED = "openai:gpt-5-mini"

ODD: dict[str, Any] = {
    "nothing": None,
    "empty": {},
    "null": reported(None, None),
    "negative": reported(-5, 3),
    "words": reported("many", "few"),
    "nothing counted": reported(0, 0),
}
"""Reports out of which no usage can be made."""

Tokens = tuple[int, int, int, int]
"""Input, output, cached, reasoning."""


def entries(llm: Any) -> list[dict[str, Any]]:
    """All that is in the ledger, oldest first."""
    return list(llm.ledger.entries())


def last(llm: Any) -> dict[str, Any]:
    """The newest entry."""
    return entries(llm)[-1]


def outcomes(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """Who was tried, and how it went."""
    return [(attempt["candidate"], attempt["outcome"]) for attempt in entry["attempts"]]


def tokens(llm: Any) -> Tokens:
    """The tokens of all attempts in the ledger."""
    used = [a["usage"] for entry in entries(llm) for a in entry["attempts"] if a["usage"]]
    kinds = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    read, wrote, cached, thought = (sum(usage[kind] for usage in used) for kind in kinds)
    return read, wrote, cached, thought


def known(calls: int = 1) -> Tokens:
    """What so many calls come to that each report `KNOWN`."""
    return calls * READ, calls * WROTE, calls * CACHED, calls * THOUGHT


def declared_usd(calls: int = 1) -> float:
    """What they cost at `PRICE`."""
    return calls * (READ * PRICE[0] + WROTE * PRICE[1]) * 1e-6


def listed_usd(calls: int = 1, name: str = LISTED) -> float:
    """What they cost by the catalogue."""
    provider, _, model = name.partition(":")
    usage = genai_prices.Usage(
        input_tokens=READ,
        output_tokens=WROTE,
        cache_read_tokens=CACHED,
        output_reasoning_tokens=THOUGHT,
    )
    return calls * float(genai_prices.calc_price(usage, model, provider_id=provider).total_price)


def standing(llm: Any, **scope: str) -> Standing:
    """How the first budget of a router stands, for this caller."""
    return llm.budgets.states(Scope(**scope))[0].standing


def nothing_held(llm: Any, **scope: str) -> bool:
    """Whether no call holds anything any more."""
    return standing(llm, **scope).held == NOTHING


def take(llm: Any, name: str, usd: float) -> None:
    """Have somebody else spend USD on the router's budgets."""
    accounts = [(a.line.account, a.line.keep_until) for a in llm.budgets.accounts(Scope())]
    llm.budgets.store.settle(name, accounts, Amounts(round(usd * 1e9), 0, 0, 1))
