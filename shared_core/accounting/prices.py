"""What tokens cost, in USD: prices that are declared, or those of a catalogue.

In: a `Listing` (provider, model, address) and the tokens of a call. Out: a `Tariff`, or None where
nobody knows the price: unknown is never zero.

The catalogue is the package genai-prices, which carries its data and asks no network. Its interface
moves, so this module alone touches it, and imports it at the first lookup (0.4 s). Should it be
missing or have changed, every price in it is unknown, with one warning: a call must not fail for a
price, and whatever holds to a budget in USD refuses a candidate whose price is unknown.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from shared_core.types import Listing, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

__all__ = ["Declared", "Tariff", "catalogue_tariff"]

_PER_MILLION = 1e-6

_PROVIDERS = {
    **dict.fromkeys(("amazon_bedrock", "anthropic_bedrock", "bedrock", "bedrock_converse"), "aws"),
    **dict.fromkeys(("azure_ai", "azure_openai"), "azure"),
    **dict.fromkeys(("gemini", "google_anthropic_vertex", "google_genai"), "google"),
    **dict.fromkeys(("google_vertexai", "vertexai"), "google"),
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "togetherai": "together",
    "xai": "x-ai",
}
"""The catalogue's names of providers whom the frameworks spell otherwise."""

_READ = frozenset(
    {"input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok", "output_reasoning_mtok"}
    | {"requests_kcount"}
)
_NOT_IN_A_USAGE = ("audio", "image", "video", "document", "search", "_1h_")
"""Prices of what only some calls use and a `Usage` does not tell: they count as plain tokens, or
(searches) not at all, and a cache entry that lives an hour as one of the usual lifetime."""


class Tariff(Protocol):
    """What one model's tokens cost. A `free` usage costs nothing."""

    @property
    def source(self) -> str:
        """Whence it is known."""

    @property
    def discounts_cache(self) -> bool:
        """Input out of the provider's prompt cache is cheaper than other input."""

    def cost(self, usage: Usage) -> float:
        """Return USD for these tokens, at this moment."""

    def at_most(self, usage: Usage) -> float:
        """Return USD at most for up to so many input and output tokens, of whatever kind."""


@dataclass(frozen=True)
class Declared:
    """Prices of the user's own, in USD per million tokens. Cached input costs what other does."""

    input: float
    output: float
    source: str = field(default="declared", init=False)
    discounts_cache: bool = field(default=False, init=False)

    def cost(self, usage: Usage) -> float:
        """Return USD for these tokens."""
        if usage.free:
            return 0.0
        tokens = usage.input_tokens * self.input + usage.output_tokens * self.output
        return tokens * _PER_MILLION

    def at_most(self, usage: Usage) -> float:
        """Return USD at most: the kind of tokens makes no difference here."""
        return self.cost(usage)


class _Tier(NamedTuple):
    """USD per million tokens for a call that reads more than `above` tokens, and per call."""

    above: int
    plain: float
    cached: float
    written: float
    output: float
    reasoning: float
    per_call: float

    def cost(self, usage: Usage) -> float:
        cached, written = usage.cached_tokens, usage.cache_write_tokens
        tokens = (
            (usage.input_tokens - cached - written) * self.plain
            + cached * self.cached
            + written * self.written
            + (usage.output_tokens - usage.reasoning_tokens) * self.output
            + usage.reasoning_tokens * self.reasoning
        )
        return tokens * _PER_MILLION + self.per_call

    def at_most(self, usage: Usage) -> float:
        dearest = max(self.plain, self.cached, self.written), max(self.output, self.reasoning)
        tokens = usage.input_tokens * dearest[0] + usage.output_tokens * dearest[1]
        return tokens * _PER_MILLION + self.per_call


_Tiers = tuple[_Tier, ...]  # lowest first; the first begins under zero tokens


@dataclass(frozen=True)
class _Catalogued:
    """Prices out of the catalogue; `tiers` gives those of a moment, None being now."""

    source: str
    tiers: Callable[[timedelta | None], _Tiers]

    @property
    def discounts_cache(self) -> bool:
        first = self.tiers(None)[0]
        return first.cached < first.plain

    def cost(self, usage: Usage) -> float:
        if usage.free:
            return 0.0
        tiers = self.tiers(None)
        reached = tiers[0]
        for tier in tiers[1:]:
            if usage.input_tokens > tier.above:
                reached = tier
        return reached.cost(usage)

    def at_most(self, usage: Usage) -> float:
        if usage.free:
            return 0.0
        now, soon = self.tiers(None), self.tiers(timedelta(hours=1))  # when the call has ended
        tiers = now if now is soon else now + soon
        return max(tier.at_most(usage) for tier in tiers if usage.input_tokens > tier.above)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def catalogue_tariff(
    listing: Listing, *, clock: Callable[[], datetime] = _utc_now
) -> Tariff | None:
    """Return the catalogue's tariff for a model, or None where it knows none.

    Where `listing.api_url` is set, the provider is the one whose API that is: a server of your own
    that calls its model "gpt-5-mini" bills nobody. Otherwise it is `listing.provider`, by its exact
    name; without one the price is unknown, since one name of a model has a price per provider.

    Args:
        listing: Under which name the model is known.
        clock: Says when a call is made; some prices have a first day, or hours of the day.
    """
    found = _lookup(*listing)
    if found is None:
        return None
    source, model, prices = found
    if len(prices) == 1:
        (only,) = prices.values()
        return _Catalogued(source, lambda later: only)
    return _Catalogued(
        source, lambda later: prices[id(model.get_prices(clock() + (later or timedelta())))]
    )


@functools.lru_cache(maxsize=1024)
def _lookup(
    provider: str | None, name: str, api_url: str | None
) -> tuple[str, ModelInfo, dict[int, _Tiers]] | None:
    """Return where a model's prices are from, the model, and each of its prices by identity."""
    if not name or not (provider or api_url):
        return None
    try:
        return _found(provider or "", name, api_url)
    except LookupError:  # what the catalogue says of a provider or model that it does not list
        return None
    except (ImportError, AttributeError, TypeError, ValueError) as fault:
        _warn(f"prices are unknown, genai-prices cannot be used: {type(fault).__name__}: {fault}")
        return None


@functools.cache
def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def _found(
    provider: str, name: str, api_url: str | None
) -> tuple[str, ModelInfo, dict[int, _Tiers]] | None:
    import genai_prices

    nothing = genai_prices.Usage()
    name = name.removeprefix("models/")  # as Google's own API spells it
    if api_url is not None:
        where = api_url.strip().lower()
        found = genai_prices.calc_price(nothing, name, provider_api_url=where)
    else:
        wanted = provider.strip().lower()
        wanted = _PROVIDERS.get(wanted, wanted)
        found = genai_prices.calc_price(nothing, name, provider_id=wanted)
        if found.provider.id != wanted:  # found by a likeness: "my_openai_proxy" is not OpenAI
            return None
    model = found.model
    listed = model.prices if isinstance(model.prices, list) else None
    stated = [model.prices] if listed is None else [each.prices for each in listed]
    prices = {id(price): _tiers(price) for price in stated}  # type: ignore[arg-type]
    if not prices or None in prices.values():
        return None
    source = f"genai-prices {genai_prices.__version__}: {found.provider.id} {model.id}"
    return source, model, {key: tiers for key, tiers in prices.items() if tiers is not None}


def _tiers(price: ModelPrice) -> _Tiers | None:
    """Read a price out, once; None where it lacks one or has one of an unknown kind."""
    stated = {key: value for key, value in vars(price).items() if value is not None}
    unknown = (key for key in stated.keys() - _READ if not any(k in key for k in _NOT_IN_A_USAGE))
    if price.input_mtok is None or price.output_mtok is None or any(unknown):
        return None
    steps = {key: dict(_steps(stated[key])) for key in stated.keys() & _READ}
    starts = sorted({start for step in steps.values() for start in step})

    def rate(key: str, start: int, default: float) -> float:
        reached = [rate for above, rate in steps.get(key, {}).items() if above <= start]
        return reached[-1] if reached else default

    tiers = []
    for start in starts:
        plain, output = rate("input_mtok", start, 0.0), rate("output_mtok", start, 0.0)
        tiers.append(
            _Tier(
                above=start,
                plain=plain,
                cached=rate("cache_read_mtok", start, plain),
                written=rate("cache_write_mtok", start, plain),
                output=output,
                reasoning=rate("output_reasoning_mtok", start, output),
                per_call=rate("requests_kcount", start, 0.0) / 1000,
            )
        )
    return tuple(tiers)


def _steps(price: object) -> Iterable[tuple[int, float]]:
    """Return (above how many input tokens, price), lowest first."""
    from genai_prices.types import TieredPrices

    if not isinstance(price, TieredPrices):
        return [(-1, float(price))]  # type: ignore[arg-type]
    return [(-1, float(price.base)), *((tier.start, float(tier.price)) for tier in price.tiers)]
