"""Right answers and Wh per right answer: one local model alone, the other, and cascades of both.

Run `python -m examples.benchmarks.live_pair` (extras `[demo,train]`): two small open models are
served on this machine, as in the demo, and its graded prompts are put to each of them and to
`ChatRouter(strategy=Cascade())`: with nothing learned, and with a predictor and a verifier that
have learned from the graded answers to the other half of the prompts (about thirty). What is
served and how energy is told: `_live`.

Beside them: chance at the same share of large calls, and an oracle that asks the small one wherever
it is right. The large one is asked once more, in turn with the cascade that has learned. Intervals
are of a paired bootstrap over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.benchmarks import _live, _page
from examples.benchmarks._live import ALONE, Calls, Models
from examples.demo.__main__ import PROMPTS
from examples.demo.energy import Wattmeter
from examples.demo.prompts import Prompt, select
from examples.demo.trials import Call, ask, through_langchain
from langchain_router import Cascade, ChatRouter
from shared_core.lab.answers import fit_answers
from shared_core.lab.fit import fit
from shared_core.lab.judged import JudgedAnswers
from shared_core.strategies.verifiers.learned import LearnedVerifier
from shared_core.strategies.verifiers.standard import standard_verifiers

CASCADES = ("cascade", "cascade, learned")
AGAIN = "large, again"  # beside the cascade that has learned: a machine's load changes with time


def main(arguments: list[str] | None = None) -> None:
    """Ask both models and both cascades; write the figures."""
    options = _live.parser(__doc__).parse_args(arguments)
    prompts = select(PROMPTS, options.prompts)
    with _live.pair(options) as (models, wattmeter):
        calls, method = run(prompts, models, wattmeter), wattmeter.method
    results = {
        "prompts": len(prompts),
        "energy": method,
        "models": {name: clients.title for name, clients in models.items()},
        **figures(calls, options.seed),
    }
    _page.publish(options.out, "live_pair", results, {"live pair": table(results)})


def run(prompts: Sequence[Prompt], models: Models, meter: Wattmeter) -> Calls:
    """Return every call of each lane, in the order of the prompts."""
    lanes = {name: through_langchain(models[name].chat, alone=name) for name in ALONE}
    calls: dict[str, list[Call]] = {name: [] for name in (*ALONE, *CASCADES, AGAIN)}
    plain = ChatRouter(_live.candidates(models), policy=_live.policy(), strategy=Cascade())
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
    prompts: Sequence[Prompt], calls: Calls, rows: Sequence[int], models: Models
) -> ChatRouter:
    """Return a cascade that has learned from both models' graded answers to some prompts."""
    outcomes = _live.graded(prompts, calls, rows)
    return ChatRouter(
        _live.candidates(models),
        policy=_live.policy(),
        predictor=fit(outcomes),
        strategy=Cascade(verify=verifiers(prompts, calls, rows)),
    )


def verifiers(prompts: Sequence[Prompt], calls: Calls, rows: Sequence[int]) -> list[Any]:
    """Return the standard verifiers, of which one has learned from graded answers instead."""
    texts = tuple(prompts[at].text for at in rows)
    drafts = tuple(_text(calls["small"][at]) for at in rows)
    scores = np.array([float(calls["small"][at].right) for at in rows])
    judged = JudgedAnswers(texts, ("small",) * len(rows), drafts, scores)
    others = [one for one in standard_verifiers() if not isinstance(one, LearnedVerifier)]
    return [*others, LearnedVerifier(fit_answers(judged).head)]


def _text(call: Call) -> str:
    return "" if call.answer is None else call.answer.text


def figures(calls: Calls, seed: int) -> dict[str, Any]:
    """Return right answers, Wh and the share answered by the large model, with intervals."""
    right, wh, by_large = _live.columns(calls)
    for values in (right, wh, by_large):
        share = by_large["cascade"].mean()
        values["random"] = (1 - share) * values["small"] + share * values["large"]
    draws = _live.resampled(len(right["small"]), seed)
    rows = {
        name: {
            "right": _live.interval(right[name], draws, np.sum),
            "wh_per_answer": _live.interval(wh[name], draws, np.mean),
            "wh_per_right": _live.ratio(wh[name], right[name], draws),
            "share_large": float(by_large[name].mean()),
        }
        for name in right
    }
    beside = {
        name: {
            "right_more": _live.interval(right[name] - right[large], draws, np.sum),
            "wh_saved": _live.saved(wh[name], wh[large], draws),
        }
        for name, large in zip(CASCADES, ("large", AGAIN), strict=True)
    }
    return {"rows": rows, "beside_large": beside}


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    titles = ["who answers", "right", "Wh per answer", "Wh per right answer", "by the large one"]
    rows = []
    for name in ("small", "large", "random", "oracle", *CASCADES, AGAIN):
        row = results["rows"][name]
        rows.append(
            [
                name,
                f"{row['right']['value']:.1f} of {results['prompts']}",
                _page.shown(row["wh_per_answer"], 4),
                _page.shown(row["wh_per_right"], 4),
                f"{row['share_large']:.0%}",
            ]
        )
    return _page.markdown(titles, rows)


if __name__ == "__main__":
    main()
