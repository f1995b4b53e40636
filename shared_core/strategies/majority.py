"""When a vote is settled: the probability that who leads it now would win it in the end.

In: what has been said so far with its weight, and the votes that are left. Out: a probability.
Stopping a vote early is adaptive consistency: Aggarwal et al. 2023,
https://arxiv.org/abs/2305.11860. Their rule looks at the two answers ahead with a uniform prior,
Beta(1, 1), so that four equal answers are the fewest that settle anything; this one starts from how
good the candidate is predicted to be, counts the votes left, and knows that answers which nobody
has given yet may still come.

Answers are taken to come as a Pitman-Yor process tells them (Pitman 1996, "Some developments of the
Blackwell-MacQueen urn scheme"): after n votes, K answers among them, the next one is the i-th with
probability (c_i - d) / (n + theta), and a new one with (theta + K d) / (n + theta). Given these
votes, those left fall on the answers as a Dirichlet-multinomial distribution with the weights
c_i - d, and the theta + K d of what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import exp, lgamma, log
from typing import Final

__all__ = ["Race", "agreement", "vote_weight"]

_SCATTER: Final = 0.6
"""d of the process: how much an answer given once is worth less than its share. The likeliest is
.70 on answers of models of like quality to hard mathematics (three by three of train_answers_math),
.41 to MMLU-Pro (train_answers_mmlu_pro), .56 on both together; .70 on 16 samples each of a model
of 0.5 billion parameters to 256 questions of GSM8K's training set."""

_AGREEMENT: Final = 1.3
"""Exponent of the predicted quality that gives how probably two answers are the same: 1.37 is the
likeliest on train_answers_math, 1.16 on train_answers_mmlu_pro, 1.28 on both together."""

_ANSWERS: Final = 3.0
"""Answers between which a prompt in effect leaves the choice. Of 1.5, 2, 3, 5, 8, 12, 20 and 50, 3
makes the weighted majority of 18 models right most often on train_answers_math (.683; the best
model alone .609, unweighted .576); 2 does on train_answers_mmlu_pro with 12 (.719 and, with 3,
.709; the best alone .699, unweighted .640)."""

_LEAST_WEIGHT: Final = 0.1
_RANGE: Final = (0.05, 0.99)  # quality: nobody is known to be always right or always wrong
_EQUAL: Final = 1e-9


def agreement(quality: float) -> float:
    """Return how probably two answers of candidates of this quality, 0 to 1, are the same."""
    return exp(_AGREEMENT * log(_kept(quality)))


def vote_weight(quality: float) -> float:
    """Return the weight of a vote of somebody who is right with this probability.

    Log odds against each of the other answers, for independent voters the best there is: Nitzan &
    Paroush 1982, "Optimal Decision Rules in Uncertain Dichotomous Choice Situations", for two
    answers; Ben-Yashar & Paroush 2001, "Optimal decision rules for fixed-size committees in
    polychotomous choice situations", for several.
    """
    kept = _kept(quality)
    return max(_LEAST_WEIGHT, log(kept * (_ANSWERS - 1.0) / (1.0 - kept)))


def _kept(quality: float) -> float:
    low, high = _RANGE
    return min(max(quality, low), high)


@dataclass(frozen=True, slots=True)
class Race:
    """How a vote stands.

    Attributes:
        votes: Weight behind each answer, in the order in which they were first given; a voter of
            mean quality weighs 1.
        left: Weights of the votes still to come, at most.
        same: How probably two answers are the same, see `agreement`.
    """

    votes: Sequence[float]
    left: Sequence[float]
    same: float

    @property
    def leader(self) -> int:
        """The answer with most weight behind it; of several, the one given first."""
        return max(range(len(self.votes)), key=lambda i: (round(self.votes[i], 9), -i))

    def settled(self) -> float:
        """Return how probably the leader wins when all votes are in, 0 to 1, at the least.

        It loses if any other answer overtakes it: the probabilities that each does are added up,
        which is no less than that of all together. 1.0 where the votes left cannot change who wins.
        """
        lead, votes = self.leader, self.votes
        theta = (1.0 - _SCATTER) / self.same - 1.0
        total, own = sum(votes) + theta, _share(votes[lead])
        new = theta + _SCATTER * len(votes)
        lost = self._overtaken((new, own, total), votes[lead], partial(_outgrown, new))
        others = Counter((round(w, 9), i < lead) for i, w in enumerate(votes) if i != lead)
        for (weight, earlier), count in others.items():  # a tie is won by the earlier one
            gap = votes[lead] - weight - (_EQUAL * 2 if earlier else 0.0)
            lost += count * self._overtaken((_share(weight), own, total), gap, _ahead)
        return max(0.0, 1.0 - lost)

    def after(self, more: int) -> Race:
        """Return how it stands if the next votes are all the leader's."""
        lead, votes = self.leader, list(self.votes)
        votes[lead] += sum(self.left[:more])
        return Race(votes, self.left[more:], self.same)

    def _overtaken(
        self,
        weights: tuple[float, float, float],
        gap: float,
        overtakes: Callable[[int, int], float],
    ) -> float:
        """Return how probably others make up for the gap and more.

        Args:
            weights: In the draws to come, of the others, of the leader, of all answers.
            gap: By how much the others are behind.
            overtakes: How probably, given the votes that fall on the others, one of them has as
                many as are needed.
        """
        draws = len(self.left)
        if not draws or gap > sum(self.left) + _EQUAL:
            return 0.0
        each = sum(self.left) / draws  # votes left weigh about the same
        others, own, total = weights
        classes = (others, own, max(total - own - others, _EQUAL))
        chance = 0.0
        for lost in range(draws):
            needed = lost + int((gap + _EQUAL) / each) + 1
            for won in range(needed, draws - lost + 1):
                drawn = (won, lost, draws - won - lost)
                chance += _dirichlet_multinomial(classes, drawn) * overtakes(won, needed)
        return chance


def _ahead(won: int, needed: int) -> float:
    """Return 1: votes that fall on one answer are all its own."""
    return float(won >= needed)


@lru_cache(4096)
def _outgrown(new: float, won: int, needed: int) -> float:
    """Return how probably one of the new answers has as many votes as are needed, at the most.

    What is new is a process of its own, with `new` for theta. Of the n votes that fall on it,
    answers with j of them are expected to number (n over j) (1 - d)_(j-1) (theta + d)_(n-j) /
    (theta + 1)_(n-1), with rising factorials: Pitman 2006, "Combinatorial Stochastic Processes",
    section 3.2.
    """
    expected = 0.0
    for votes in range(needed, won + 1):
        found = lgamma(won + 1) - lgamma(votes + 1) - lgamma(won - votes + 1)
        found += _rising(1.0 - _SCATTER, votes - 1) + _rising(new + _SCATTER, won - votes)
        expected += exp(found - _rising(new + 1.0, won - 1))
    return min(1.0, expected)


def _rising(start: float, steps: int) -> float:
    """Return the logarithm of a rising factorial."""
    return lgamma(start + steps) - lgamma(start)


def _share(weight: float) -> float:
    """Return the weight of an answer in the draws to come; a vote may weigh less than d."""
    return max(weight - _SCATTER, weight * (1.0 - _SCATTER))


def _dirichlet_multinomial(weights: Sequence[float], drawn: Sequence[int]) -> float:
    """Return how probably draws fall on their classes just so."""
    found = lgamma(sum(drawn) + 1) - _rising(sum(weights), sum(drawn))
    for weight, count in zip(weights, drawn, strict=True):
        found += _rising(weight, count) - lgamma(count + 1)
    return exp(found)
