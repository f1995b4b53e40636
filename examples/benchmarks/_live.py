"""Two small open models served on this machine, and what came of the calls put to them.

In: a script's options, then calls lane by lane. Out: clients of both models and a wattmeter; right
answers and Wh with intervals of a paired bootstrap over prompts.

Energy is the CPU-seconds of both servers and of this process, which decides and looks at drafts,
times the watts of a busy core (declared), or what RAPL counts.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from rich.console import Console

from examples.benchmarks import _page, _splits
from examples.demo.__main__ import candidates_for
from examples.demo.clients import Clients, reach_loopback_directly, served
from examples.demo.energy import Wattmeter, machine_meter, meter_of
from examples.demo.models import LARGE, SMALL, cache_folder, obtain
from examples.demo.prompts import Prompt
from examples.demo.server import default_threads, serve
from examples.demo.trials import Call
from langchain_router import Policy
from shared_core.lab.table import Outcomes

DRAWS = 2000
DIGITS = 6  # a call takes some thousandths of a Wh
USD_PER_KWH = 0.30
ALONE = ("small", "large")

Calls = Mapping[str, Sequence[Call]]
Models = Mapping[str, Clients]


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of scripts that serve models."""
    made = _page.parser(about)
    made.add_argument("--prompts", type=int, help="how many of the prompts (default: all)")
    made.add_argument("--watts", type=float, default=10.0, help="what a busy core draws")
    made.add_argument("--threads", type=int, default=default_threads(), help="of each server")
    return made


@contextmanager
def pair(options: argparse.Namespace, *, tools: bool = False) -> Iterator[tuple[Models, Wattmeter]]:
    """Serve both models; give their clients, weakest first, and what measures them.

    Args:
        options: Of a `parser`.
        tools: They are to call tools.
    """
    reach_loopback_directly()
    with ExitStack() as stack:
        machine = machine_meter()

        def local(model: Any) -> Clients:
            file = obtain(model, cache_folder(), Console(), lambda: None)
            endpoint = stack.enter_context(serve(file, options.threads, tools=tools))
            meter = machine or meter_of(endpoint.pid, options.watts)
            return served(endpoint, model.title, meter, tools=tools)

        models = {"small": local(SMALL), "large": local(LARGE)}
        # The servers are children of this process, so what it takes holds what they take.
        yield models, Wattmeter([machine or meter_of(os.getpid(), options.watts)])


def candidates(models: Models) -> list[Any]:
    """Return both as LangChain candidates."""
    return [candidates_for(name, clients)[0] for name, clients in models.items()]


def policy() -> Policy:
    """Return the policy of every lane: energy at what a household pays for it."""
    return Policy(usd_per_kwh=USD_PER_KWH)


def graded(prompts: Sequence[Prompt], calls: Calls, rows: Sequence[int]) -> Outcomes:
    """Return what both models alone made of some of the prompts, as a table to learn from."""
    texts = tuple(prompts[at].text for at in rows)
    scores = np.array([[float(calls[name][at].right) for name in ALONE] for at in rows])
    tokens = np.array([[_tokens(calls[name][at]) for name in ALONE] for at in rows])
    nothing = np.full(scores.shape, math.nan)
    return Outcomes(texts, ALONE, scores, tokens, nothing, ("",) * len(rows))


def _tokens(call: Call) -> float:
    return math.nan if call.answer is None else float(call.answer.tokens_out)


def columns(calls: Calls) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return right answers, Wh, and whether the large model answered: a column for each lane."""
    right = {name: np.array([float(c.right) for c in found]) for name, found in calls.items()}
    wh = {name: np.array([c.wh for c in found]) for name, found in calls.items()}
    by_large = {
        name: np.array([float(c.answer is not None and c.answer.candidate == "large") for c in got])
        for name, got in calls.items()
    }
    small_is_right = right["small"] == 1.0
    for values in (right, wh, by_large):
        values["oracle"] = np.where(small_is_right, values["small"], values["large"])
    return right, wh, by_large


def resampled(prompts: int, seed: int) -> Any:
    """Return which prompts each bootstrap sample takes, DRAWS x n."""
    return np.random.default_rng(seed).integers(0, prompts, (DRAWS, prompts))


def interval(values: Any, draws: Any, sum_up: Callable[..., Any]) -> _splits.Figure:
    """Return a sum or a mean with the ends of its 95 % interval."""
    return _splits.figure(float(sum_up(values)), sum_up(values[draws], axis=1), DIGITS)


def ratio(above: Any, below: Any, draws: Any) -> _splits.Figure | None:
    """Return a ratio of two sums with its interval; None where there is nothing below."""
    if not below.sum():
        return None
    drawn = below[draws].sum(axis=1)
    return _splits.figure(
        float(above.sum() / below.sum()),
        above[draws].sum(axis=1) / np.where(drawn, drawn, np.nan),
        DIGITS,
    )


def saved(own: Any, other: Any, draws: Any) -> _splits.Figure:
    """Return the share of another lane's sum that a lane's own saves, with its interval."""
    found = 1.0 - own[draws].sum(axis=1) / other[draws].sum(axis=1)
    return _splits.figure(float(1.0 - own.sum() / other.sum()), found, DIGITS)
