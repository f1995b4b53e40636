"""The arithmetic of the tables: trials in, one `Row` of numbers per strategy out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from examples.demo.trials import Call, Trial

ROUTERS = ("ChatRouter", "RouterLLM")
Z_95 = 1.959964  # the normal quantile of a two-sided interval of 95 %


@dataclass(frozen=True)
class Row:
    """What one strategy did on all prompts; parts of calls are expected values.

    Attributes:
        strategy: Its name.
        prompts: How many prompts.
        calls: Calls per model.
        tokens_in: Tokens of all prompts, as the models counted them.
        tokens_out: Tokens of all answers.
        seconds: Time of all calls.
        right: Right answers.
        wh: Wh of all calls.
    """

    strategy: str
    prompts: int
    calls: Mapping[str, float]
    tokens_in: float
    tokens_out: float
    seconds: float
    right: float
    wh: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share of right answers, 0 to 1."""
        return wilson(self.right, self.prompts)


def wilson(right: float, total: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 22 (1927), 209-212).

    Args:
        right: How many of `total`; an expected value need not be whole.
        total: How many there are.
        z: The normal quantile.

    Returns:
        Its ends, 0 to 1.
    """
    if not total:
        return 0.0, 1.0
    share = right / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def row(strategy: str, calls: Sequence[Call]) -> Row:
    """Adds calls up, one per prompt. A failed call counts as a prompt, but as no model's call."""
    answers = [call.answer for call in calls if call.answer]
    counts: dict[str, float] = {}
    for answer in answers:
        counts[answer.candidate] = counts.get(answer.candidate, 0) + 1
    return Row(
        strategy=strategy,
        prompts=len(calls),
        calls=counts,
        tokens_in=sum(answer.tokens_in for answer in answers),
        tokens_out=sum(answer.tokens_out for answer in answers),
        seconds=sum(call.seconds for call in calls),
        right=sum(call.right for call in calls),
        wh=sum(call.wh for call in calls),
    )


def mix(strategy: str, first: Row, second: Row, share: float) -> Row:
    """What to expect of chance that takes `second` with probability `share`, else `first`."""

    def between(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    names = dict.fromkeys([*first.calls, *second.calls])
    return Row(
        strategy=strategy,
        prompts=first.prompts,
        calls={n: between(first.calls.get(n, 0), second.calls.get(n, 0)) for n in names},
        tokens_in=between(first.tokens_in, second.tokens_in),
        tokens_out=between(first.tokens_out, second.tokens_out),
        seconds=between(first.seconds, second.seconds),
        right=between(first.right, second.right),
        wh=between(first.wh, second.wh),
    )


def best_call(trial: Trial, models: Sequence[str]) -> Call:
    """What an oracle would do: the first model that is right, or the first if none is.

    Args:
        trial: One prompt with its calls.
        models: Names of the models, cheapest first.
    """
    calls = [trial.calls[name] for name in models]
    return next((call for call in calls if call.right), calls[0])


def share_of(model: str, trials: Sequence[Trial]) -> float:
    """The share of routed calls that `model` answered, over both routers, 0 to 1."""
    answers = [trial.calls[router].answer for trial in trials for router in ROUTERS]
    answered = [answer.candidate for answer in answers if answer]
    return answered.count(model) / len(answered) if answered else 0.0


def rows(trials: Sequence[Trial], models: Sequence[str], share: float) -> list[Row]:
    """One row per strategy.

    Args:
        trials: The prompts with their calls.
        models: Names of the one or two models, cheapest first.
        share: The share of calls that chance gives to the last model, 0 to 1.
    """
    alone = [row(f"always {name}", [trial.calls[name] for trial in trials]) for name in models]
    compared = []
    if len(models) > 1:
        chance = mix(f"random, {share:.0%} {models[-1]}", alone[0], alone[-1], share)
        oracle = row("oracle", [best_call(trial, models) for trial in trials])
        compared = [chance, oracle]
    routed = [row(name, [trial.calls[name] for trial in trials]) for name in ROUTERS]
    return [*alone, *compared, *routed]


def rows_by_kind(
    trials: Sequence[Trial], models: Sequence[str], share: float
) -> dict[str, list[Row]]:
    """The same rows for each kind of prompt alone, in the order in which kinds first occur."""
    kinds = dict.fromkeys(trial.prompt.kind for trial in trials)
    return {
        kind: rows([trial for trial in trials if trial.prompt.kind == kind], models, share)
        for kind in kinds
    }


def unanswered(trials: Sequence[Trial]) -> list[tuple[str, Trial]]:
    """Every routed call that brought no answer, as (router, trial)."""
    return [
        (router, trial)
        for trial in trials
        for router in ROUTERS
        if not trial.calls[router].answered
    ]


def same_words(trials: Sequence[Trial]) -> tuple[int, int]:
    """How many routed answers are word for word what the chosen model says alone.

    Returns:
        (the same, all routed answers).
    """
    pairs = [
        (answer, trial.calls[answer.candidate].answer)
        for trial in trials
        for router in ROUTERS
        if (answer := trial.calls[router].answer)
    ]
    same = [alone is not None and alone.text == routed.text for routed, alone in pairs]
    return sum(same), len(same)
