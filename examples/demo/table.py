"""The closing tables: results of the passes in, rows beside honest baselines out."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from examples.demo.passes import Result
from examples.demo.prompts import KINDS


@dataclass(frozen=True)
class Row:
    """A way of answering.

    Attributes:
        name: Its name.
        calls: Calls per model.
        tokens_in: Input tokens; so are `tokens_out` and `seconds`, sums over the prompts.
        right: Right answers, an expected value where chance decides.
        prompts: How many prompts.
    """

    name: str
    calls: Mapping[str, float]
    tokens_in: float
    tokens_out: float
    seconds: float
    right: float
    prompts: int


def sum_up(name: str, results: Sequence[Result]) -> Row:
    """Return the row of one pass."""
    return Row(
        name,
        Counter(model for result in results for model in result.calls),
        sum(result.tokens_in for result in results),
        sum(result.tokens_out for result in results),
        sum(result.seconds for result in results),
        sum(result.right for result in results),
        len(results),
    )


def random_mix(small: Row, large: Row, share: float) -> Row:
    """Return what is expected if `share` of the prompts, drawn by lot, go to the large model."""

    def mix(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    return Row(
        f"random, {share:.0%} large",
        {"small": (1 - share) * small.prompts, "large": share * small.prompts},
        mix(small.tokens_in, large.tokens_in),
        mix(small.tokens_out, large.tokens_out),
        mix(small.seconds, large.seconds),
        mix(small.right, large.right),
        small.prompts,
    )


def oracle(small: Sequence[Result], large: Sequence[Result]) -> Row:
    """Return the best of both: large only where it is right and small is not."""
    best = [b if b.right and not a.right else a for a, b in zip(small, large, strict=True)]
    return sum_up("oracle", best)


def wilson(right: float, prompts: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share (Wilson 1927)."""
    if not prompts:
        return 0.0, 1.0
    z, share = 1.96, right / prompts
    middle = share + z * z / (2 * prompts)
    spread = z * math.sqrt(share * (1 - share) / prompts + z * z / (4 * prompts * prompts))
    scale = 1 + z * z / prompts
    return (middle - spread) / scale, (middle + spread) / scale


def overview(rows: Sequence[Row]) -> Table:
    """Draw the rows."""
    table = Table(title="All prompts")
    for heading in ("", "calls small", "calls large", "tokens in", "out", "seconds", "right"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_column("share right (95 %)", justify="right")
    for row in rows:
        low, high = wilson(row.right, row.prompts)
        share = row.right / row.prompts if row.prompts else 0.0
        table.add_row(
            row.name,
            f"{row.calls.get('small', 0):.0f}",
            f"{row.calls.get('large', 0):.0f}",
            f"{row.tokens_in:.0f}",
            f"{row.tokens_out:.0f}",
            f"{row.seconds:.1f}",
            f"{row.right:g}" if row.right == int(row.right) else f"{row.right:.1f}",
            f"{share:.0%} ({low:.0%} to {high:.0%})",
        )
    return table


def by_kind(passes: Mapping[str, Sequence[Result]], run_code: bool) -> Table:
    """Draw right answers per kind of prompt."""
    table = Table(title="Right answers by kind")
    table.add_column("")
    kinds = [kind for kind in KINDS if any(r.prompt.kind == kind for r in _all(passes))]
    for kind in kinds:
        how = (" (run)" if run_code else " (by shape)") if kind == "code" else ""
        table.add_column(kind + how, justify="right")
    for name, results in passes.items():
        cells = []
        for kind in kinds:
            of_kind = [result for result in results if result.prompt.kind == kind]
            cells.append(f"{sum(r.right for r in of_kind)} of {len(of_kind)}")
        table.add_row(name, *cells)
    return table


def _all(passes: Mapping[str, Sequence[Result]]) -> list[Result]:
    return [result for results in passes.values() for result in results]
