"""EcoLogits' own figures come back as linear rates; whatever it does not describe is unknown."""

from __future__ import annotations

import math
import subprocess
import sys

import ecologits.impacts.llm
import pytest
from ecologits import __version__
from ecologits.model_repository import models
from ecologits.tracers.utils import llm_impacts

from shared_core.accounting.energy import hosted
from shared_core.accounting.energy.hosted import ecologits_rates, require_ecologits
from shared_core.errors import MissingExtraError
from shared_core.types import Listing, Usage

MODELS = [(model.provider.value, model.name) for model in models.list_models()]


def theirs(provider: str, model: str, tokens: int) -> tuple[float, float, float]:
    """Wh as EcoLogits itself says: low, mean, high."""
    found = llm_impacts(provider, model, tokens, math.inf).energy
    assert found is not None
    value = found.value
    ends = (value, value) if isinstance(value, (int, float)) else (value.min, value.max)
    return ends[0] * 1000, sum(ends) / 2 * 1000, ends[1] * 1000


@pytest.mark.parametrize("tokens", [0, 1, 200, 3_000, 60_000])
def test_every_model_takes_what_ecologits_says_at_every_length(tokens: int) -> None:
    """So its energy is linear in output tokens, with a part per call."""
    for provider, model in MODELS:
        rates = ecologits_rates(Listing(provider, model))
        assert rates is not None, (provider, model)
        energy = rates.of(Usage(5_000, tokens))
        assert (energy.low, energy.mid, energy.high) == pytest.approx(
            theirs(provider, model, tokens), rel=1e-9, abs=1e-15
        ), (provider, model)


def test_a_call_known_to_be_faster_never_takes_more() -> None:
    rates = ecologits_rates(Listing("openai", "gpt-4o"))
    assert rates is not None
    ours = rates.of(Usage(0, 200))
    for seconds in (0.0, 1.0, 5.0, 60.0):
        value = llm_impacts("openai", "gpt-4o", 200, seconds).energy.value
        assert value.min * 1000 <= ours.low * (1 + 1e-9)
        assert value.max * 1000 <= ours.high * (1 + 1e-9)


def test_the_method_says_what_it_leaves_out() -> None:
    rates = ecologits_rates(Listing("openai", "gpt-4o-mini"))
    assert rates is not None
    assert rates.method == f"EcoLogits {__version__} (output tokens only, GPU server assumed)"
    assert rates.input == (0, 0, 0)
    assert 0 < rates.output[0] < rates.output[1] < rates.output[2]


@pytest.mark.parametrize(
    ("listing", "provider", "model"),
    [
        (Listing("azure", "gpt-4o"), "openai", "gpt-4o"),
        (Listing("google_genai", "models/gemini-2.5-flash"), "google_genai", "gemini-2.5-flash"),
        (Listing("google_vertexai", "gemini-2.5-flash"), "google_genai", "gemini-2.5-flash"),
        (Listing("mistral", "mistral-large-latest"), "mistralai", "mistral-large-latest"),
        (Listing("openai", "gpt-4o", "https://api.openai.com/v1"), "openai", "gpt-4o"),
        (Listing("azure", "gpt-4o", "https://x.openai.azure.com/"), "openai", "gpt-4o"),
    ],
)
def test_the_frameworks_spellings_are_known(listing: Listing, provider: str, model: str) -> None:
    rates = ecologits_rates(listing)
    assert rates is not None
    assert rates.of(Usage(0, 200)).mid == pytest.approx(theirs(provider, model, 200)[1])


@pytest.mark.parametrize(
    "listing",
    [
        Listing("openai", "gpt-4o", "http://127.0.0.1:8000/v1"),
        Listing("openai", "gpt-4o", "http://localhost:8000/v1"),
        Listing("openai", "gpt-4o", "http://[half"),
        Listing("openai", "gpt-4o", ""),
        Listing("openai", "gpt-4o", "https://api.openai.com.example.org"),
        Listing("openai", "a model of mine"),
        Listing("openai", ""),
        Listing("ollama", "llama3.2"),
        Listing("huggingface", MODELS[-1][1]),
        Listing("groq", "llama-3.3-70b-versatile"),  # no GPUs there
        Listing(None, "gpt-4o"),
    ],
)
def test_what_it_does_not_describe_is_unknown(listing: Listing) -> None:
    assert ecologits_rates(listing) is None


def test_who_asks_by_name_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_ecologits()
    hosted._lookup.cache_clear()
    monkeypatch.setitem(sys.modules, "ecologits", None)
    assert ecologits_rates(Listing("openai", "gpt-4o")) is None
    with pytest.raises(MissingExtraError, match=r"ecologits .*router-llm-plugin\[energy\]"):
        require_ecologits()
    hosted._lookup.cache_clear()


def test_an_ecologits_that_has_changed_leaves_energy_unknown_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosted._lookup.cache_clear()
    hosted._warn.cache_clear()
    monkeypatch.delattr(ecologits.impacts.llm, "compute_llm_impacts")
    with pytest.warns(RuntimeWarning, match=r"EcoLogits cannot be used.*compute_llm_impacts"):
        assert ecologits_rates(Listing("openai", "gpt-4o")) is None
    assert ecologits_rates(Listing("openai", "gpt-4o-mini")) is None  # a second one would raise
    hosted._lookup.cache_clear()
    hosted._warn.cache_clear()


def test_it_is_imported_at_the_first_lookup_and_leaves_the_loggers_of_others_alone() -> None:
    code = (
        "import logging, sys, shared_core.accounting.energy.hosted as h\n"
        "assert 'ecologits' not in sys.modules\n"
        "assert h.ecologits_rates(h.Listing('openai', 'gpt-4o'))\n"
        "assert 'ecologits' in sys.modules\n"
        "assert logging.getLoggerClass() is logging.Logger\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
