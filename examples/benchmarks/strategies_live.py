"""Right answers, tokens and Wh per right answer of every strategy, on two small local models.

Run `python -m examples.benchmarks.strategies_live` (extras `[demo,train]`). The demo's graded
prompts are put to each model alone. Then, prompt by prompt in turn, to `ChatRouter` with each
strategy, whose predictor has learned from the graded answers of both models to the other half of
the prompts; to a chain of thought and a mixture that are always on, to which the routed ones are
compared; and to the large model again, since the load of a machine changes with time. What is
served and how energy is told: `_live`.

Beside them: chance at the share of large calls of `single`, and an oracle that asks the small model
wherever it is right. Tokens are those of all attempts. Intervals are of a paired bootstrap over
prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from examples.benchmarks import _live, _page
from examples.benchmarks._live import ALONE, Calls, Models
from examples.benchmarks.live_pair import verifiers
from examples.demo.__main__ import PROMPTS
from examples.demo.energy import Wattmeter
from examples.demo.prompts import Prompt, select
from examples.demo.trials import Call, Lane, ask, through_langchain
from langchain_router import (
    Candidate,
    Cascade,
    ChainOfThought,
    ChatRouter,
    Ledger,
    MixtureOfAgents,
    SelfConsistency,
    Single,
)
from shared_core.lab.fit import fit

AGAIN = "large, again"
SAMPLES = 5
MAX_TOKENS = 1024  # where there is reasoning; elsewhere the demo's own limit holds

ROUTED = ("single", "cascade", "self-consistency", "mixture", "chain of thought")
ALWAYS = {"mixture": "mixture, always", "chain of thought": "chain of thought, always"}
LANES = (*ROUTED, *ALWAYS.values(), AGAIN)


@dataclass(frozen=True)
class Told:
    """A call, and the tokens of all its attempts."""

    call: Call
    tokens: int


def main(arguments: list[str] | None = None) -> None:
    """Ask both models, then every lane; write the figures."""
    options = _live.parser(__doc__).parse_args(arguments)
    prompts = select(PROMPTS, options.prompts)
    with _live.pair(options) as (models, wattmeter):
        told, method = run(prompts, models, wattmeter), wattmeter.method
    results = {
        "command": f"python -m examples.benchmarks.strategies_live --seed {options.seed} "
        f"--prompts {len(prompts)} --watts {options.watts:g} --threads {options.threads}",
        "prompts": len(prompts),
        "energy": method,
        "models": {name: clients.title for name, clients in models.items()},
        **figures(told, options.seed),
    }
    _page.publish(options.out, "strategies_live", results, {"strategies live": table(results)})


def run(
    prompts: Sequence[Prompt], models: Models, meter: Wattmeter
) -> Mapping[str, Sequence[Told]]:
    """Return every call of each lane, in the order of the prompts."""
    alone = {name: through_langchain(models[name].chat, alone=name) for name in ALONE}
    told: dict[str, list[Told]] = {
        name: [put(alone[name], prompt, meter) for prompt in prompts] for name in ALONE
    }
    calls = {name: [one.call for one in told[name]] for name in ALONE}
    report(told)
    halves = [routers(prompts, calls, range(1 - half, len(prompts), 2), models) for half in (0, 1)]
    told |= {name: [] for name in LANES}
    for at, prompt in enumerate(prompts):
        for name, router in halves[at % 2].items():
            told[name].append(put(through_langchain(router), prompt, meter, router.ledger))
        told[AGAIN].append(put(alone["large"], prompt, meter))
        report({name: told[name][-1:] for name in LANES})
    return told


def report(told: Mapping[str, Sequence[Told]]) -> None:
    """Say how calls went, lane by lane, while more are to come."""
    for name, lane in told.items():
        failed = [one.call.error for one in lane if one.call.error]
        right = sum(one.call.right for one in lane)
        wh = sum(one.call.wh for one in lane)
        print(f"{name}: {right} of {len(lane)} right, {wh:.4f} Wh", *failed[:1], flush=True)


def put(lane: Lane, prompt: Prompt, meter: Wattmeter, ledger: Ledger | None = None) -> Told:
    """Put a prompt to a lane; a router's ledger tells the tokens of its attempts."""
    call = ask(lane, prompt, meter, run_code=False)
    if ledger is None:
        answer = call.answer
        return Told(call, 0 if answer is None else answer.tokens_in + answer.tokens_out)
    entry = list(ledger.entries())[-1]
    used = [attempt["usage"] for attempt in entry["attempts"] if attempt["usage"]]
    return Told(call, sum(one["input_tokens"] + one["output_tokens"] for one in used))


def routers(
    prompts: Sequence[Prompt], calls: Calls, rows: Sequence[int], models: Models
) -> dict[str, ChatRouter]:
    """Return a router for each strategy, all of which have learned from some of the prompts."""
    predictor = fit(_live.graded(prompts, calls, rows))
    strategies: dict[str, Any] = {
        "single": Single(),
        "cascade": Cascade(verify=verifiers(prompts, calls, rows)),
        "self-consistency": SelfConsistency(samples=SAMPLES),
        "mixture": MixtureOfAgents(),
        "chain of thought": ChainOfThought(),
        "mixture, always": MixtureOfAgents(ALONE, skip=None, agree=None),
        "chain of thought, always": ChainOfThought(easy="high"),
    }
    return {
        name: ChatRouter(
            roomy(models) if "thought" in name else _live.candidates(models),
            policy=_live.policy(),
            predictor=predictor,
            strategy=strategy,
        )
        for name, strategy in strategies.items()
    }


def roomy(models: Models) -> list[Candidate]:
    """Return both candidates with room to reason in."""
    room = {"max_tokens": MAX_TOKENS}
    return _live.candidates(
        {name: replace(m, chat=m.chat.model_copy(update=room)) for name, m in models.items()}
    )


def figures(told: Mapping[str, Sequence[Told]], seed: int) -> dict[str, Any]:
    """Return what each lane came to, and how it stands beside what it is compared with."""
    calls = {name: [one.call for one in lane] for name, lane in told.items()}
    right, wh, by_large = _live.columns(calls)
    tokens = {name: np.array([float(one.tokens) for one in lane]) for name, lane in told.items()}
    tokens["oracle"] = np.where(right["small"] == 1.0, tokens["small"], tokens["large"])
    share = by_large["single"].mean()
    for values in (right, wh, by_large, tokens):
        values["random"] = (1 - share) * values["small"] + share * values["large"]
    draws = _live.resampled(len(right["small"]), seed)
    rows = {
        name: {
            "right": _live.interval(right[name], draws, np.sum),
            "tokens_per_right": _live.ratio(tokens[name], right[name], draws),
            "wh_per_right": _live.ratio(wh[name], right[name], draws),
            "share_large": float(by_large[name].mean()),
        }
        for name in right
    }

    def beside(name: str, other: str) -> dict[str, Any]:
        return {
            "right_more": _live.interval(right[name] - right[other], draws, np.sum),
            "wh_saved": _live.saved(wh[name], wh[other], draws),
            "tokens_saved": _live.saved(tokens[name], tokens[other], draws),
        }

    return {
        "rows": rows,
        "beside_large": {name: beside(name, AGAIN) for name in (*ROUTED, *ALWAYS.values())},
        "beside_always": {name: beside(name, other) for name, other in ALWAYS.items()},
    }


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    titles = ["who answers", "right", "tokens per right answer", "Wh per right answer"]
    titles += ["right more than large", "Wh saved beside large", "by the large one"]
    rows = []
    for name in ("small", "large", "random", "oracle", *LANES):
        row, beside = results["rows"][name], results["beside_large"].get(name, {})
        rows.append(
            [
                name,
                f"{row['right']['value']:.1f} of {results['prompts']}",
                _page.shown(row["tokens_per_right"], 0),
                _page.shown(row["wh_per_right"], 4),
                _page.shown(beside.get("right_more"), 0),
                _page.shown(beside.get("wh_saved")),
                f"{row['share_large']:.0%}",
            ]
        )
    return _page.markdown(titles, rows)


if __name__ == "__main__":
    main()
