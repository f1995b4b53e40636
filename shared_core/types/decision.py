"""What each candidate would do, who answers, who was refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "COMMON_OVERLAP",
    "CalibrationSample",
    "Decision",
    "Detail",
    "Estimate",
    "Phase",
    "Refusal",
]

Phase = Literal["planning", "reading a tool's result", "after an error", "stall"]
"""Which step of an agent a call is: tools are on offer and nothing was called yet; a tool has
answered; its answer was an error, or the call could not be parsed; the same call was made again."""

COMMON_OVERLAP = 0.63
"""How far two models are right about the same prompts where nobody has looked: the correlation of
what makes them right, 0 to 1. The mean of four data sets, over all pairs of their 29 to 48 models:
MATH .45, MMLU-Pro .58, CRUXEval .70, ZebraLogic .79 (examples.benchmarks.mixture). As the plain
correlation of their errors that is .25, .37, .43 and .48."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one candidate is expected to do with one prompt. None is unknown, never zero.

    Attributes:
        candidate: Its name.
        quality: Probability that its answer is good, 0 to 1.
        quality_low: Lower end of the interval the predictor gives.
        quality_high: Upper end of it.
        output_tokens: Expected tokens of the answer.
        predicted_tokens: The same before past calls corrected it.
        cost_usd: USD.
        energy_wh: Wh, with `energy_wh_low` and `energy_wh_high` where an interval is known.
        latency_s: Seconds.
        cached_tokens: Of the input, what is expected to come out of the provider's prompt cache.
        energy_method: How the energy is known.
        worst_usd: Where the cost is unknown, the dearest that is known of any candidate, in USD.
        worst_wh: The same of the energy, in Wh.
        pays_energy: `cost_usd` is the price of the energy: nobody else is paid.
    """

    candidate: str
    quality: float
    quality_low: float
    quality_high: float
    output_tokens: int | None = None
    cost_usd: float | None = None
    energy_wh: float | None = None
    energy_wh_low: float | None = None
    energy_wh_high: float | None = None
    latency_s: float | None = None
    predicted_tokens: int | None = None
    cached_tokens: int = 0
    energy_method: str | None = None
    worst_usd: float | None = None
    worst_wh: float | None = None
    pays_energy: bool = False


@dataclass(frozen=True, eq=False)
class CalibrationSample:
    """Prompts of the traffic whose predicted qualities, and perhaps scores, are known.

    The predictions must come from a predictor that has not seen these prompts' scores.

    Attributes:
        names: Candidates, m of them.
        predicted: Predicted quality, 0 to 1, n prompts x m.
        input_tokens: Of each prompt, n.
        output_tokens: Expected of each answer, n x m; NaN where unknown.
        scores: How good each answer was, 0 to 1, n x m; NaN where nobody knows. None: no scores.
        prompts: A number for each prompt's text by which it is known again, n.
    """

    names: tuple[str, ...]
    predicted: npt.NDArray[np.floating[Any]]
    input_tokens: npt.NDArray[np.floating[Any]]
    output_tokens: npt.NDArray[np.floating[Any]]
    scores: npt.NDArray[np.floating[Any]] | None = None
    prompts: npt.NDArray[np.integer[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A candidate that is not asked, or only last, and why."""

    candidate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What lies behind a decision.

    Attributes:
        moved: What moved the predicted quality of each candidate: (measure or term, log odds), the
            largest first; empty where the predictor does not say.
        flips: What would have made others answer, a sentence each.
    """

    moved: Mapping[str, tuple[tuple[str, float], ...]]
    flips: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in lines of text."""
        lines = list(self.flips)
        for candidate, parts in self.moved.items():
            lines.append(f"what moved {candidate}, in log odds:")
            lines += [f"  {moved:+.2f}  {name}" for name, moved in parts]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers, and why; `print` it to read it.

    Attributes:
        id: Names this decision in records.
        candidate: The chosen candidate's name.
        reason: One sentence, in words and numbers.
        calibrated: The quality threshold comes from a calibration on scored prompts. What it
            promises was tested on questions; inside a tool loop the threshold is the same, but
            staying with a model, and the loop's evidence, are beside what was tested.
        estimates: One per candidate, weakest first, refused ones too; in a tool loop, lower for
            those whose steps failed.
        refusals: One per candidate that may not answer.
        fallbacks: The other allowed candidates, in the order in which they are tried.
        resting: Allowed candidates that have failed and are let rest, and why: tried last.
        predictor: Name of the predictor that made the estimates.
        delta: How far under the best predicted quality a candidate may be, 0 to 1.
        calibration: Where that comes from, in words and numbers.
        detail: What lies behind it, where that was asked for.
        plan: What the strategy makes of it, in words, where that was asked for.
        allowed: Everyone who may answer, weakest first.
        reasoners: Candidates known to reason when asked with the parameter "reasoning".
        wanted: In shadow mode, the candidate that would have been chosen.
        windows: Most input tokens of each candidate of which that is known.
        overlaps: How far two candidates are right about the same prompts, 0 to 1, by both names, in
            both orders, where the predictor knows and the strategy asks; see `COMMON_OVERLAP`.
        seconds: How long it took to decide.
        phase: Which step of an agent the call is; None outside of agents.
    """

    id: str
    candidate: str
    reason: str
    calibrated: bool
    estimates: tuple[Estimate, ...]
    refusals: tuple[Refusal, ...] = ()
    fallbacks: tuple[str, ...] = ()
    resting: tuple[Refusal, ...] = ()
    predictor: str = ""
    delta: float = 0.0
    calibration: str = ""
    detail: Detail | None = None
    plan: str = ""
    allowed: tuple[str, ...] = ()
    reasoners: frozenset[str] = frozenset()
    wanted: str | None = None
    windows: Mapping[str, int] = field(default_factory=dict, repr=False)
    overlaps: Mapping[tuple[str, str], float] = field(default_factory=dict, repr=False)
    seconds: float = field(default=0.0, compare=False)
    phase: Phase | None = None

    def __str__(self) -> str:
        """Say it in lines of text."""
        lines = [
            f"{self.candidate}: {self.reason}",
            *([f"step of an agent: {self.phase}"] if self.phase else []),
            f"calibrated: {'yes' if self.calibrated else 'no'} ({self.calibration})",
            *map(_line, self.estimates),
            *(f"  {refusal.candidate} is refused: {refusal.reason}" for refusal in self.refusals),
            *([self.plan] if self.plan else []),
        ]
        return "\n".join(lines if self.detail is None else [*lines, str(self.detail)])


def _line(estimate: Estimate) -> str:
    low, high = estimate.quality_low, estimate.quality_high
    parts = [f"  {estimate.candidate}: quality {estimate.quality:.2f} ({low:.2f} to {high:.2f})"]
    if estimate.output_tokens is not None:
        parts.append(f"about {estimate.output_tokens} output tokens")
    if estimate.cost_usd is not None:
        parts.append(f"{estimate.cost_usd:.2g} USD")
    if estimate.energy_wh is not None:
        parts.append(f"{estimate.energy_wh:.2g} Wh")
    return ", ".join(parts)
