"""A cascade in an agent with a tool, then a mixture, in a graph of each framework, on local models.

Run `python -m examples.benchmarks.live_graph` (extras `[demo,agents]`): the demo's two models are
served with a template out of which tool calls can be read. An agent, whose model is a cascade, may
work sums out with a calculator; then a mixture is told what the agent found, and answers. Both
routers share one budget per run and one ledger. The demo's graded facts and sums are put to the
same graph in LangGraph and in LlamaIndex (`_graphs`), and all is streamed.

Out: runs that ended, right answers, tool calls, calls that the budget let through, streamed texts
that no step ended with (drafts that should have been held), Wh; and the ledger's tokens beside
those that both servers have counted themselves.
"""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from examples.benchmarks import _live, _page
from examples.benchmarks._graphs import Run, by_calculator, through_langgraph, through_llamaindex
from examples.benchmarks._live import Models
from examples.demo.__main__ import candidates_for
from examples.demo.clients import Clients
from examples.demo.energy import Wattmeter
from examples.demo.prompts import Prompt, select
from examples.demo.questions import ARITHMETIC, FACTS
from langchain_router import Budget, Budgets, Cascade, ChatRouter, Ledger, MixtureOfAgents
from llamaindex_router import RouterLLM
from shared_core.types import Scope

CALLS, WH = 8, 1.0  # the budget of a run; the agent takes 2 to 4 calls, the mixture 2 or 3
KINDS = ("input_tokens", "output_tokens")


def main(arguments: list[str] | None = None) -> None:
    """Put the prompts to both graphs; write the figures."""
    options = _live.parser(__doc__).parse_args(arguments)
    prompts = select((*FACTS, *ARITHMETIC), options.prompts)
    with _live.pair(options, tools=True) as (models, meter):
        figures = {
            name: lane(prompts, models, meter, at)
            for at, name in enumerate(("LangGraph", "LlamaIndex"))
        }
        method = meter.method
    results = {
        "command": f"python -m examples.benchmarks.live_graph --prompts {len(prompts)} "
        f"--watts {options.watts:g} --threads {options.threads}",
        "prompts": {kind: sum(p.kind == kind for p in prompts) for kind in ("facts", "arithmetic")},
        "budget": {"calls": CALLS, "wh": WH, "per": "run"},
        "energy": method,
        "models": {name: clients.title for name, clients in models.items()},
        "rows": figures,
    }
    _page.publish(options.out, "live_graph", results, {"live graph": table(results)})


def lane(prompts: Sequence[Prompt], models: Models, meter: Wattmeter, at: int) -> dict[str, Any]:
    """Return what became of all prompts in one framework, 0 for LangChain, 1 for LlamaIndex."""
    candidates = [candidates_for(name, counting(clients))[at] for name, clients in models.items()]
    shared: dict[str, Any] = {
        "budgets": Budgets(Budget(calls=CALLS, wh=WH, per="run")),
        "ledger": Ledger(),
        "policy": _live.policy(),
    }
    router, through = ((ChatRouter, through_langgraph), (RouterLLM, through_llamaindex))[at]
    cascading = router(candidates, strategy=Cascade(by_calculator, accept=0.6), **shared)
    mixture = MixtureOfAgents(proposers=tuple(models), skip=None)
    run = through(cascading, router(candidates, strategy=mixture, **shared))
    servers = Wattmeter(clients.meter for clients in models.values())
    before, wh, by_servers = tokens_counted(models), meter.wh(), servers.wh()
    runs = [put(run, prompt, cascading) for prompt in prompts]
    entries = list(shared["ledger"].entries())
    attempts = [
        one for entry in entries for one in entry["attempts"] if one["outcome"] != "refused"
    ]
    used = [(one["candidate"], one["usage"] or {}) for one in attempts]
    after = tokens_counted(models)
    return {
        "runs": runs,
        "wh": meter.wh() - wh,
        "server_wh": servers.wh() - by_servers,
        "attempts": Counter(f"{one['candidate']}: {one['outcome']}" for one in attempts),
        "entries": len(entries),
        "ledger_calls": len(attempts),
        "ledger_wh": sum((one["energy_wh"] or {}).get("mid", 0.0) for one in attempts),
        "ledger_tokens": {
            name: [sum(u.get(kind, 0) for by, u in used if by == name) for kind in KINDS]
            for name in models
        },
        "server_tokens": {
            name: [late - early for early, late in zip(before[name], after[name], strict=True)]
            for name in models
        },
    }


def put(run: Run, prompt: Prompt, router: Any) -> dict[str, Any]:
    """Put one prompt to a graph, and look at its budget; a run that fails is data."""
    name, told = f"run {uuid4().hex}", {"kind": prompt.kind, "prompt": prompt.text}
    try:
        seen = run(prompt.text, name)
    except Exception as error:  # noqa: BLE001 whatever went wrong, the figures must say so
        told |= {"error": f"{type(error).__name__}: {error}"[:300]}
    else:
        told |= {
            "answers": seen.answers,
            "results": seen.results,
            "right": prompt.check(seen.answers[-1]),
            "called_rightly": any(map(prompt.check, seen.results)),
            "streamed": sum(map(bool, seen.streamed.values())),
            "stray": seen.stray,
        }
    spent = router.budgets.states(Scope(run=name))[0].standing.spent
    print(told := told | {"calls": spent.calls, "charged_wh": spent.micro_wh / 1e6}, flush=True)
    return told


def tokens_counted(models: Models) -> dict[str, list[int]]:
    """Return how many tokens each server says it has read and written so far."""
    found = {}
    for name, clients in models.items():
        url, key = clients.llm.api_base.removesuffix("/v1"), clients.llm.api_key
        asked = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=60) as reply:  # noqa: S310
            page = reply.read().decode()
        found[name] = [
            int(re.search(rf"^llamacpp:{kind}_total (\d+)", page, re.MULTILINE)[1])
            for kind in ("prompt_tokens", "tokens_predicted")
        ]
    return found


def counting(clients: Clients) -> Clients:
    """Return a model whose LlamaIndex client has the tokens of a stream told, as the other does.

    It opens its connections anew each time, since each run has an event loop of its own.
    """
    usage = {"stream_options": {"include_usage": True}}
    update = {"additional_kwargs": usage, "reuse_client": False}
    return replace(clients, llm=clients.llm.model_copy(update=update))


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    titles = ["graph of", "runs ended", "right", "sums: called the calculator, rightly"]
    titles += ["calls per run (at most)", "replies held back", "drafts among what was streamed"]
    titles += ["Wh per run", "tokens by the ledger, by the servers", "Wh by both"]
    rows = []
    for name, row in results["rows"].items():
        runs = row["runs"]
        sums = [run for run in runs if run["kind"] == "arithmetic"]
        calls = [run["calls"] for run in runs]
        of = f"of {len(runs)}"
        rows.append(
            [
                name,
                f"{sum('error' not in run for run in runs)} {of}",
                f"{_sum(runs, 'right')} {of}",
                f"{sum(bool(run.get('results')) for run in sums)}, "
                f"{_sum(sums, 'called_rightly')} of {len(sums)}",
                f"{min(calls)} to {max(calls)} ({results['budget']['calls']})",
                f"{row['ledger_calls'] - row['entries']} of {row['ledger_calls']}",
                f"{_sum(runs, 'stray')} of {_sum(runs, 'streamed')}",
                f"{row['wh'] / len(runs):.4f}",
                ", ".join(
                    str(sum(map(sum, row[f"{by}_tokens"].values()))) for by in ("ledger", "server")
                ),
                f"{row['ledger_wh']:.4f}, {row['server_wh']:.4f}",
            ]
        )
    return _page.markdown(titles, rows)


def _sum(runs: Sequence[Mapping[str, Any]], figure: str) -> int:
    """Return a sum over runs; one that failed counts as nothing."""
    return sum(run.get(figure, 0) for run in runs)


if __name__ == "__main__":
    main()
