"""The trade-off: which of the allowed candidates is the cheapest that is good enough.

In: the allowed candidates and an estimate for each. Out: the candidates in the order in
which they are tried, and the reason for the first, in words and numbers.

Of the allowed candidates, *eligible* are those whose predicted quality is within δ of the best.
Of these the lowest objective wins; ties and unknown prices go to the weaker. Prediction and
decision are apart, so the trade-off is retuned without retraining anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared_core.errors import ConfigurationError, NotCalibratedError
from shared_core.ranges import is_number
from shared_core.types import Candidate, Constraint, Estimate, as_constraints

__all__ = ["Contender", "Policy", "Threshold"]

Contender = tuple[Candidate, Estimate]
"""A candidate with its estimate for the prompt at hand."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Threshold:
    """How far under the best predicted quality a candidate may be.

    Attributes:
        delta: δ, 0 to 1.
        calibrated: A sample bears out what the policy promises.
        note: Where δ comes from, in words and numbers.
        prompts_needed: About how many more scored prompts would bear it out, if that is known.
    """

    delta: float
    calibrated: bool
    note: str
    prompts_needed: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How much quality may be given up for money, energy and time, and what may never happen.

    Attributes:
        quality: Share of the best candidate's quality to keep, over 0 and up to 1. Until it is
            calibrated on scored prompts, δ is 1 - quality in predicted quality, prompt by prompt,
            and decisions say `calibrated: false`. 0.95 unless given.
        strong_share: Instead of `quality`: at most this share of the prompts (0 to 1) leaves the
            cheapest allowed candidate. Needs a calibration.
        prefer_local: Take an eligible candidate that runs locally before all others.
        stay_in_tool_loop: Have a tool's result read by the candidate that called the tool, where it
            is allowed, unless its steps run into trouble: another one would miss its thoughts and
            its provider's prompt cache. False: every step is routed anew.
        subject_to: Constraints that always hold, by hand: see `Constraint`.
        usd_per_kwh: What a kWh is worth, in USD: weighs energy in the objective, and is what a
            local candidate without a price costs.
        usd_per_second: What a second of waiting is worth, in USD.

    Raises:
        ConfigurationError: A value is out of range, or quality and strong_share are both given.
    """

    quality: float | None = None
    strong_share: float | None = None
    prefer_local: bool = False
    stay_in_tool_loop: bool = True
    subject_to: Sequence[Constraint] = ()
    usd_per_kwh: float = 0.0
    usd_per_second: float = 0.0

    def __post_init__(self) -> None:
        """Fill in the default and refuse what cannot be meant."""
        if self.quality is not None and self.strong_share is not None:
            raise ConfigurationError("policy: give quality or strong_share, not both")
        if self.quality is None and self.strong_share is None:
            object.__setattr__(self, "quality", 0.95)
        for label in ("quality", "strong_share", "usd_per_kwh", "usd_per_second"):
            value = getattr(self, label)
            if value is not None:
                _check_rate(label, value)
        if self.quality == 0:
            raise ConfigurationError("policy: quality must be over 0, not 0")
        object.__setattr__(self, "subject_to", as_constraints("policy", self.subject_to))

    def delta(self) -> float:
        """Return δ where nothing has been calibrated.

        Raises:
            NotCalibratedError: The policy gives a share of prompts, not a quality.
        """
        if self.quality is None:
            raise NotCalibratedError(
                "policy: strong_share needs a calibration on a sample of prompts; "
                "until there is one, use Policy(quality=...)"
            )
        return 1.0 - self.quality

    def order(
        self, allowed: Sequence[Contender], delta: float | None = None
    ) -> tuple[list[Contender], str]:
        """Return the contenders in the order to try them, and the reason for the first.

        Args:
            allowed: Those that no constraint refuses, weakest first; at least one.
            delta: How far under the best predicted quality a candidate may be; None for what
                holds where nothing has been calibrated.
        """
        delta = self.delta() if delta is None else delta
        best = max(allowed, key=lambda contender: contender[1].quality)
        floor = best[1].quality - delta
        eligible = [c for c in allowed if c[1].quality >= floor - _ROUNDING]
        others = sorted(
            (c for c in allowed if c[1].quality < floor - _ROUNDING),
            key=lambda contender: -contender[1].quality,
        )
        order, remaining = [], list(eligible)
        while remaining:
            order.append(self._preferred(remaining))
            remaining.remove(order[-1])
        return order + others, self._reason(order[0], eligible, best, len(allowed), delta)

    def _preferred(self, eligible: Sequence[Contender]) -> Contender:
        if self.prefer_local:
            eligible = [c for c in eligible if c[0].local] or eligible
        chosen, lowest = eligible[0], self.objective(eligible[0][1])
        for contender in eligible[1:]:
            objective = self.objective(contender[1])
            if objective is not None and lowest is not None and objective < lowest:
                chosen, lowest = contender, objective
        return chosen

    def objective(self, estimate: Estimate) -> float | None:
        """Return cost + energy x usd_per_kwh + seconds x usd_per_second in USD, None if unknown.

        A cost that is itself the price of the energy is not counted twice.
        """
        total = estimate.cost_usd
        energy, seconds = estimate.energy_wh, estimate.latency_s
        if total is not None and self.usd_per_kwh and not estimate.pays_energy:
            total = None if energy is None else total + energy / 1000 * self.usd_per_kwh
        if total is not None and self.usd_per_second:
            total = None if seconds is None else total + seconds * self.usd_per_second
        return total

    def _reason(
        self,
        chosen: Contender,
        eligible: Sequence[Contender],
        best: Contender,
        allowed: int,
        delta: float,
    ) -> str:
        name = chosen[0].name
        if allowed == 1:
            return f"{name} is the only candidate allowed"
        quality = f"predicted quality, {best[1].quality:.2f}"
        if len(eligible) == 1:
            return f"no other candidate is within {delta:.2f} of {name}'s {quality}"
        within = f"of the {len(eligible)} within {delta:.2f} of the best {quality} ({best[0].name})"
        if self.prefer_local and chosen[0].local:
            return f"{name} runs locally and is one {within}"
        objective = self.objective(chosen[1])
        if objective is None:
            return f"{name} is the weakest {within}; not every price is known"
        parts = self._parts()
        return f"{name} has the lowest estimated {parts}, {objective:.2g} USD, {within}"

    def _parts(self) -> str:
        """Say what the objective is made of."""
        rates = [
            (self.usd_per_kwh, f"energy at {self.usd_per_kwh:g} USD/kWh"),
            (self.usd_per_second, f"time at {self.usd_per_second:g} USD/s"),
        ]
        return " + ".join(["cost", *(words for rate, words in rates if rate)])


def _check_rate(label: str, value: object) -> None:
    if not is_number(value, 0):
        raise ConfigurationError(f"policy: {label} must be a number from 0 up, not {value!r}")
    if label in ("quality", "strong_share") and value > 1:
        raise ConfigurationError(f"policy: {label} is a share and must not exceed 1, not {value!r}")
