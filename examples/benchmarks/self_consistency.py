"""Samples until the majority is settled, on stored samples and on stored answers of many models.

Run `python -m examples.benchmarks.self_consistency --data FOLDER --samples FILE`; needs the extra
`[train]`. FILE has 16 samples of one model for each of some GSM8K questions, a JSON object a line:
prompt_id, sample, text, tokens, finish_reason, and "set": "test" (`--draw FILE` draws them from any
server that speaks OpenAI's protocol, see `--base-url` and `--model`). FOLDER has the questions with
their gold answers (eval_routellm_gsm8k_answers), and the answers of 17 models to all of them
(eval_answers_gsm8k).

Shuffled are the answers of the models that have a price to each question, in any order, as if one
candidate of their mean quality had drawn them: the nearest to samples of a strong model that there
is. They agree less than samples of one model would.

All lines that name the strategy replay the answers through its own code. Predicted quality is the
mean score of the candidate on the other half of the prompts (two folds), or 0.5 where it says so.
Lost are points of accuracy under that of all samples. What the oracle draws is the fewest after
which the majority is that of all.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples.benchmarks import _page, _tables
from examples.benchmarks._cascades import tokens
from shared_core.lab.crossfit import folds_of
from shared_core.lab.evaluate import Figure, with_intervals
from shared_core.strategies.comparing import key_of
from shared_core.strategies.majority import vote_weight
from shared_core.strategies.self_consistency import SelfConsistency
from shared_core.strategies.verifiers.answers import final_answer
from shared_core.types import Ask, Decision, Estimate, Prompt, Reply, Turn, Usage

Floats = np.ndarray[Any, Any]

QUESTIONS = "eval_routellm_gsm8k_answers"
ANSWERS = "eval_answers_gsm8k"
LISTED = "eval_zeroeval_gsm8k_mmluredux"
ASKED = "\n\nThink step by step, then end with a line 'The answer is N.'"
SAMPLES = 16
FIXED = (1, 2, 4, 8)
CERTAINTIES = (0.8, 0.9, 0.95, 0.99, 1.0)
SHARES = (0.25, 0.5, 0.75, 0.9)  # of all samples that agree with their majority
UNIFORM = 0.95  # the paper's threshold
FEWEST_SCORED = 1_000  # prompts: a model with fewer answers is left out
MODEL = "model"


@dataclass(frozen=True)
class Question:
    """What was said to one question, in the order in which it is drawn.

    Attributes:
        replies: Of one candidate, or of several.
        right: Scores of these, 0 or 1.
        usd: What each cost; 0 where nobody knows.
    """

    replies: tuple[Reply, ...]
    right: tuple[float, ...]
    usd: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What a rule made of one question: how many replies it took, which it chose, and all said."""

    drawn: int
    chosen: int
    usd: float


Rule = Callable[[Question, Decision], Outcome]


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the tables."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--samples", type=Path, help="JSON lines, perhaps gzipped")
    parser.add_argument("--draw", type=Path, help="draw samples into this file, and end")
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1", help="of the server")
    parser.add_argument("--model", default=MODEL, help="as the server calls it")
    parser.add_argument("--questions", type=int, default=80, help="to draw for")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap samples")
    options = parser.parse_args(arguments)
    if options.draw:
        draw_samples(options)
        return
    command = "python -m examples.benchmarks.self_consistency --data FOLDER"
    command += " --samples FILE" * bool(options.samples)
    found: dict[str, Any] = {
        "command": f"{command} --seed {options.seed} --draws {options.draws}",
        "models": of_models(options),
        "shuffled": of_samples(shuffled(options), options),
    }
    tables = {
        "self consistency voters": drawn_table(found["models"]["ways"], usd=True),
        "self consistency shuffled": drawn_table(found["shuffled"]["ways"], usd=False),
    }
    if options.samples:
        found["samples"] = of_samples(read_samples(options.samples, golds(options.data)), options)
        tables["self consistency"] = drawn_table(found["samples"]["ways"], usd=False)
        shares = found["samples"]["by_share_of_majority"]
        tables["self consistency shares"] = drawn_table(shares, usd=False)
    _page.publish(options.out, "self_consistency", found, tables)


# --- one model's samples ---


def of_samples(questions: Sequence[Question], options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of each way to draw one model's samples."""
    scores = np.array([np.mean(q.right) for q in questions])
    known = [deciding({MODEL: quality}) for quality in other_half(scores, options.seed)]
    nobody = [deciding({MODEL: 0.5})] * len(questions)
    ways: dict[str, tuple[Rule, list[Decision]]] = {
        f"certainty {certainty}": (by_strategy(certainty), known) for certainty in CERTAINTIES
    }
    ways["certainty 0.95, quality unknown"] = (by_strategy(0.95), nobody)
    ways |= {f"first {count}": (by_first(count), known) for count in FIXED}
    ways["all samples"] = (by_first(SAMPLES), known)
    ways["uniform prior 0.95 (the paper's)"] = (by_uniform, known)
    ways["oracle stop"] = (by_oracle, known)
    every = outcomes(by_first(SAMPLES), questions, known)
    return {
        "questions": len(questions),
        "samples": SAMPLES,
        "mean_score": float(scores.mean()),
        "ways": {
            name: measured(questions, rule, decisions, every, options)
            for name, (rule, decisions) in ways.items()
        },
        "by_share_of_majority": by_share(questions, known, options),
    }


def by_share(
    questions: Sequence[Question], known: Sequence[Decision], options: argparse.Namespace
) -> dict[str, Any]:
    """Return what the default rule does where few and where many of all samples agree."""
    found = {}
    shares = np.array([max(counted(q, SAMPLES).values(), default=0) / SAMPLES for q in questions])
    for low, high in pairwise((0.0, *SHARES, 1.01)):
        chosen = np.flatnonzero((shares >= low) & (shares < high))
        if len(chosen):
            some = [questions[i] for i in chosen], [known[i] for i in chosen]
            every = outcomes(by_first(SAMPLES), *some)
            figures = measured(some[0], by_strategy(0.95), some[1], every, options)
            found[f"{low:.2f} to {min(high, 1.0):.2f}"] = {"questions": len(chosen), **figures}
    return found


def read_samples(path: Path, gold: Mapping[str, str | None]) -> list[Question]:
    """Return the questions of the test set that have all samples."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        table = pd.DataFrame([json.loads(line) for line in file])
    table = table[(table["set"] == "test") & (table["sample"] < SAMPLES)]
    groups = table.sort_values("sample").groupby("prompt_id", sort=True)
    return [
        as_question(of_one, gold[str(name)]) for name, of_one in groups if len(of_one) == SAMPLES
    ]


def as_question(table: pd.DataFrame, gold: str | None) -> Question:
    """Return one question's samples, graded."""
    replies = tuple(
        Reply(MODEL, text=row.text, finish_reason=row.finish_reason, usage=Usage(0, row.tokens))
        for row in table.itertuples()
    )
    right = tuple(float(gold is not None and final_answer(r.text) == gold) for r in replies)
    return Question(replies, right, (0.0,) * len(replies))


def golds(folder: Path) -> dict[str, str | None]:
    """Return the final answers of the questions, by their ids."""
    table = pd.read_parquet(folder / QUESTIONS / "data.parquet", columns=["prompt_id", "gold"])
    return dict(zip(table.prompt_id.astype(str), map(final_answer, table.gold), strict=True))


def other_half(scores: Floats, seed: int) -> Floats:
    """Return, for each prompt, the mean score over the half that it is not in."""
    half = np.random.default_rng(seed).permutation(len(scores)) % 2
    return np.where(half == 0, scores[half == 1].mean(axis=0), scores[half == 0].mean(axis=0))


# --- many models' answers ---


def of_models(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of votes of many models, and of the models alone."""
    names, questions, scores = read_models(options.data)
    half = folds_of(tuple(map(str, range(len(questions)))), options.seed) % 2
    means = np.array([scores[half != h].mean(axis=0) for h in (0, 1)])[half]
    usd = np.array([q.usd for q in questions]).mean(axis=0)
    decisions = [
        deciding(dict(zip(names, row, strict=True)), dict(zip(names, usd, strict=True)))
        for row in means
    ]
    voting = SelfConsistency(samples=len(names), voters="all", at_once=1)
    every = outcomes(by_weight, questions, decisions)
    ways: dict[str, Rule] = {
        f"voters by price, certainty {c}": by_voting(replace(voting, certainty=c))
        for c in CERTAINTIES
    }
    ways["all, by weight"] = by_weight
    ways["all, one vote each"] = by_first(len(names))
    ways["best single (other half)"] = by_best
    ways["cheapest"] = by_first(1)
    ways["random"] = by_chance(options.seed)
    return {
        "questions": len(questions),
        "samples": len(names),
        "models": list(names),
        "mean_score": float(scores.mean()),
        "ways": {
            name: measured(questions, rule, decisions, every, options)
            for name, rule in ways.items()
        },
    }


def read_models(folder: Path) -> tuple[tuple[str, ...], list[Question], Floats]:
    """Return models, the cheapest first, what they said to each question, and its scores."""
    table = pd.read_parquet(folder / ANSWERS / "data.parquet").astype({"model": str})
    counts = table.groupby("model").prompt_id.nunique()
    listed = _tables.list_prices(folder, LISTED)
    names = [m for m in counts[counts >= min(FEWEST_SCORED, counts.max())].index if m in listed]
    table = table[table.model.isin(names)]
    per_token = [np.array([listed[m][side] for m in table.model]) for side in (0, 1)]
    usd = (tokens(table.prompt) * per_token[0] + tokens(table.answer) * per_token[1]) / 1e6
    table = table.assign(usd=usd)
    order = list(table.groupby("model").usd.mean().sort_values().index)
    questions, scores = [], []
    for _, of_one in table.groupby("prompt_id", sort=True):
        if len(of_one) == len(order):
            rows = of_one.set_index("model").loc[order]
            replies = tuple(map(Reply, order, [None] * len(order), rows.answer))
            questions.append(Question(replies, tuple(rows.score), tuple(rows.usd)))
            scores.append(list(rows.score))
    return tuple(order), questions, np.array(scores, float)


def shuffled(options: argparse.Namespace) -> list[Question]:
    """Return the models' answers in any order, as if one candidate had drawn all of them."""
    rng = np.random.default_rng(options.seed)
    found = []
    for question in read_models(options.data)[1]:
        order = rng.permutation(len(question.replies))
        replies = tuple(replace(question.replies[i], candidate=MODEL) for i in order)
        found.append(
            Question(replies, tuple(question.right[i] for i in order), (0.0,) * len(order))
        )
    return found


# --- rules ---


def deciding(qualities: Mapping[str, float], usd: Mapping[str, float] | None = None) -> Decision:
    """Return a decision with these predicted qualities and costs, the first one chosen."""
    estimates = tuple(
        Estimate(name, float(q), float(q), float(q), cost_usd=usd[name] if usd else None)
        for name, q in qualities.items()
    )
    names = tuple(qualities)
    return Decision("id", names[0], "replayed", False, estimates, allowed=names)


def by_strategy(certainty: float) -> Rule:
    """Return the rule that draws samples by the strategy's own code."""
    return by_voting(SelfConsistency(samples=SAMPLES, certainty=certainty, at_once=1))


def by_voting(strategy: SelfConsistency) -> Rule:
    """Return the rule that replays answers through a strategy."""

    def drawn(question: Question, decision: Decision) -> Outcome:
        steps = strategy.steps(Prompt((Turn("user", ""),), 1), decision)
        left = list(enumerate(question.replies))
        places: list[int] = []
        try:
            wishes = next(steps)
            while True:
                granted = []
                for wish in wishes:
                    if isinstance(wish, Ask):
                        taken = next(pair for pair in left if pair[1].candidate == wish.candidate)
                        left.remove(taken)
                        places.append(taken[0])
                        granted.append(taken[1])
                    else:
                        granted.append(wish)
                wishes = steps.send(tuple(granted))
        except StopIteration as stop:
            chosen = next(i for i, reply in enumerate(question.replies) if reply is stop.value)
        return Outcome(len(places), chosen, sum(question.usd[i] for i in places))

    return drawn


def by_first(count: int) -> Rule:
    """Return the rule that takes the majority of the first ones."""
    return lambda question, _: _first(question, count)


def _first(question: Question, count: int) -> Outcome:
    return Outcome(count, majority(question, [1.0] * count), sum(question.usd[:count]))


def by_uniform(question: Question, _: Decision) -> Outcome:
    """Stop by the rule of Aggarwal et al.: Beta(1, 1) on the two answers ahead."""
    for count in range(1, len(question.replies)):
        votes = sorted(counted(question, count).values(), reverse=True) or [0]
        if ahead(votes[0], votes[1] if len(votes) > 1 else 0) > UNIFORM:
            return _first(question, count)
    return _first(question, len(question.replies))


def ahead(first: int, second: int) -> float:
    """Return P(p > 1/2) of Beta(first + 1, second + 1): a sum of binomial terms."""
    n = first + second + 1
    return sum(comb(n, k) for k in range(first + 1)) / 2**n


def by_oracle(question: Question, _: Decision) -> Outcome:
    """Stop as soon as the majority is that of all."""
    keys = [key_of(reply) for reply in question.replies]
    wanted = keys[majority(question, [1.0] * len(keys))]
    counts = range(1, len(keys) + 1)
    stop = next(n for n in counts if keys[majority(question, [1.0] * n)] == wanted)
    return _first(question, stop)


def by_weight(question: Question, decision: Decision) -> Outcome:
    """Take the weighted majority of all."""
    weights = [vote_weight(e.quality) for e in decision.estimates]
    return Outcome(len(weights), majority(question, weights), sum(question.usd))


def by_best(question: Question, decision: Decision) -> Outcome:
    """Take the answer of the candidate with the best predicted quality."""
    best = int(np.argmax([e.quality for e in decision.estimates]))
    return Outcome(1, best, question.usd[best])


def by_chance(seed: int) -> Rule:
    """Return the rule that takes any one answer."""
    rng = np.random.default_rng(seed)

    def drawn(question: Question, _: Decision) -> Outcome:
        place = int(rng.integers(len(question.replies)))
        return Outcome(1, place, question.usd[place])

    return drawn


def counted(question: Question, count: int) -> dict[Any, int]:
    """Return how often each answer was given by the first ones."""
    found: dict[Any, int] = {}
    for reply in question.replies[:count]:
        if (key := key_of(reply)) is not None:
            found[key] = found.get(key, 0) + 1
    return found


def majority(question: Question, weights: Sequence[float]) -> int:
    """Return the place of the first reply with the majority's answer; 0 where none has one."""
    votes: dict[Any, float] = {}
    first: dict[Any, int] = {}
    for place, (reply, weight) in enumerate(zip(question.replies, weights, strict=False)):
        if (key := key_of(reply)) is not None:
            votes[key] = votes.get(key, 0.0) + weight
            first.setdefault(key, place)
    if not votes:
        return 0
    return first[max(votes, key=lambda key: (round(votes[key], 9), -first[key]))]


# --- figures ---


def measured(
    questions: Sequence[Question],
    rule: Rule,
    decisions: Sequence[Decision],
    every: Sequence[Outcome],
    options: argparse.Namespace,
) -> dict[str, Figure]:
    """Return what a rule draws, spends, and loses beside the outcomes of one that draws all."""
    rows = list(_rows(questions, rule, decisions, every))
    found = with_intervals(_figures, *np.array(rows).T, draws=options.draws, seed=options.seed)
    names = ("drawn", "times_fewer", "agreement", "accuracy", "points_lost", "usd_per_1000")
    return dict(zip(names, found, strict=True))


def outcomes(
    rule: Rule, questions: Sequence[Question], decisions: Sequence[Decision]
) -> list[Outcome]:
    """Return what a rule makes of each question."""
    return [rule(one, decision) for one, decision in zip(questions, decisions, strict=True)]


def _rows(
    questions: Sequence[Question],
    rule: Rule,
    decisions: Sequence[Decision],
    every: Sequence[Outcome],
) -> Iterator[tuple[float, ...]]:
    for question, decision, all_of in zip(questions, decisions, every, strict=True):
        one = rule(question, decision)
        keys = [key_of(question.replies[o.chosen]) for o in (one, all_of)]
        right = question.right[one.chosen], question.right[all_of.chosen]
        yield (one.drawn, len(question.replies), keys[0] == keys[1], *right, one.usd)


def _figures(*columns: Floats) -> Floats:
    drawn, most, same, right, right_of_all, usd = (column.mean() for column in columns)
    lost = 100 * (right_of_all - right)
    return np.array([drawn, most / drawn, same, right, lost, 1000 * usd])


def drawn_table(found: Mapping[str, Any], *, usd: bool) -> str:
    """Return the figures as a Markdown table."""
    titles = ["way", "drawn", "times fewer", "same answer", "accuracy", "points lost"]
    rows = []
    for name, one in found.items():
        row = [name, _page.shown(one["drawn"], 2), _page.shown(one["times_fewer"], 2)]
        row += [_page.shown(one["agreement"]), _page.shown(one["accuracy"])]
        row += [_page.shown(one["points_lost"], 2)]
        rows.append([*row, _page.shown(one["usd_per_1000"])] if usd else row)
    return _page.markdown([*titles, "USD per 1,000"] if usd else titles, rows)


# --- drawing ---


def draw_samples(options: argparse.Namespace) -> None:
    """Ask a server for samples of some questions, eight at a time, and write them as they come."""
    from openai import OpenAI

    client = OpenAI(base_url=options.base_url, timeout=600)
    table = pd.read_parquet(options.data / QUESTIONS / "data.parquet")
    asked = table.drop_duplicates("prompt_id").sample(options.questions, random_state=options.seed)

    def one(job: tuple[str, str, int]) -> str:
        name, prompt, sample = job
        answer = client.chat.completions.create(
            model=options.model,
            messages=[{"role": "user", "content": prompt + ASKED}],
            temperature=0.7,
            max_tokens=448,
            seed=options.seed + sample,
        )
        choice, usage = answer.choices[0], answer.usage
        row = {"set": "test", "prompt_id": name, "sample": sample}
        row |= {"text": choice.message.content, "finish_reason": choice.finish_reason}
        return json.dumps({**row, "tokens": usage.completion_tokens if usage else 0})

    rows = zip(asked.prompt_id.astype(str), asked.prompt, strict=True)
    jobs = [(name, prompt, sample) for name, prompt in rows for sample in range(SAMPLES)]
    with options.draw.open("w", encoding="utf-8") as file, ThreadPoolExecutor(8) as pool:
        for line in pool.map(one, jobs):
            file.write(line + "\n")


if __name__ == "__main__":
    main()
