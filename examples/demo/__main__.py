"""Runs the demo: `python -m examples.demo --help` tells how."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from examples.demo import report
from examples.demo.clients import ClientError, Clients, named, reach_loopback_directly, served
from examples.demo.downloads import DownloadError
from examples.demo.energy import Wattmeter, machine_meter, meter_of
from examples.demo.models import LARGE, SMALL, Model, cache_folder, obtain
from examples.demo.options import Deadline, Options, parse
from examples.demo.prompts import Prompt, select
from examples.demo.questions import ARITHMETIC, EXTRACTION, FACTS
from examples.demo.questions_code import CODE
from examples.demo.questions_summary import SUMMARIES
from examples.demo.server import ServerError, serve
from examples.demo.table import ROUTERS, rows, rows_by_kind, share_of, unanswered
from examples.demo.trials import Trial, run_trials, through_langchain, through_llamaindex
from langchain_router import Candidate, ChatRouter, Ledger, Policy
from llamaindex_router import RouterLLM
from shared_core.errors import NoCandidateError

PROMPTS = (*FACTS, *ARITHMETIC, *EXTRACTION, *SUMMARIES, *CODE)
PLAIN_WIDTH = 120  # columns where the output is no terminal
USD_PER_KWH = 0.30  # about what a kWh costs a household in Germany; the report says what it makes
TOOL_PROMPT = "What is the weather in Lisbon right now?"


def weather(city: str) -> str:
    """Tells the weather in a city right now."""
    return f"I do not know the weather in {city}."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Returns:
        The exit code: 0 if every routed call was answered, 1 if not, 130 after Ctrl-C.
    """
    options = parse(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    try:
        return run(options, console)
    except (ClientError, DownloadError, ServerError) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130


def run(options: Options, console: Console) -> int:
    """Gets the models, serves them, routes the prompts and prints what came of it."""
    deadline = Deadline(options.deadline_s)
    reach_loopback_directly()
    with ExitStack() as stack:
        models = gather(options, console, deadline, stack)
        candidates = [candidates_for(name, clients) for name, clients in models.items()]
        ledger, policy = Ledger(), Policy(usd_per_kwh=USD_PER_KWH)
        chat = ChatRouter([candidate for candidate, _ in candidates], policy=policy, ledger=ledger)
        llm = RouterLLM([candidate for _, candidate in candidates], policy=policy, ledger=ledger)
        wattmeter = Wattmeter(clients.meter for clients in models.values())

        prompts = select(PROMPTS, options.prompts)
        explain(chat, prompts, console)
        lanes = {
            **{name: through_langchain(m.chat, alone=name) for name, m in models.items()},
            ROUTERS[0]: through_langchain(chat),
            ROUTERS[1]: through_llamaindex(llm),
        }
        trials = []
        with progress(console) as bar:
            task = bar.add_task("asking " + ", ".join(lanes), total=len(prompts))
            for trial in run_trials(prompts, lanes, deadline, wattmeter, run_code=options.run_code):
                trials.append(trial)
                grade_routed(trial, ledger)
                bar.advance(task)
        energy = wattmeter.method if wattmeter.complete else None
        summarise(trials, len(prompts), list(models), options, console, energy)
        offer_tool(chat, console)
        console.print()
        console.print(str(ledger.report()), markup=False, highlight=False, soft_wrap=True)
    report.show(console, report.CAVEAT)
    return 0 if trials and not unanswered(trials) else 1


def gather(
    options: Options, console: Console, deadline: Deadline, stack: ExitStack
) -> dict[str, Clients]:
    """Gets and serves the models, weakest first; without a large one, the small one alone."""

    def local(model: Model) -> Clients:
        left = deadline.left()
        download = Deadline(None if left is None else left / 2)  # the rest is for asking
        file = obtain(model, cache_folder(), console, download.left)
        endpoint = stack.enter_context(serve(file, options.threads))
        return served(endpoint, model.title, machine or meter_of(endpoint.pid, options.watts))

    machine = machine_meter()

    large = named(options.large) if options.large else None  # a missing key shows at once
    small = local(SMALL)
    try:
        return {"small": small, "large": large or local(LARGE)}
    except DownloadError as error:
        report.show(console, f"{error}\nGoing on with the small model alone.")
        return {"small": small}


def candidates_for(name: str, clients: Clients) -> tuple[Candidate, Candidate]:
    """One model as a candidate for `ChatRouter` and as one for `RouterLLM`."""
    known: dict[str, Any] = {
        "local": clients.local,
        "energy": clients.meter,
        "context_window": clients.context_window,
        "capabilities": clients.capabilities,
    }
    return Candidate(name, clients.chat, **known), Candidate(name, clients.llm, **known)


def grade_routed(trial: Trial, ledger: Ledger) -> None:
    """Tells the ledger how good the routed answers were."""
    for router in ROUTERS:
        call = trial.calls[router]
        if call.answer and call.answer.decision_id:
            ledger.feedback(call.answer.decision_id, float(call.right))


def explain(router: ChatRouter, prompts: Sequence[Prompt], console: Console) -> None:
    """Shows what the router thinks of the longest prompt; no model is called."""
    text = max((prompt.text for prompt in prompts), key=len)
    report.show(console, report.decision(text, router.explain(text)))
    console.print()


def offer_tool(router: ChatRouter, console: Console) -> None:
    """Binds a tool: models that can't call tools are refused before anything is sent."""
    try:
        message = router.bind_tools([weather]).invoke(TOOL_PROMPT)
    except NoCandidateError as error:
        said = f"the capability filter refuses every model (NoCandidateError):\n  {error}"
    except Exception as error:  # noqa: BLE001 a named model may fail in any way
        said = f"the call failed: {type(error).__name__}: {error}"
    else:
        record = message.response_metadata["router"]
        said = f"{record['candidate']} gets the call: {record['reason']}"
    report.show(console, f"With a tool bound, {said}")


def summarise(
    trials: Sequence[Trial],
    asked: int,
    models: list[str],
    options: Options,
    console: Console,
    energy: str | None,
) -> None:
    """Prints the tables and what else there is to say of the trials."""
    if len(trials) < asked:
        report.show(
            console, f"The deadline is near: stopped after {len(trials)} of {asked} prompts."
        )
    if not trials:
        return
    large = models[-1] if len(models) > 1 else None
    share = share_of(models[-1], trials)
    graded = report.CODE_RUN if options.run_code else report.CODE_NOT_RUN
    report.show(
        console,
        report.comparison(rows(trials, models, share), models, energy),
        report.by_kind(rows_by_kind(trials, models, share), large, graded),
        report.findings(trials),
    )


def progress(console: Console) -> Progress:
    """The bar that runs while the models are asked, with the time passed and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)


if __name__ == "__main__":
    sys.exit(main())
