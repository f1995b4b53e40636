"""What the answers of hosted models take, as EcoLogits estimates it.

In: a `Listing` (provider, model, address). Out: `EnergyRates`, or None where nobody knows: unknown
is never zero. The package is optional, imported at the first lookup, and asks no network.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from shared_core.accounting.energy.rates import NOTHING, EnergyRates, Range
from shared_core.errors import MissingExtraError
from shared_core.types import Listing

__all__ = ["ecologits_rates", "ecologits_rates_of_size", "require_ecologits"]

_PROVIDERS = {
    **dict.fromkeys(("openai", "azure", "azure_openai"), "openai"),  # OpenAI runs on Azure
    "anthropic": "anthropic",
    "cohere": "cohere",
    **dict.fromkeys(("google", "google_genai", "google_vertexai", "gemini"), "google_genai"),
    "huggingface_hub": "huggingface_hub",  # "huggingface" may be a pipeline on one's own machine
    **dict.fromkeys(("mistral", "mistralai"), "mistralai"),
}
_HOSTS = {
    "api.openai.com": "openai",
    ".openai.azure.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    ".googleapis.com": "google_genai",
    "api.mistral.ai": "mistralai",
}
"""Whose models answer there; a leading dot stands for any name before it."""

_MANY = 1_000_000  # tokens


def require_ecologits() -> None:
    """Raise unless EcoLogits is installed: for those who ask for it by name.

    Raises:
        MissingExtraError: It is not.
    """
    if importlib.util.find_spec("ecologits") is None:
        raise MissingExtraError("ecologits", "energy")


def ecologits_rates(listing: Listing) -> EnergyRates | None:
    """Return what EcoLogits believes a hosted model's answers take, or None where it knows none.

    EcoLogits (0.11; `ecologits/impacts/llm.py`, https://ecologits.ai/latest/methodology/) assumes a
    server of GPUs that answers 64 calls at once, guesses a model's size where that is secret, and
    counts output tokens alone: input is (0, 0, 0) here, which is not what reading takes. Its range
    is that of the guessed size and of the data centre's overhead; `mid` is the arithmetic mean of
    its ends, which EcoLogits itself prints. It is linear in output tokens, with a part per call
    (the wait for the first token). A call that is measured to be faster than EcoLogits expects
    would take less of the server beside the GPUs; here no call's time is known, as in its own
    default.

    None too where the package is missing, for a model it does not list, and for an address that is
    no known provider's: a server of your own is none of those it describes. No network is asked.
    """
    provider = _provider(listing)
    return None if provider is None else _lookup(provider, listing.model.removeprefix("models/"))


def _provider(listing: Listing) -> str | None:
    if listing.api_url is None:
        return _PROVIDERS.get((listing.provider or "").strip().lower())
    try:
        host = urlsplit(listing.api_url.strip()).hostname or ""
    except ValueError:  # no address at all
        return None
    return next((p for end, p in _HOSTS.items() if host == end or _within(host, end)), None)


def _within(host: str, domain: str) -> bool:
    return domain.startswith(".") and host.endswith(domain)


@functools.lru_cache(maxsize=1024)
def _lookup(provider: str, model: str) -> EnergyRates | None:
    if importlib.util.find_spec("ecologits") is None:
        return None
    try:
        return _linear(provider, model)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError) as fault:
        # Unknown, as for a price: no call may fail because an estimate cannot be made.
        _warn(f"energy is unknown, EcoLogits cannot be used: {type(fault).__name__}: {fault}")
        return None


@functools.cache
def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


_importing = threading.Lock()


def _linear(provider: str, model: str) -> EnergyRates | None:
    with _own_loggers():
        from ecologits.model_repository import ParametersMoE, models

    found = models.find_model(provider=provider, model_name=model)
    if found is None:
        return None
    size = found.architecture.parameters
    active, total = (size.active, size.total) if isinstance(size, ParametersMoE) else (size, size)
    speed = found.deployment
    tps, ttft = (speed.tps, speed.ttft) if speed else (None, None)
    return _of_size(active, total, provider, tps, ttft)


def ecologits_rates_of_size(
    active: float, total: float, provider: str = "mistralai"
) -> EnergyRates:
    """Return what a model of open size takes on a GPU server, as EcoLogits estimates it.

    Args:
        active: Parameters that one token uses, in billions.
        total: All parameters, in billions.
        provider: Whose data centres are assumed, as EcoLogits spells it.

    Raises:
        MissingExtraError: EcoLogits is not installed.
    """
    require_ecologits()
    return _of_size(active, total, provider, None, None)


@contextmanager
def _own_loggers() -> Iterator[None]:
    """Import EcoLogits without its making its own class that of every logger to come."""
    with _importing:
        loggers = logging.getLoggerClass()
        try:
            yield
        finally:
            logging.setLoggerClass(loggers)


def _of_size(
    active: Any, total: Any, provider: str, tps: float | None, ttft: float | None
) -> EnergyRates:
    with _own_loggers():
        from ecologits import __version__
        from ecologits.impacts.llm import compute_llm_impacts
        from ecologits.tracers.utils import PROVIDER_CONFIG_MAP
    centre = PROVIDER_CONFIG_MAP[provider]

    def wh(tokens: int) -> Range:
        # `llm_impacts` less its log lines. Energy depends on no mix of electricity: zero will do.
        value = compute_llm_impacts(
            model_active_parameter_count=active,
            model_total_parameter_count=total,
            output_token_count=tokens,
            if_electricity_mix_adpe=0,
            if_electricity_mix_pe=0,
            if_electricity_mix_gwp=0,
            if_electricity_mix_wue=0,
            datacenter_pue=centre.datacenter_pue,
            datacenter_wue=centre.datacenter_wue,
            tps=tps,
            ttft=ttft,
        ).energy.value
        low, high = (value, value) if isinstance(value, (int, float)) else (value.min, value.max)
        return low * 1000, (low + high) / 2 * 1000, high * 1000  # it counts in kWh

    none, million = wh(0), wh(_MANY)
    return EnergyRates(
        input=NOTHING,
        output=(million[0] - none[0], million[1] - none[1], million[2] - none[2]),
        method=f"EcoLogits {__version__} (output tokens only, GPU server assumed)",
        per_call=none,
    )
