"""A report's two pictures, as PNG. Needs matplotlib (`[train]`), and no display.

In: predictions and outcomes, as `make_report` takes them. Out: the bytes of a PNG file.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shared_core.errors import MissingExtraError
from shared_core.lab.evaluate import calibration_error, equal_mass_bins
from shared_core.lab.report import Ladder, orders
from shared_core.lab.table import Outcomes
from shared_core.types import CalibrationSample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["calibration_diagram", "cost_quality_curve"]

Floats = npt.NDArray[np.floating[Any]]

_STYLES: dict[str, dict[str, Any]] = {
    "router": {"color": "#0b6e4f", "linewidth": 2.2},
    "prompt length": {"color": "#c05621", "linestyle": "--"},
    "random": {"color": "#718096", "linestyle": ":"},
    "oracle": {"color": "#2b6cb0", "linestyle": "-."},
}


def calibration_diagram(sample: CalibrationSample, outcomes: Outcomes) -> bytes:
    """Draw mean score against predicted quality, all models together, in bins of equal mass."""
    outcomes = outcomes.subset(slice(None), sample.names)
    known = ~np.isnan(outcomes.scores)
    predicted, scores = np.asarray(sample.predicted, float)[known], outcomes.scores[known]
    expected, observed, answers = equal_mass_bins(predicted, scores)
    low, high = _wilson(observed, answers)
    figure, axes = _picture()
    axes.plot([0, 1], [0, 1], color="#718096", linestyle=":", label="as predicted")
    axes.errorbar(
        expected,
        observed,
        yerr=[observed - low, high - observed],
        color="#0b6e4f",
        marker="o",
        capsize=2,
        clip_on=False,
        label=f"{len(answers)} bins of about {answers.mean():.0f} answers, 95 % interval",
    )
    axes.set_xlabel("predicted quality (0 to 1)")
    axes.set_ylabel("mean score (0 to 1)")
    axes.set_title(f"Calibration: ECE {calibration_error(predicted, scores):.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left", fontsize="small")
    return _png(figure)


def _wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's 95 % interval of a share of n; a mean of scores varies less.

    Unlike the usual one it does not vanish where all n are alike.
    """
    z = 1.96**2 / n
    middle = (share + z / 2) / (1 + z)
    half = np.sqrt(z * share * (1 - share) + z**2 / 4) / (1 + z)
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def cost_quality_curve(sample: CalibrationSample, outcomes: Outcomes, rungs: Ladder) -> bytes:
    """Draw mean score against cost while more and more prompts go from cheapest to best model.

    The cost is USD per 1,000 prompts where the table has that of every answer, else the share of
    prompts that go to the best model.
    """
    outcomes = outcomes.subset(slice(None), sample.names)
    gain, ways = orders(sample, outcomes, rungs)
    both = outcomes.pair(rungs.cheapest, rungs.best)
    cheap, best = both.scores.mean(axis=0)
    priced = not np.isnan(both.cost).any()
    extra = (both.cost[:, 1] - both.cost[:, 0]) * 1000 if priced else np.full(len(gain), 100.0)
    start = both.cost[:, 0].mean() * 1000 if priced else 0.0
    figure, axes = _picture()
    for way, order_by in ways.items():
        x, y = _path(order_by, extra, gain)
        axes.plot(start + x, cheap + y, label=way, **_STYLES[way])
    ends = [start, start + extra.mean()]
    axes.plot(ends[0], cheap, "o", color="black", label=f"cheapest: {rungs.cheapest}")
    axes.plot(ends[1], best, "s", color="black", label=f"best single: {rungs.best}")
    axes.set_xlabel("USD per 1,000 prompts" if priced else f"prompts that go to {rungs.best} (%)")
    axes.set_ylabel("mean score (0 to 1)")
    axes.set_title(f"Cost and quality, {len(gain)} prompts")
    axes.legend(loc="lower right", fontsize="small")
    return _png(figure)


def _path(order_by: Floats, extra: Floats, gain: Floats) -> tuple[Floats, Floats]:
    """Return mean extra cost and mean gain as prompts move over, equal ones together."""
    _, group = np.unique(-np.asarray(order_by, float), return_inverse=True)
    steps = [np.concatenate([[0.0], np.cumsum(np.bincount(group, part))]) for part in (extra, gain)]
    return steps[0] / len(gain), steps[1] / len(gain)


def _picture() -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train") from error
    figure = Figure(figsize=(6.4, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes


def _png(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()
