"""Many models' answers to the same prompts: ask one after the other, compare, stop when sure.

In: stored answers of m models to n prompts. Out: whom to ask in which order and when to stop,
chosen on labelled prompts within a budget, and what that scores and costs on others.

Answers are compared by what they boil down to. How probable it is that one is right is a logistic
regression over the different answers and "none of these": whoever says an answer adds a weight of
its own to it, and what a verifier makes of its text; every further answer asked for adds to "none".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from examples.benchmarks import _cascades, _tables
from shared_core.lab.answers import Rows, fit_rows
from shared_core.lab.crossfit import FOLDS, folds_of
from shared_core.lab.table import Outcomes
from shared_core.strategies.verifiers.answers import final_answer
from shared_core.strategies.verifiers.head import SHARES

Floats = np.ndarray[Any, Any]

PENALTY = 3.0  # of the squared weights
PARTIES = 6  # random groups of models for each prompt, to learn what few answers are worth
LONGEST = 10  # models asked for one prompt at most
BARS = 1.0 - np.geomspace(0.7, 0.002, 24)  # how probably right is sure enough
MARGIN = 0.95  # of the budget: what costs so much on labelled prompts may cost more on others
WHOLE = len(SHARES) - 1


@dataclass(frozen=True, eq=False)
class Answered:
    """What m models said to n prompts.

    Attributes:
        models: Their names.
        prompts: The texts.
        said: The place of each final answer among the different ones to its prompt, n x m; -1 for
            an answer that boils down to nothing.
        scores: n x m.
        usd: What each answer cost, n x m.
        rows: The answers as numbers, n * m, those to one prompt together.
    """

    models: tuple[str, ...]
    prompts: tuple[str, ...]
    said: Floats
    scores: Floats
    usd: Floats
    rows: Rows

    def outcomes(self, chosen: Floats) -> Outcomes:
        """Return scores and costs of some of the prompts."""
        return Outcomes(
            tuple([self.prompts[place] for place in chosen]),
            self.models,
            self.scores[chosen],
            np.full((len(chosen), len(self.models)), np.nan),
            self.usd[chosen],
            ("",) * len(chosen),
        )

    def __getitem__(self, chosen: Floats) -> Answered:
        """Return what was said to some of the prompts."""
        m = len(self.models)
        return Answered(
            self.models,
            tuple([self.prompts[place] for place in chosen]),
            self.said[chosen],
            self.scores[chosen],
            self.usd[chosen],
            self.rows[(chosen[:, None] * m + np.arange(m)).ravel()],
        )


@dataclass(frozen=True, eq=False)
class Belief:
    """What each answer counts for: log odds.

    Attributes:
        answer: What each adds to what it says, n x m.
        none: Of none of them being right, n x 2: at first, and added by each answer.
    """

    answer: Floats
    none: Floats

    def __getitem__(self, chosen: Floats) -> Belief:
        """Return what is believed of answers to some of the prompts."""
        return Belief(self.answer[chosen], self.none[chosen])


@dataclass(frozen=True, order=True)
class Plan:
    """Whom to ask in which order, and how probably right an answer must be to stop."""

    order: tuple[int, ...]
    bar: float


def read(folder: Path, name: str, listed: str, datasets: Sequence[str]) -> Answered:
    """Read the answers of all models that have a list price and answered nearly all prompts.

    Args:
        folder: Of the data sets.
        name: The set of answers.
        listed: The set of `models.csv` that has the prices.
        datasets: Its data sets that have these prompts.
    """
    table = _cascades.answers(folder, name)
    models = _tables.asked_nearly_all(table, _tables.priced(folder, listed, datasets))
    table = table[table.model.isin(models)]
    whole = table.prompt_id.value_counts()
    table = table[table.prompt_id.isin(whole.index[whole == len(models)])]
    table = table.sort_values(["prompt_id", "model"]).reset_index(drop=True)
    shape = (-1, len(models))
    price = np.array(_tables.prices(folder, listed, models))
    asked, written = (
        _cascades.tokens(column).reshape(shape) for column in (table.prompt, table.answer)
    )
    finals = np.array([final_answer(text) for text in table.answer], object).reshape(shape)
    return Answered(
        models=tuple(models),
        prompts=tuple(table.prompt[:: len(models)]),
        said=np.array([_numbered(row) for row in finals]),
        scores=table.score.to_numpy(float).reshape(shape),
        usd=(asked * price[:, 0] + written * price[:, 1]) * 1e-6,
        rows=_cascades.as_rows(table, None),
    )


def _numbered(finals: Sequence[str | None]) -> list[int]:
    seen: dict[str, int] = {}
    return [-1 if one is None else seen.setdefault(one, len(seen)) for one in finals]


def looked_at(answered: Answered, labelled: Floats, others: Floats, seed: int) -> Floats:
    """Return a verifier's log odds that each answer is right, n x m.

    Those of labelled prompts are from fits that have not seen the prompt, either.
    """
    m = len(answered.models)
    fitted = fit_rows(answered[labelled].rows, seed=seed, shares=(WHOLE,))
    rows = answered[others].rows
    found = np.empty(answered.scores.shape)
    found[labelled] = fitted.unseen.reshape(-1, m)
    judged = fitted.head.logits(rows.surface[:, WHOLE], rows.prior, None, WHOLE, rows.models)
    found[others] = judged.reshape(-1, m)
    return found


def believed(
    answered: Answered, looks: Floats, labelled: Floats, others: Floats, seed: int
) -> Belief:
    """Learn what answers count for; on labelled prompts from the other folds of these."""
    shape = answered.scores.shape
    belief = Belief(np.empty(shape), np.empty((shape[0], 2)))

    def fill(known: Floats, asked: Floats) -> None:
        weights = _weights(answered.said[known], answered.scores[known], looks[known], seed)
        belief.answer[asked] = weights[:-3] + weights[-3] * looks[asked]
        belief.none[asked] = weights[-2:]

    folds = folds_of(labelled, seed)
    for fold in range(FOLDS):
        fill(labelled[folds != fold], labelled[folds == fold])
    fill(labelled, others)
    return belief


def _weights(said: Floats, scores: Floats, looks: Floats, seed: int) -> Floats:
    """Return m weights of models, that of the verifier, and the two of "none", most probable."""
    n, m = said.shape
    rng = np.random.default_rng(seed)
    parties = [np.ones((n, m), bool)]
    parties += [rng.random((n, m)) < rng.uniform(0.15, 0.6, (n, 1)) for _ in range(PARTIES)]
    parts = [_as_inputs(said, scores, looks, party) for party in parties]
    inputs, there, right = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = np.where(there, inputs @ weights, -np.inf)
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        slope = np.tensordot(np.exp(logs) - right, inputs, axes=([0, 1], [0, 1]))
        fit = -(right * np.where(there, logs, 0.0)).sum() / len(parties)
        return fit + PENALTY * weights @ weights / 2, slope / len(parties) + PENALTY * weights

    return np.asarray(minimize(loss, np.zeros(m + 3), jac=True, method="L-BFGS-B").x)


def _as_inputs(
    said: Floats, scores: Floats, looks: Floats, party: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return inputs of each different answer and of "none", which there are, which is right."""
    n, m = said.shape
    by = (said[:, :, None] == np.arange(max(said.max(), 0) + 1)) & party[:, :, None]
    count = by.sum(axis=1)
    inputs = np.zeros((n, count.shape[1] + 1, m + 3))
    inputs[:, :-1, :m] = by.transpose(0, 2, 1)
    inputs[:, :-1, m] = np.einsum("nmk,nm->nk", by, looks)
    inputs[:, -1, m + 1], inputs[:, -1, m + 2] = 1.0, party.sum(axis=1)
    right = np.einsum("nmk,nm->nk", by, scores) / np.maximum(count, 1)
    right = np.column_stack([right, 1.0 - right.max(axis=1)])
    there = np.column_stack([count > 0, np.ones(n, bool)])
    return inputs, there, right / right.sum(axis=1, keepdims=True)


def steps(order: Sequence[int], answered: Answered, belief: Belief) -> tuple[Floats, ...]:
    """Return score, probability of being right and USD, after each model asked, len(order) x n.

    Given back is the likeliest answer, by whoever said it first; the last one where none can be
    compared.
    """
    n = len(answered.said)
    places, row = max(int(answered.said.max()), 0) + 1, np.arange(n)
    logits, first = np.full((n, places), -np.inf), np.zeros((n, places))
    usd, none = np.zeros(n), belief.none[:, 0]
    found = []
    for model in order:
        usd, none = usd + answered.usd[:, model], none + belief.none[:, 1]
        at = np.flatnonzero(answered.said[:, model] >= 0)
        cell = at, answered.said[at, model]
        new = np.isneginf(logits[cell])
        first[cell] = np.where(new, answered.scores[at, model], first[cell])
        logits[cell] = np.where(new, 0.0, logits[cell]) + belief.answer[at, model]
        top = logits.argmax(axis=1)
        highest = logits[row, top]
        score = np.where(np.isneginf(highest), answered.scores[:, model], first[row, top])
        every = np.logaddexp(np.logaddexp.reduce(logits, axis=1), none)
        found.append((score, np.exp(highest - every), usd))
    return tuple(np.array(one) for one in zip(*found, strict=True))


def stopped(walked: tuple[Floats, ...], bar: float) -> tuple[Floats, Floats]:
    """Return score and USD of each prompt where it is sure enough, or at the end of the order."""
    scores, chances, usd = walked
    enough = chances >= bar
    enough[-1] = True
    at = enough.argmax(axis=0), np.arange(scores.shape[1])
    return scores[at], usd[at]


def routed(plan: Plan, answered: Answered, belief: Belief) -> tuple[Floats, Floats]:
    """Return score and USD of each prompt."""
    return stopped(steps(plan.order, answered, belief), plan.bar)


def either(answered: Answered, belief: Belief, best: int) -> Plan:
    """Choose whether the best single model is asked last or never; see `planned`."""
    plans = [planned(answered, belief, best, escalate=escalate) for escalate in (True, False)]
    return max(plans, key=lambda plan: float(routed(plan, answered, belief)[0].mean()))


def planned(
    answered: Answered, belief: Belief, best: int, *, escalate: bool, longest: int = LONGEST
) -> Plan:
    """Choose whom to ask, the cheapest first: models are added, always the one that helps most.

    Args:
        answered: Labelled prompts.
        belief: About these.
        best: The model to compare with: its mean cost is the budget, and it is the plan if nothing
            better is found.
        escalate: It is asked last; otherwise never.
        longest: Models asked for one prompt at most.
    """
    usual = answered.usd.mean(axis=0)
    others = [place for place in np.argsort(usual).tolist() if place != best]
    last = (best,) if escalate else ()
    top, plan = float(answered.scores[:, best].mean()), Plan((best,), 1.0)
    asked: tuple[int, ...] = ()
    while len(asked) < min(longest - len(last), len(others)):
        wider = [
            tuple(place for place in others if place in asked or place == one)
            for one in others
            if one not in asked
        ]
        score, found = max(_tuned(one + last, answered, belief, usual[best]) for one in wider)
        if score <= top and asked:
            break
        asked = found.order[: len(found.order) - len(last)]
        if score > top:
            top, plan = score, found
    return plan


def _tuned(
    order: tuple[int, ...], answered: Answered, belief: Belief, usual: float
) -> tuple[float, Plan]:
    """Return the best mean score within the budget, and the plan for it."""
    walked = steps(order, answered, belief)

    def reached(bar: float) -> float:
        score, usd = (float(one.mean()) for one in stopped(walked, bar))
        return score if usd <= MARGIN * usual else -1.0

    bar = max(BARS.tolist(), key=reached)
    return reached(bar), Plan(order, bar)
