"""A predictor beside the baselines it has to beat, as JSON and as text.

In: predictions and outcomes for prompts that the predictor was not trained on. Out: a report,
plain JSON: how each way of ordering prompts does, what each way of routing them scores and costs,
and how far the predicted qualities can be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared_core.decision.calibration import routed
from shared_core.decision.policy import Policy
from shared_core.errors import TableError
from shared_core.lab.evaluate import (
    Figure,
    auc,
    brier,
    calibration_error,
    cost_quality,
    with_intervals,
)
from shared_core.lab.table import Outcomes
from shared_core.types import CalibrationSample, Candidate

__all__ = ["Ladder", "as_text", "ladder", "make_report", "orders"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ladder:
    """The models of a table from cheap to dear, and the two ends that matter.

    Attributes:
        models: All of them, cheapest first.
        by: What they are sorted by: "mean cost" where it is known of all, else "mean score".
        cost: Mean USD of an answer, in their order; NaN where unknown.
        best: The model with the highest mean score: the best single one.
    """

    models: tuple[str, ...]
    by: str
    cost: Floats
    best: str

    @property
    def cheapest(self) -> str:
        """The first of them."""
        return self.models[0]


def ladder(outcomes: Outcomes) -> Ladder:
    """Sort the models of a table by what they cost; means are over the answers of each."""
    score = _means(outcomes.scores)
    cost = _means(outcomes.cost)
    known = not np.isnan(cost).any()
    order = np.argsort(cost if known else score, kind="stable")
    return Ladder(
        models=tuple([outcomes.models[place] for place in order]),
        by="mean cost" if known else "mean score",
        cost=cost[order],
        best=outcomes.models[int(np.argmax(score))],
    )


def make_report(
    sample: CalibrationSample,
    outcomes: Outcomes,
    delta: float,
    *,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure predictions against what came out.

    Args:
        sample: Predicted qualities of the table's prompts, in its order.
        outcomes: What came out; models that the sample lacks are left out.
        delta: How far under the best predicted quality the router may go, 0 to 1.
        draws: Bootstrap samples behind each interval.
        seed: Of the draws.
        progress: Is told (steps done, steps in all).

    Raises:
        TableError: The table has fewer than two of the models.
    """
    outcomes = outcomes.subset(slice(None), sample.names)
    if len(sample.names) < 2:
        raise TableError(
            f"the table has only {', '.join(sample.names)} of the predictor's models: routing is "
            "evaluated on prompts with scores of at least two"
        )
    steps = _Steps(len(sample.names) + 10, progress)

    def figures(statistic: Callable[..., Any], *arrays: Floats) -> list[Figure]:
        steps.next()
        return with_intervals(statistic, *arrays, draws=draws, seed=seed)

    rungs = ladder(outcomes)
    report: dict[str, Any] = {
        "prompts": len(outcomes.prompts),
        "models": list(rungs.models),
        "sorted_by": rungs.by,
        "cheapest": rungs.cheapest,
        "best_single": rungs.best,
        "delta": round(delta, 4),
        "seed": seed,
        "draws": draws,
        "order": {},
        "routing": {},
        "predicted_quality": {},
    }
    if rungs.cheapest != rungs.best:
        gain, ways = orders(sample, outcomes, rungs)
        for way, order_by in ways.items():
            found = figures(cost_quality, order_by, gain)
            report["order"][way] = dict(zip(("apgr", "cpt50", "cpt80"), found, strict=True))
        report["order_prompts"] = len(gain)
    for way, route in _routes(sample, outcomes, rungs, delta).items():
        report["routing"][way] = _route(*route, figures)
    for place, name in enumerate(sample.names):
        known = ~np.isnan(outcomes.scores[:, place])
        pair = sample.predicted[known, place], outcomes.scores[known, place]
        found = figures(_believed, *pair)
        report["predicted_quality"][name] = {
            **dict(zip(("ece", "brier", "auc"), found, strict=True)),
            "prompts": int(known.sum()),
        }
    steps.finish()
    return report


def orders(
    sample: CalibrationSample, outcomes: Outcomes, rungs: Ladder
) -> tuple[Floats, dict[str, Floats]]:
    """Return the gain of the best over the cheapest model, and ways to order prompts by."""
    weak, strong = sample.names.index(rungs.cheapest), sample.names.index(rungs.best)
    both = ~np.isnan(outcomes.scores[:, [weak, strong]]).any(axis=1)
    if not both.any():
        raise TableError(
            f"no prompt of the table has scores of both {rungs.cheapest} and {rungs.best}"
        )
    gain = outcomes.scores[both, strong] - outcomes.scores[both, weak]
    lengths = np.array([len(prompt) for prompt in outcomes.prompts], float)
    return gain, {
        "router": (sample.predicted[:, strong] - sample.predicted[:, weak])[both],
        "prompt length": lengths[both],
        "random": np.zeros(len(gain)),  # equal ones: what random orders give on average
        "oracle": gain,
    }


def _routes(
    sample: CalibrationSample, outcomes: Outcomes, rungs: Ladder, delta: float
) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Return score, cost (USD) and "not the cheapest" (1 or 0) of every prompt, way by way.

    Only prompts count for which every model has a score; without any, there is nothing to show.
    """
    columns = [outcomes.models.index(name) for name in rungs.models]
    whole = np.asarray(~np.isnan(outcomes.scores).any(axis=1))
    scores, costs = outcomes.scores[whole][:, columns], outcomes.cost[whole][:, columns]
    if not len(scores):
        return {}
    predicted = np.asarray(sample.predicted, np.float64)[whole][:, columns]
    candidates = [Candidate(name, None) for name in rungs.models]
    usual = np.broadcast_to(rungs.cost, scores.shape).astype(np.float64)
    router = routed(Policy(), candidates, predicted, usual, delta)
    best = rungs.models.index(rungs.best)
    lengths = np.array([len(p) for p, kept in zip(outcomes.prompts, whole, strict=True) if kept])
    longest = np.argsort(-lengths, kind="stable")[: int((router != 0).sum())]
    by_length = np.zeros(len(scores), int)
    by_length[longest] = best
    choices = {
        "router": router,
        "prompt length": by_length,
        "cheapest": np.zeros(len(scores), int),
        "best single": np.full(len(scores), best),
        "oracle": scores.argmax(axis=1),  # of equal ones the cheapest
    }
    rows = np.arange(len(scores))
    routes = {
        way: (scores[rows, at], costs[rows, at], (at != 0).astype(float))
        for way, at in choices.items()
    }
    others = np.full(len(scores), 1 - 1 / len(candidates))
    routes["random"] = scores.mean(axis=1), costs.mean(axis=1), others
    return routes


def _route(
    score: Floats, cost: Floats, dearer: Floats, figures: Callable[..., list[Figure]]
) -> dict[str, Any]:
    # One unknown cost makes the mean NaN, and the figure "not known".
    columns = ("score", "usd_per_1000_prompts", "share_not_cheapest")
    found = figures(lambda *all_: [part.mean() for part in all_], score, cost * 1000, dearer)
    return {**dict(zip(columns, found, strict=True)), "prompts": len(score)}


def _believed(predicted: Floats, scores: Floats) -> list[float]:
    return [
        calibration_error(predicted, scores),
        brier(predicted, scores),
        auc(predicted, scores),
    ]


def _means(table: Floats) -> Floats:
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    sums = np.where(known, table, 0.0).sum(axis=0)
    return np.asarray(np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0))


class _Steps:
    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def next(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(min(self.done, self.total) - 1, self.total)

    def finish(self) -> None:
        if self.progress:
            self.progress(self.total, self.total)


def as_text(report: Mapping[str, Any]) -> str:
    """Return a report as three tables of plain text."""
    parts = []
    if report["order"]:
        heading = (
            f"Order in which prompts go from {report['cheapest']} to {report['best_single']}, "
            f"{report['order_prompts']} prompts (lowest {report['sorted_by']}; highest mean score)"
        )
        columns = ("apgr", "cpt50", "cpt80")
        parts.append(
            _table(heading, ("order by", "APGR", "CPT50", "CPT80"), report["order"], columns)
        )
    else:
        parts.append(
            f"{report['best_single']} has the highest mean score and the lowest "
            f"{report['sorted_by'].removeprefix('mean ')}: there is nothing to trade"
        )
    if report["routing"]:
        prompts = report["routing"]["router"]["prompts"]
        heading = (
            f"Routing, δ = {report['delta']:.3f}, "
            f"{prompts} prompts for which every model has a score"
        )
        titles = ("way", "mean score", "USD/1,000 prompts", "share not to the cheapest")
        columns = ("score", "usd_per_1000_prompts", "share_not_cheapest")
        parts.append(_table(heading, titles, report["routing"], columns))
    else:
        parts.append("No prompt has a score of every model: routing is not evaluated")
    parts.append(
        _table(
            "Predicted quality",
            ("model", "ECE", "Brier", "AUC"),
            report["predicted_quality"],
            ("ece", "brier", "auc"),
        )
    )
    parts.append("In brackets: 95 % bootstrap interval over prompts.")
    return "\n\n".join(parts)


def _table(
    heading: str, titles: Sequence[str], rows: Mapping[str, Any], columns: Sequence[str]
) -> str:
    cells = [list(titles)]
    cells += [[name, *(_shown(row[column]) for column in columns)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([heading, *(f"  {line.rstrip()}" for line in lines)])


def _shown(figure: Figure) -> str:
    if figure["value"] is None:
        return "not known"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
