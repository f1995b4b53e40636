"""What the ledger and budgets add to a call, and what a big ledger takes.

Run `python -m examples.benchmarks.accounting_overhead`. A router over three candidates decides and
answers on a model that answers at once; the same router that keeps no account of a call at all (no
attempt, no entry, no budget) is the baseline. Rounds of every setting are interleaved in one
process; added is the difference to the baseline of the same round, in ms of wall-clock time: median
over rounds, and 95 % of bootstrap samples of that median. `--entries 1000000` also fills a ledger
in a file and reports on it.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks import _page
from shared_core import Budget, Budgets, Candidate, Ledger, Router
from shared_core.accounting.books import Books
from shared_core.decision.candidates import prepare_candidates
from shared_core.execution.failures import Kind
from shared_core.types import Ask, Decision, Entry, Estimate, Prompt, Reply, Turn, Usage

PROMPT = Prompt(turns=(Turn("user", "What is the capital of France? " * 4),), tokens=40)


class Unkept(Books):
    """Books in which nothing is kept of a call: the baseline."""

    def account(self, prompt: Prompt, decision: Decision, *_: Any) -> Any:
        """Return an account of nothing."""
        return Nothing(decision)


@dataclass
class Held:
    """An attempt that nothing is held for."""

    ask: Ask


class Nothing:
    """Keeps account of nothing; see `shared_core.accounting.account.Account`."""

    def __init__(self, decision: Decision) -> None:
        """Begin with the least of an entry."""
        self.reply: Reply | None = None
        self.entry = Entry(decision.id, decision.candidate, decision.reason, False, (), None, None)

    def __enter__(self) -> Nothing:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def open(self, ask: Ask) -> Held:
        """Hold nothing."""
        return Held(ask)

    def close(self, hold: Held, reply: Reply) -> None:
        """Charge nothing."""


@dataclass(frozen=True)
class Knows:
    """Predicts the same for all, in no time."""

    name: str = "knows"
    inline_chars: int = 1000

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> list[Estimate]:
        """Return the same for all."""
        return [Estimate(c.name, 0.9, 0.8, 1.0, output_tokens=100) for c in candidates]


class Answers:
    """A transport whose models answer at once."""

    def send(self, ask: Ask) -> Reply:
        """Answer."""
        return Reply(ask.candidate, native="Paris.", text="Paris.", usage=Usage(40, 2))

    async def asend(self, ask: Ask) -> Reply:
        """Answer."""
        return self.send(ask)

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Answer in one chunk."""
        yield self.send(ask)

    async def astream(self, ask: Ask) -> Any:
        """Answer in one chunk."""
        yield self.send(ask)

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Return the chunk."""
        return chunks[-1]

    def split(self, reply: Reply) -> Iterable[Any]:
        """Return the reply."""
        return (reply,)

    def is_visible(self, chunk: Any) -> bool:
        """Everything is."""
        return True

    def kind_of(self, error: Exception) -> Kind | None:
        """Nothing fails."""
        return None

    def is_retryable(self, error: Exception) -> bool:
        """Nothing fails."""
        return False

    def recorded(self, entry: Entry) -> None:
        """Nobody listens."""


def router(ledger: Ledger, budgets: Budgets, books: type[Books] = Books) -> Router:
    """Return a router with these books."""
    given = [Candidate(name, None, price=(1, 2), energy=(3, 4)) for name in ("a", "b", "c")]
    candidates = prepare_candidates(given, lambda candidate: (None, {}))
    return Router(candidates, predictor=Knows(), books=books(candidates, budgets, ledger))


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the table."""
    parser = _page.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=400, help="rounds of ten calls a setting")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap samples")
    parser.add_argument("--entries", type=int, default=0, help="of the big ledger; 0 for none")
    options = parser.parse_args(arguments)
    budget = Budget(usd=1e6, tokens=10**12, per="day")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        settings = {
            "baseline": router(Ledger(), Budgets(), Unkept),
            "memory": router(Ledger(), Budgets(budget)),
            "memory, ledger alone": router(Ledger(), Budgets()),
            "sqlite": router(
                Ledger(here / "ledger.sqlite"), Budgets(budget, store=here / "budgets.sqlite")
            ),
            "sqlite, ledger alone": router(Ledger(here / "alone.sqlite"), Budgets()),
        }
        times = interleaved(settings, options.rounds)
        big = fill(here / "big.sqlite", options.entries) if options.entries else None
    baseline = times.pop("baseline")
    added = {
        name: median(np.array(own) - np.array(baseline), options) for name, own in times.items()
    }
    earlier = _page.load(options.out, "accounting_overhead")
    results = {
        "command": "python -m examples.benchmarks.accounting_overhead "
        f"--rounds {options.rounds} --draws {options.draws} --seed {options.seed}"
        + (f" --entries {options.entries}" if options.entries else ""),
        "seed": options.seed,
        "baseline_ms": median(np.array(baseline), options),
        "added_ms": added,
        "big_ledger": big or earlier.get("big_ledger"),
    }
    _page.publish(options.out, "accounting_overhead", results, {"accounting": draw(results)})


def interleaved(settings: dict[str, Router], rounds: int) -> dict[str, list[float]]:
    """Return ms per call of each setting, round by round."""
    transport, found = Answers(), {name: list[float]() for name in settings}
    for number in range(rounds + 20):
        for name, one in settings.items():
            started = time.perf_counter()
            for _ in range(10):
                prompt = replace(PROMPT)  # each call has one of its own
                one.answer(prompt, one.decide(prompt), transport)
            if number >= 20:  # warm by then
                found[name].append((time.perf_counter() - started) * 100)
    return found


def median(values: Any, options: Any) -> dict[str, float]:
    """Return the median with its interval."""
    rng = np.random.default_rng(options.seed)
    drawn = np.median(rng.choice(values, (options.draws, len(values))), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "value": round(float(np.median(values)), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def fill(path: Path, entries: int) -> dict[str, Any]:
    """Fill a ledger and report on it; return seconds, and MB of memory and of the file."""
    made: list[Entry] = []
    one = router(Kept(made.append), Budgets())
    one.answer(PROMPT, one.decide(PROMPT), Answers())
    ledger = Ledger(path)
    before, started = resident_mb(), time.perf_counter()
    for number in range(entries):
        ledger.add(replace(made[0], decision_id=f"{number:032x}", started_at=1.79e9 + number))
    filled = time.perf_counter() - started
    after, started = resident_mb(), time.perf_counter()
    ledger.report()
    reported = time.perf_counter() - started
    return {
        "command": f"python -m examples.benchmarks.accounting_overhead --entries {entries}",
        "entries": entries,
        "seconds_to_fill": round(filled, 1),
        "seconds_to_report": round(reported, 2),
        "resident_mb": {"before": before, "filled": after, "reported": resident_mb()},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "file_mb": sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*")) // 2**20,
    }


class Kept(Ledger):
    """A ledger that hands its entries on."""

    def __init__(self, take: Callable[[Entry], None]) -> None:
        """Say to whom."""
        super().__init__()
        self._take = take

    def add(self, entry: Entry) -> None:
        """Hand it on."""
        self._take(entry)


def resident_mb() -> int:
    """Return the memory that this process has at the moment."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def draw(results: dict[str, Any]) -> str:
    """Return the table of the page."""
    rows = [["baseline, the whole call", told(results["baseline_ms"])]]
    rows += [[f"added by {name}", told(one)] for name, one in results["added_ms"].items()]
    if big := results["big_ledger"]:
        memory = big["resident_mb"]
        rows.append([f"report on {big['entries']:,} entries", f"{big['seconds_to_report']:g} s"])
        rows.append(
            [
                "memory before, when filled, after the report",
                "{} / {} / {} MB".format(memory["before"], memory["filled"], memory["reported"]),
            ]
        )
        rows.append(["the file", f"{big['file_mb']} MB"])
    return _page.markdown(["what", "ms a call"], rows)


def told(figure: dict[str, float]) -> str:
    """Return a figure with its interval."""
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    main()
