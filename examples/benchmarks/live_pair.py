"""Right answers and Wh per right answer: one local model alone, the other, and cascades of both.

Run `python -m examples.benchmarks.live_pair` (extras `[demo,train]`): two small open models are
served on this machine, as in the demo, and its graded prompts are put to each of them and to
`ChatRouter(strategy=Cascade())`: with nothing learned, and with a predictor and a verifier that
have learned from the graded answers to the other half of the prompts (about thirty). Energy is the
CPU-seconds of both servers and of this process, which decides and looks at drafts, times the watts
of a busy core (declared), or what RAPL counts.

Beside them: chance at the same share of large calls, and an oracle that asks the small one wherever
it is right. The large one is asked once more, in turn with the cascade that has learned. Intervals
are of a paired bootstrap over prompts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from rich.console import Console

from examples.benchmarks import _page
from examples.demo.__main__ import PROMPTS, candidates_for
from examples.demo.clients import Clients, reach_loopback_directly, served
from examples.demo.energy import Wattmeter, machine_meter, meter_of
from examples.demo.models import LARGE, SMALL, cache_folder, obtain
from examples.demo.prompts import Prompt, select
from examples.demo.server import default_threads, serve
from examples.demo.trials import Call, ask, through_langchain
from langchain_router import Cascade, ChatRouter, Policy
from shared_core.lab.answers import fit_answers
from shared_core.lab.fit import fit
from shared_core.lab.judged import JudgedAnswers
from shared_core.lab.table import Outcomes
from shared_core.strategies.verifiers.learned import LearnedVerifier
from shared_core.strategies.verifiers.standard import standard_verifiers

DRAWS = 2000
USD_PER_KWH = 0.30
ALONE = ("small", "large")
CASCADES = ("cascade", "cascade, learned")
AGAIN = "large, again"  # beside the cascade that has learned: a machine's load changes with time

Calls = Mapping[str, Sequence[Call]]


def main(arguments: list[str] | None = None) -> None:
    """Ask both models and both cascades; write the figures."""
    parser = _page.parser(__doc__)
    parser.add_argument("--prompts", type=int, help="how many of the prompts (default: all)")
    parser.add_argument("--watts", type=float, default=10.0, help="what a busy core draws")
    parser.add_argument("--threads", type=int, default=default_threads(), help="of each server")
    options = parser.parse_args(arguments)
    prompts = select(PROMPTS, options.prompts)
    reach_loopback_directly()
    with ExitStack() as stack:
        machine = machine_meter()

        def local(model: Any) -> Clients:
            file = obtain(model, cache_folder(), Console(), lambda: None)
            endpoint = stack.enter_context(serve(file, options.threads))
            return served(endpoint, model.title, machine or meter_of(endpoint.pid, options.watts))

        models = {"small": local(SMALL), "large": local(LARGE)}
        own = machine or meter_of(os.getpid(), options.watts)
        wattmeter = Wattmeter([*(m.meter for m in models.values()), own])
        calls, method = run(prompts, models, wattmeter), wattmeter.method
    results = {
        "prompts": len(prompts),
        "energy": method,
        "models": {name: clients.title for name, clients in models.items()},
        **figures(calls, options.seed),
    }
    _page.publish(options.out, "live_pair", results, {"live pair": table(results)})


def run(prompts: Sequence[Prompt], models: Mapping[str, Clients], meter: Wattmeter) -> Calls:
    """Return every call of each lane, in the order of the prompts."""
    lanes = {name: through_langchain(models[name].chat, alone=name) for name in ALONE}
    calls: dict[str, list[Call]] = {name: [] for name in (*ALONE, *CASCADES, AGAIN)}
    plain = ChatRouter(_candidates(models), policy=_policy(), strategy=Cascade())
    for prompt in prompts:
        for name in ALONE:
            calls[name].append(ask(lanes[name], prompt, meter, run_code=False))
        lane = through_langchain(plain)
        calls["cascade"].append(ask(lane, prompt, meter, run_code=False))
    routers = [learned(prompts, calls, range(1 - half, len(prompts), 2), models) for half in (0, 1)]
    for at, prompt in enumerate(prompts):
        lane = through_langchain(routers[at % 2])
        calls[CASCADES[1]].append(ask(lane, prompt, meter, run_code=False))
        calls[AGAIN].append(ask(lanes["large"], prompt, meter, run_code=False))
    return calls


def learned(
    prompts: Sequence[Prompt], calls: Calls, rows: Sequence[int], models: Mapping[str, Clients]
) -> ChatRouter:
    """Return a cascade that has learned from both models' graded answers to some prompts."""
    texts = tuple(prompts[at].text for at in rows)
    scores = np.array([[float(calls[name][at].right) for name in ALONE] for at in rows])
    tokens = np.array([[_tokens(calls[name][at]) for name in ALONE] for at in rows])
    nothing = np.full(scores.shape, math.nan)
    outcomes = Outcomes(texts, ALONE, scores, tokens, nothing, ("",) * len(rows))
    drafts = tuple(_text(calls["small"][at]) for at in rows)
    judged = JudgedAnswers(texts, ("small",) * len(rows), drafts, scores[:, 0])
    verifier = LearnedVerifier(fit_answers(judged).head)
    others = [one for one in standard_verifiers() if not isinstance(one, LearnedVerifier)]
    return ChatRouter(
        _candidates(models),
        policy=_policy(),
        predictor=fit(outcomes),
        strategy=Cascade(verify=[*others, verifier]),
    )


def _candidates(models: Mapping[str, Clients]) -> list[Any]:
    return [candidates_for(name, clients)[0] for name, clients in models.items()]


def _policy() -> Policy:
    return Policy(usd_per_kwh=USD_PER_KWH)


def _tokens(call: Call) -> float:
    return math.nan if call.answer is None else float(call.answer.tokens_out)


def _text(call: Call) -> str:
    return "" if call.answer is None else call.answer.text


def figures(calls: Calls, seed: int) -> dict[str, Any]:
    """Return right answers, Wh and the share answered by the large model, with intervals."""
    right = {name: np.array([float(c.right) for c in found]) for name, found in calls.items()}
    wh = {name: np.array([c.wh for c in found]) for name, found in calls.items()}
    by_large = {
        name: np.array([float(c.answer is not None and c.answer.candidate == "large") for c in got])
        for name, got in calls.items()
    }
    small_is_right = right["small"] == 1.0
    for values in (right, wh, by_large):
        values["oracle"] = np.where(small_is_right, values["small"], values["large"])
        share = by_large["cascade"].mean()
        values["random"] = (1 - share) * values["small"] + share * values["large"]
    rng = np.random.default_rng(seed)
    n = len(small_is_right)
    draws = rng.integers(0, n, (DRAWS, n))
    rows = {
        name: {
            "right": _interval(right[name], draws, np.sum),
            "wh_per_answer": _interval(wh[name], draws, np.mean),
            "wh_per_right": _ratio(wh[name], right[name], draws),
            "share_large": float(by_large[name].mean()),
        }
        for name in right
    }
    beside = {
        name: {
            "right_more": _interval(right[name] - right[large], draws, np.sum),
            "wh_saved": _saved(wh[name], wh[large], draws),
        }
        for name, large in zip(CASCADES, ("large", AGAIN), strict=True)
    }
    return {"rows": rows, "beside_large": beside}


def _interval(values: Any, draws: Any, sum_up: Callable[..., Any]) -> dict[str, float]:
    found = sum_up(values[draws], axis=1)
    return _with_ends(float(sum_up(values)), found)


def _ratio(above: Any, below: Any, draws: Any) -> dict[str, float] | None:
    if not below.sum():
        return None
    drawn = below[draws].sum(axis=1)
    return _with_ends(
        float(above.sum() / below.sum()), above[draws].sum(axis=1) / np.where(drawn, drawn, np.nan)
    )


def _saved(own: Any, other: Any, draws: Any) -> dict[str, float]:
    found = 1.0 - own[draws].sum(axis=1) / other[draws].sum(axis=1)
    return _with_ends(float(1.0 - own.sum() / other.sum()), found)


def _with_ends(value: float, drawn: Any) -> dict[str, float]:
    low, high = np.nanquantile(drawn, [0.025, 0.975]).tolist()
    return {"value": value, "low": low, "high": high}


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    titles = ["who answers", "right", "Wh per answer", "Wh per right answer", "by the large one"]
    rows = []
    for name in ("small", "large", "random", "oracle", *CASCADES, AGAIN):
        row = results["rows"][name]
        per_right = "-" if row["wh_per_right"] is None else _said(row["wh_per_right"], 4)
        rows.append(
            [
                name,
                f"{row['right']['value']:.1f} of {results['prompts']}",
                _said(row["wh_per_answer"], 4),
                per_right,
                f"{row['share_large']:.0%}",
            ]
        )
    return _page.markdown(titles, rows)


def _said(figure: Mapping[str, float], digits: int) -> str:
    value, low, high = (f"{figure[end]:.{digits}f}" for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    main()
