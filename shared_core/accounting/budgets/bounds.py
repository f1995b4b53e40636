"""What a call can take at most: what budgets hold for it before it is made.

In: a prompt, a candidate, its terms, how full the budgets are. Out: amounts, the answer's longest
length that fits, or the reason why nothing does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared_core.accounting.budgets.budget import Budget, BudgetState, amounts
from shared_core.accounting.budgets.stores import Amounts
from shared_core.accounting.expected import energy_of, rates_of, until_measured
from shared_core.accounting.experience import Experience
from shared_core.accounting.terms import Terms
from shared_core.tokens import BYTES_PER_TOKEN, TOKENS_PER_ATTACHMENT, size_of
from shared_core.types import Candidate, Estimate, Prompt, Turn, Usage

__all__ = ["TOKENS_AROUND", "Most", "Shortage", "most_input", "most_output"]

_LONGEST_ANSWER = 4096
"""Output tokens that an answer is held to under a budget where nobody says how long it may get."""

_SHORTEST_ANSWER = 64
"""Output tokens: a budget that leaves less than this (or less than twice what is expected) has no
room for an answer."""

TOKENS_AROUND = 16
"""At most so many tokens frame a message: roles, separators, ids (OpenAI's chat format has 4)."""


_UsdWh = tuple[float | None, float | None]


def most_input(prompt: Prompt, bytes_per_token: float) -> int:
    """Return how many tokens the prompt can be at most.

    No tokenizer of today makes more than one token of a byte of UTF-8 (byte-level BPE begins with
    the single bytes and only joins them); what frames the messages comes on top.
    """
    size = sum(size_of(turn.text) for turn in prompt.turns)
    size += sum(size_of(str(tool)) for tool in prompt.tools)
    size += 0 if prompt.schema is None else size_of(str(prompt.schema))
    # The arguments of tool calls are no text of a turn: only `tokens` tells of them.
    size = max(size, prompt.tokens * BYTES_PER_TOKEN)
    around = TOKENS_AROUND * (1 + len(prompt.turns) + len(prompt.tools))
    attached = 2 * TOKENS_PER_ATTACHMENT * len(prompt.modalities)
    return max(int(size / bytes_per_token), prompt.tokens) + around + attached


def most_output(asked: int | None, candidate: Candidate) -> int:
    """Return how long the answer may get, in tokens: as asked for, as the candidate can."""
    own = candidate.capabilities.get("max_output_tokens")
    able = own if isinstance(own, int) and own > 0 else None
    if asked:
        return min(asked, able or asked)
    return min(_LONGEST_ANSWER, able or _LONGEST_ANSWER)


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why no answer fits, and into which budget; None where a price or an energy is unknown."""

    reason: str
    state: BudgetState | None


class Most:
    """What the candidates' calls with one prompt can take at most."""

    def __init__(
        self,
        prompt: Prompt,
        budgets: Sequence[Budget],
        terms: Mapping[str, Terms],
        experience: Experience,
        usd_per_kwh: float,
    ) -> None:
        """Count the prompt."""
        self._prompt, self._terms, self._usd_per_kwh = prompt, terms, usd_per_kwh
        self._experience = experience
        self._limited = (
            any(b.usd is not None for b in budgets),
            any(b.wh is not None for b in budgets),
        )
        self._known: dict[tuple[str, int, int], _UsdWh] = {}
        self._amounts: dict[tuple[str, int, int], Amounts] = {}
        self._bytes_per_token = min(b.bytes_per_token for b in budgets)
        self.input_tokens = most_input(prompt, self._bytes_per_token)

    def added(self, turns: Sequence[Turn]) -> int:
        """Return how many tokens what is said after the prompt can be at most.

        Where it is said instead of the prompt, that is held all the same: the safe side.
        """
        size = sum(size_of(turn.text) for turn in turns)
        return int(size / self._bytes_per_token) + TOKENS_AROUND * len(turns)

    def usd_wh(self, name: str, output_tokens: int, added: int = 0) -> _UsdWh:
        """Return USD and Wh at most with an answer so long; None is unknown, or of no interest.

        Args:
            name: Of the candidate.
            output_tokens: Of the answer.
            added: Tokens that are read besides the prompt; see `added`.
        """
        known = self._known.get((name, output_tokens, added))
        if known is None:
            terms, energy = self._terms[name], None
            usage = Usage(self.input_tokens + added, output_tokens)
            if self._limited[1] or terms.pays_energy:
                rates = rates_of(name, terms, self._experience)
                energy = energy_of(usage, rates or until_measured(terms.meter))
            wh = None if energy is None else energy.high
            known = terms.most(usage, wh, self._usd_per_kwh), wh
            self._known[name, output_tokens, added] = known
        return known

    def amounts(self, name: str, output_tokens: int, added: int = 0) -> Amounts:
        """Return what to hold; what is unknown counts as the worst that is known of any."""
        found = self._amounts.get((name, output_tokens, added))
        if found is None:
            usd, wh = self.usd_wh(name, output_tokens, added)
            usd = self._worst(0, output_tokens, added) if usd is None else usd
            wh = self._worst(1, output_tokens, added) if wh is None else wh
            found = amounts(usd, wh, self.input_tokens + added + output_tokens)
            self._amounts[name, output_tokens, added] = found
        return found

    def _worst(self, place: int, output_tokens: int, added: int) -> float | None:
        """Return the most USD (place 0) or Wh (1) of any candidate, if there is a budget of it."""
        if not self._limited[place]:
            return None
        known = [self.usd_wh(name, output_tokens, added)[place] for name in self._terms]
        return max((amount for amount in known if amount is not None), default=None)

    def longest(
        self,
        candidate: Candidate,
        estimate: Estimate,
        states: Sequence[BudgetState],
        asked: int | None = None,
        added: int = 0,
    ) -> int | Shortage:
        """Return the longest answer that fits into every hard budget, in tokens.

        Where nobody says how long it may get, a budget near its end makes it shorter, but not
        shorter than twice what is expected.

        Args:
            candidate: Who would answer.
            estimate: What is expected of it.
            states: How full the budgets are.
            asked: Most output tokens that a strategy asks for; None: those of the prompt.
            added: Tokens that are read besides the prompt; see `added`.
        """
        hard = [state for state in states if state.budget.hard]
        asked = asked or self._prompt.max_tokens
        name, longest = candidate.name, most_output(asked, candidate)
        if unknown := self._unknown(name, longest, hard, added):
            return Shortage(unknown, None)
        if not (shortage := self._lacks(name, longest, hard, added)) or asked:
            return shortage or longest
        fits = min(longest, max(_SHORTEST_ANSWER, 2 * (estimate.output_tokens or 0)))
        if shortage := self._lacks(name, fits, hard, added):
            return shortage
        while longest - fits > max(1, fits // 64):
            middle = (fits + longest) // 2
            if self._lacks(name, middle, hard, added):
                longest = middle
            else:
                fits = middle
        return fits

    def _lacks(
        self, name: str, output_tokens: int, states: Sequence[BudgetState], added: int
    ) -> Shortage | None:
        most = self.amounts(name, output_tokens, added)
        for state in states:
            if reason := state.lacks(most):
                return Shortage(reason + self._why(name), state)
        return None

    def _why(self, name: str) -> str:
        """Return what else to say of a shortage."""
        terms = self._terms[name]
        if terms.meter is None or self._experience.energy_rates(name) is not None:
            return ""
        return "; its energy is yet to be measured, energy=(input, output) would declare it"

    def _unknown(
        self, name: str, output_tokens: int, states: Sequence[BudgetState], added: int
    ) -> str | None:
        usd, wh = self.usd_wh(name, output_tokens, added)
        if not ((usd is None and self._limited[0]) or (wh is None and self._limited[1])):
            return None
        for budget in (state.budget for state in states):
            for limit, known, what, place in (
                (budget.usd, usd, "price", 0),
                (budget.wh, wh, "energy", 1),
            ):
                if limit is None or known is not None:
                    continue
                worst = self._worst(place, output_tokens, added)
                if budget.unknown == "refuse" or worst is None:
                    return (
                        f"its {what} is unknown, and there is a budget of {budget}: declare "
                        f"{what}=(input, output) per million tokens, or Budget(unknown='worst')"
                    )
        return None
