"""What the user sees: rows and decisions in, rich tables and sentences out."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table

from examples.demo.table import ROUTERS, Row, same_words, unanswered
from examples.demo.trials import Trial
from shared_core.types import Decision

CAVEAT = (
    "This is a working demonstration on two tiny models and a few prompts, not evidence of savings."
)
CODE_RUN = "code was run against its test cases, in a process with limits"
CODE_NOT_RUN = "code was graded by its shape and not run (RUN_CODE=1 runs it)"


def comparison(rows: Sequence[Row], models: Sequence[str]) -> Table:
    """The main table: one line per strategy."""
    table = Table(title="The same prompts, by strategy", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("strategy", no_wrap=True)
    heads = [f"{name} calls" for name in models]
    for head in [*heads, "tokens in", "tokens out", "seconds", "right", "share right (95 %)"]:
        table.add_column(head, justify="right")
    for row in rows:
        low, high = row.interval
        table.add_row(
            row.strategy,
            *(_count(row.calls.get(name, 0)) for name in models),
            f"{row.tokens_in:,.0f}",
            f"{row.tokens_out:,.0f}",
            f"{row.seconds:.1f}",
            f"{_count(row.right)} of {row.prompts}",
            f"{low:.0%} to {high:.0%}",
            style="bold" if row.strategy in ROUTERS else None,
        )
    return table


def by_kind(kinds: Mapping[str, Sequence[Row]], large: str | None, graded: str) -> Table:
    """Right answers per kind of prompt: one line per kind, one column per strategy."""
    table = Table(title="Right answers, by kind", box=box.SIMPLE_HEAD, title_justify="left")
    table.caption, table.caption_justify = graded, "left"
    table.add_column("kind", no_wrap=True)
    table.add_column("prompts", justify="right")
    strategies = [row.strategy for row in next(iter(kinds.values()), [])]
    for strategy in strategies:
        table.add_column(strategy.partition(",")[0], justify="right")
    if large:
        table.add_column(f"routed to {large}", justify="right")
    for kind, rows in sorted(kinds.items()):
        routed = [row for row in rows if row.strategy in ROUTERS]
        to_large = sum(row.calls.get(large or "", 0) for row in routed)
        share = [f"{to_large / sum(row.prompts for row in routed):.0%}"] if large else []
        table.add_row(kind, str(rows[0].prompts), *(_count(row.right) for row in rows), *share)
    return table


def decision(prompt: str, decided: Decision) -> Table:
    """What `explain` says of one prompt: an estimate per candidate, and the choice."""
    table = Table(title=f"explain({_short(prompt)!r})", box=box.SIMPLE_HEAD, title_justify="left")
    calibrated = "calibrated" if decided.calibrated else "not calibrated"
    table.caption = f"→ {decided.candidate} ({calibrated}): {decided.reason}"
    table.caption_justify = "left"
    for head in ("candidate", "quality", "low", "high"):
        table.add_column(head, justify="left" if head == "candidate" else "right")
    for estimate in decided.estimates:
        numbers = (estimate.quality, estimate.quality_low, estimate.quality_high)
        table.add_row(estimate.candidate, *(f"{number:.2f}" for number in numbers))
    return table


def findings(trials: Sequence[Trial]) -> str:
    """What the tables do not show: unchanged answers, and calls that failed."""
    same, total = same_words(trials)
    lines = [f"{same} of {total} routed answers are word for word what that model says alone."]
    for router, trial in unanswered(trials):
        why = trial.calls[router].error or "an empty answer"
        lines.append(f"[red]{router} did not answer {_short(trial.prompt.text)!r}: {why}[/]")
    for name in sorted({name for trial in trials for name in trial.calls} - set(ROUTERS)):
        failed = [trial.calls[name].error for trial in trials if trial.calls[name].error]
        if failed:
            lines.append(f"[red]{name} alone failed {len(failed)} times, first: {failed[0]}[/]")
    return "\n".join(lines)


def show(console: Console, *parts: RenderableType) -> None:
    """Prints parts with an empty line before each; no automatic highlighting."""
    console.print(Group(*(Group("", part) for part in parts)), highlight=False)


def _count(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.1f}"


def _short(text: str, limit: int = 60) -> str:
    first = " ".join(text.split())
    return first if len(first) <= limit else f"{first[: limit - 1]}…"
