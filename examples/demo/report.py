"""What the user sees: rows and decisions in, rich tables and sentences out."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from examples.demo.table import ROUTERS, Row, same_words, unanswered
from examples.demo.trials import Trial
from shared_core.types import Decision

CAVEAT = (
    "This is a working demonstration on a few prompts and tiny models, not evidence of savings."
)
CODE_RUN = "Code was run against its test cases, in a process with limits."
CODE_NOT_RUN = "Code was graded by its shape and not run: generous. RUN_CODE=1 runs it."


def comparison(rows: Sequence[Row], models: Sequence[str], energy: str | None) -> RenderableType:
    """The main table: one line per strategy.

    Args:
        rows: The strategies.
        models: Their models.
        energy: How Wh are known; None where they are not.
    """
    heads = [f"{name} calls" for name in models]
    heads += ["tokens", "seconds", "right", "95 % interval"]
    heads += ["Wh", "Wh per right"] if energy else []
    table = _table("strategy", *heads)
    for row in rows:
        low, high = row.interval
        table.add_row(
            row.strategy,
            *(_count(row.calls.get(name, 0)) for name in models),
            f"{row.tokens_in + row.tokens_out:,.0f}",
            f"{row.seconds:.1f}",
            f"{_count(row.right)} of {row.prompts}",
            f"{low:.0%} to {high:.0%}",
            *(
                [f"{row.wh:.3f}", f"{row.wh / row.right:.4f}" if row.right else "-"]
                if energy
                else []
            ),
            style="bold" if row.strategy in ROUTERS else None,
        )
    return _titled("The same prompts, by strategy", table, *([f"Wh: {energy}."] if energy else []))


def by_kind(kinds: Mapping[str, Sequence[Row]], large: str | None, graded: str) -> RenderableType:
    """Right answers per kind of prompt: one line per kind, one column per strategy.

    Args:
        kinds: The rows of each kind.
        large: The model whose share of the routed calls to show, None for no such column.
        graded: How code was graded.
    """
    strategies = [row.strategy.partition(",")[0] for row in next(iter(kinds.values()), [])]
    table = _table("kind", "prompts", *strategies, *([f"to {large}"] if large else []))
    for kind, rows in kinds.items():
        cells = [str(rows[0].prompts), *(_count(row.right) for row in rows)]
        if large:
            routed = [row for row in rows if row.strategy in ROUTERS]
            share = sum(row.calls.get(large, 0) for row in routed) / sum(
                row.prompts for row in routed
            )
            cells.append(f"{share:.0%}")
        table.add_row(kind, *cells)
    return _titled("Right answers, by kind", table, graded)


def decision(prompt: str, decided: Decision) -> RenderableType:
    """What `explain` says of one prompt: an estimate per candidate, and the choice."""
    table = _table("candidate", "quality", "low", "high")
    for estimate in decided.estimates:
        numbers = (estimate.quality, estimate.quality_low, estimate.quality_high)
        table.add_row(estimate.candidate, *(f"{number:.2f}" for number in numbers))
    calibrated = "calibrated" if decided.calibrated else "not calibrated"
    choice = f"{decided.candidate} ({calibrated}): {decided.reason}"
    return _titled(f"llm.explain({short(prompt)!r})", table, choice)


def findings(trials: Sequence[Trial]) -> Text:
    """What the tables do not show: a reason, unchanged answers, and calls that failed."""
    text = Text()
    answer = trials[0].calls[ROUTERS[0]].answer
    if answer:
        prompt = short(trials[0].prompt.text)
        text.append(f"Why {prompt!r} went to {answer.candidate}: {answer.reason}.\n")
    same, total = same_words(trials)
    text.append(f"{same} of {total} routed answers are word for word what that model says alone.")
    for router, trial in unanswered(trials):
        why = trial.calls[router].error or "an empty answer"
        text.append(f"\n{router} did not answer {short(trial.prompt.text)!r}: {why}", "red")
    for name in [name for name in trials[0].calls if name not in ROUTERS]:
        errors = [trial.calls[name].error for trial in trials if trial.calls[name].error]
        if errors:
            text.append(f"\n{name} alone failed {len(errors)} times, first: {errors[0]}", "red")
    return text


def show(console: Console, *parts: RenderableType) -> None:
    """Prints parts, an empty line before each; text is printed as it is."""
    for part in parts:
        console.print()
        console.print(part, markup=False, highlight=False)


def short(text: str, limit: int = 60) -> str:
    """The beginning of a text, on one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first, no_wrap=True)
    for other in others:
        table.add_column(other, justify="right")
    return table


def _titled(title: str, table: Table, *notes: str) -> Group:
    return Group(Text(title, "bold"), table, *(Text(note) for note in notes))


def _count(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.1f}"
