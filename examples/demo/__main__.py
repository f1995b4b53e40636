"""Routes graded prompts over two models on this machine and shows what came of it.

Run it with `make demo` or `python -m examples.demo`. Every option is an environment variable too,
in capitals: `make demo PROMPTS=10 RUN_CODE=1`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.demo import models, passes, table
from examples.demo.clients import (
    Named,
    chat_client,
    chat_router,
    router_llm,
    user_named,
)
from examples.demo.downloads import DownloadError
from examples.demo.prompts import Prompt, select
from examples.demo.questions import ARITHMETIC, EXTRACTION, FACTS
from examples.demo.questions_code import CODE
from examples.demo.questions_summary import SUMMARIES
from examples.demo.server import ServerError, default_threads, serve
from shared_core import NoCandidateError

PROMPTS: tuple[Prompt, ...] = (*FACTS, *ARITHMETIC, *EXTRACTION, *SUMMARIES, *CODE)

Ask = Callable[[str], passes.Said]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, with the environment for defaults."""
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--large",
        default=env("LARGE") or None,
        help="the large model: openai:MODEL (paid, with your OPENAI_API_KEY) or ollama:MODEL; "
        "by default an open one is downloaded",
    )
    parser.add_argument("--prompts", type=int, default=_number("PROMPTS"), help="how many to ask")
    parser.add_argument("--threads", type=int, default=_number("THREADS") or default_threads())
    parser.add_argument(
        "--deadline-s", type=float, default=_number("DEADLINE_S"), help="seconds for all of it"
    )
    parser.add_argument(
        "--run-code",
        action="store_true",
        default=env("RUN_CODE") == "1",
        help="grade code by running it, in a process with time and memory limits",
    )
    return parser.parse_args(arguments)


def _number(name: str) -> int | None:
    value = os.environ.get(name)
    return int(value) if value else None


class Demo:
    """One run: what it prints on, and when it must stop."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        """Start the clock."""
        self.options, self.console = options, console
        self._end = options.deadline_s and time.monotonic() + options.deadline_s
        self._share = 0.0

    def left(self) -> float | None:
        """Return the seconds until the deadline, None without one."""
        return self._end - time.monotonic() if self._end else None

    def start_models(self, stack: ExitStack) -> list[Named]:
        """Get and serve the models, weakest first; what cannot be had is said and left out."""
        found = []
        for name, model in (("small", models.SMALL), ("large", models.LARGE)):
            if name == "large" and self.options.large:
                found.append(user_named(self.options.large))
                continue
            try:
                path = models.obtain(model, models.cache_folder(), self.console, self.left)
                found.append(self._served(name, path, stack))
            except (DownloadError, ServerError) as error:
                self.console.print(f"[yellow]Going on without {model.title}:[/] {error}")
        return found

    def _served(self, name: str, path: Path, stack: ExitStack) -> Named:
        endpoint = stack.enter_context(serve(path, self.options.threads))
        return Named(name, endpoint.model, endpoint)

    def run(
        self, name: str, title: str, ask: Ask, prompts: Sequence[Prompt]
    ) -> list[passes.Result]:
        """Run one pass under a progress bar; stop when its share of the time is over."""
        left = self.left()
        until = None if left is None else time.monotonic() + left * self._share
        columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn())
        results = []
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as progress:
            task = progress.add_task(title, total=len(prompts))
            for result in passes.run_pass(prompts, name, ask, run_code=self.options.run_code):
                results.append(result)
                progress.advance(task)
                if until is not None and time.monotonic() > until:
                    break
        return results

    def all_passes(self, named: Sequence[Named], prompts: Sequence[Prompt]) -> dict[str, list]:
        """Run each model alone in both frameworks' clients, then the router in both."""
        chat, llm = chat_router(named), router_llm(named)
        asks: dict[str, tuple[str, Ask]] = {
            f"always {one.name}": (one.name, passes.by_langchain(chat_client(one))) for one in named
        }
        asks["ChatRouter"] = ("?", passes.by_langchain(chat))
        asks["RouterLLM"] = ("?", passes.by_llamaindex(llm))
        results: dict[str, list] = {}
        for done, (title, (name, ask)) in enumerate(asks.items()):
            self._share = 1 / (len(asks) - done)
            results[title] = self.run(name, title, ask, prompts)
        return results

    def explain(self, named: Sequence[Named], prompts: Sequence[Prompt]) -> None:
        """Show one decision, and what the capability filter does with a tool."""
        chat = chat_router(named)
        hardest = max(prompts, key=lambda prompt: len(prompt.text))
        decision = chat.explain(hardest.text)
        self.console.print("\n[bold]Why[/] (explain calls no model), for the longest prompt:")
        self.console.print(f"  {decision.candidate}: {decision.reason}", highlight=False)
        for estimate in decision.estimates:
            self.console.print(
                f"  {estimate.candidate}: quality {estimate.quality:.2f} "
                f"({estimate.quality_low:.2f} to {estimate.quality_high:.2f})",
                highlight=False,
            )

        def weather(city: str) -> str:
            """Tell the weather in a city."""
            return f"sunny in {city}"

        self.console.print("[bold]With a tool bound[/], which these servers do not parse:")
        try:
            decision = chat.explain("How is the weather in Lisbon?", tools=[weather])
            self.console.print(f"  {decision.candidate}: {decision.reason}", highlight=False)
        except NoCandidateError as error:
            self.console.print(f"  NoCandidateError: {error}", highlight=False)


def report(console: Console, found: dict[str, list], *, run_code: bool) -> bool:
    """Draw the tables over the prompts that every pass reached; tell whether all went well."""
    reached = min(len(results) for results in found.values())
    asked = {name: results[:reached] for name, results in found.items()}
    rows = [table.sum_up(name, results) for name, results in asked.items()]
    if "always large" in asked:
        by_name = {row.name: row for row in rows}
        routed = by_name["ChatRouter"]
        share = routed.calls.get("large", 0) / max(1, reached)
        small, large = by_name["always small"], by_name["always large"]
        rows.insert(2, table.random_mix(small, large, share))
        rows.insert(3, table.oracle(asked["always small"], asked["always large"]))
    console.print(table.overview(rows))
    console.print(table.by_kind(asked, run_code))
    failed = [r for name in ("ChatRouter", "RouterLLM") for r in found[name] if r.error]
    for result in failed:
        console.print(f"[red]failed:[/] {result.prompt.text[:60]!r}: {result.error}")
    console.print(
        "This is a working demonstration on tiny models and a few dozen prompts, with a predictor "
        "that has learned nothing: not evidence of savings.",
        highlight=False,
    )
    return reached > 0 and not failed


def main() -> int:
    """Run the demo; 0 if every routed call answered."""
    options = parse()
    console = Console(width=None if sys.stdout.isatty() else 110)
    demo = Demo(options, console)
    prompts = select(PROMPTS, options.prompts)
    with ExitStack() as stack:
        named = demo.start_models(stack)
        if not named:
            console.print("[red]No model could be had.[/]")
            return 1
        names = ", ".join(f"{one.name} = {one.model}" for one in named)
        console.print(f"{len(prompts)} prompts; {names}; {options.threads} thread(s)\n")
        found = demo.all_passes(named, prompts)
        demo.explain(named, prompts)
    return 0 if report(console, found, run_code=options.run_code) else 1


if __name__ == "__main__":
    sys.exit(main())
