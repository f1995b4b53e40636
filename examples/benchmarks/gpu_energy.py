"""What NVML's counter says of a local model on a GPU, and whether the router learns it right.

Run `python -m examples.benchmarks.gpu_energy` on a machine with an NVIDIA GPU, torch, transformers
and nvidia-ml-py. A causal language model of about 1.2 billion random weights (Llama's architecture;
what the weights are makes no difference to the energy) answers calls of many lengths through the
core's `Router`, whose candidate has `energy=measured()`.

Compared: the sum of all calls' Wh with the counter itself and with the power that NVML reports,
sampled beside it; what the router predicts for calls from their tokens, after it has learned from
others, with what they then take; and the shares of four calls at once with their total.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pynvml
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from examples.benchmarks import _page
from examples.benchmarks.accounting_overhead import Answers, Knows
from shared_core import Candidate, Prompt, Router, measured
from shared_core.accounting.books import Books
from shared_core.decision.candidates import prepare_candidates
from shared_core.types import Ask, Energy, Reply, Turn, Usage

LENGTHS = [(i, o) for i in (64, 512, 2048, 8192) for o in (16, 64, 256)]


@dataclass
class Generates(Answers):
    """A transport whose one model generates tokens on the GPU.

    Attributes:
        model: The model.
        read: Tokens of the prompt.
        written: Tokens of the answer.
    """

    model: Any
    read: int
    written: int

    def send(self, ask: Ask) -> Reply:
        """Generate as many tokens as asked for."""
        asked = torch.randint(1000, (1, self.read), device="cuda")
        self.model.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            min_new_tokens=self.written,
            max_new_tokens=self.written,
            do_sample=False,
            pad_token_id=0,
        )
        torch.cuda.synchronize()
        return Reply(ask.candidate, text="…", usage=Usage(self.read, self.written))


class Sampled:
    """The GPU's power, sampled while the block runs, as Wh."""

    def __init__(self, every_s: float = 0.02) -> None:
        self._every_s, self._end, self.wh = every_s, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Sampled:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        handle, last = pynvml.nvmlDeviceGetHandleByIndex(0), time.monotonic()
        while not self._end.wait(self._every_s):
            now = time.monotonic()
            self.wh += pynvml.nvmlDeviceGetPowerUsage(handle) * 1e-3 * (now - last) / 3600
            last = now


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the JSON file."""
    parser = _page.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="of all lengths")
    options = parser.parse_args(arguments)
    meter = measured()
    model = make_model()
    candidate = Candidate("gpu", None, local=True, energy=meter)
    candidates = prepare_candidates([candidate], lambda c: (None, {}))
    router = Router(candidates, predictor=Knows(), books=Books(candidates))
    for lengths in LENGTHS:  # the first call of a length takes several times as much
        Generates(model, *lengths).send(Ask("gpu"))

    rng, pairs, methods = np.random.default_rng(options.seed), [], ""
    before = meter.joules()
    with Sampled() as power:
        for _ in range(options.rounds):
            for place in rng.permutation(len(LENGTHS)):
                predicted, got, usage = ask(router, Generates(model, *LENGTHS[place]))
                pairs.append((predicted, got.mid, usage))
                methods = got.method
    counted = (meter.joules() - before) / 3600
    total = sum(got for _, got, _ in pairs)
    later = pairs[len(LENGTHS) :]  # the router had seen every length by then
    errors = [abs(p - g) / g for p, g, _ in later if p is not None]
    results = {
        "command": f"python -m examples.benchmarks.gpu_energy --rounds {options.rounds} "
        f"--seed {options.seed}",
        "seed": options.seed,
        "device": torch.cuda.get_device_name(0),
        "method": methods,
        "calls": len(pairs),
        "wh_by_round": [
            round(sum(got for _, got, _ in pairs[start : start + len(LENGTHS)]), 4)
            for start in range(0, len(pairs), len(LENGTHS))
        ],
        "wh_of_all_calls": round(total, 4),
        "counter_wh": round(counted, 4),
        "sampled_power_wh": round(power.wh, 4),
        "median_error_of_predictions": round(float(np.median(errors)), 4),
        "error_of_their_sum": round(
            sum(p for p, _, _ in later if p is not None) / sum(g for _, g, _ in later) - 1, 4
        ),
        "wh_per_million_tokens": rates(router),
        "at_once": at_once(router, model, meter),
    }
    _page.publish(options.out, "gpu_energy", results, {})
    print(results)


def make_model() -> Any:
    """Return about 1.2 billion random weights on the GPU."""
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=16_384,
    )
    return LlamaForCausalLM(config).to("cuda", torch.bfloat16).eval()


def ask(router: Router, transport: Generates) -> tuple[float | None, Energy, Usage]:
    """Put one call through the router; return what was expected (Wh), what it took, its tokens."""
    prompt = Prompt(turns=(Turn("user", "x"),), tokens=transport.read)
    (rates_,) = (router.books.experience.energy_rates("gpu"),)
    usage = Usage(transport.read, transport.written)
    expected = None if rates_ is None else rates_.of(usage).mid
    entry = router.answer(prompt, router.decide(prompt), transport).entry
    if entry.energy is None:
        raise RuntimeError("the energy of a call was not measured")
    return expected, entry.energy, usage


def rates(router: Router) -> dict[str, Sequence[float]]:
    """Return what was learned: Wh per million tokens, low, mid, high."""
    found = router.books.experience.energy_rates("gpu")
    if found is None:
        raise RuntimeError("nothing was learned")
    return {
        "input": [round(x, 2) for x in found.input],
        "output": [round(x, 2) for x in found.output],
        "per_call": [round(x, 6) for x in found.per_call],
    }


def at_once(router: Router, model: Any, meter: Any) -> dict[str, float]:
    """Return what four calls at once are said to take, and what the counter says of all."""
    before = meter.joules()
    with ThreadPoolExecutor(4) as pool:
        calls = [Generates(model, 512, 128) for _ in range(4)]
        shares = list(pool.map(lambda call: ask(router, call)[1].mid, calls))
    counted = (meter.joules() - before) / 3600
    return {"sum_of_shares_wh": round(sum(shares), 5), "counter_wh": round(counted, 5)}


if __name__ == "__main__":
    main()
