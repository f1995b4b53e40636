"""Prices are the catalogue's own to the last digit, bounds hold, and unknown is None."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices import types as theirs
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_core.accounting import prices
from shared_core.accounting.prices import Declared, Tariff, catalogue_tariff
from shared_core.types import Listing, Usage

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
PROVIDERS = get_snapshot().providers
SIZES = (0, 1, 40, 1_000, 127_999, 200_000, 200_001, 260_000, 1_100_000)


def names(match: Any) -> Iterator[str]:
    """Names that a model of the catalogue may answer to: the words of its own rule."""
    for rules in (getattr(match, "or_", ()), getattr(match, "and_", ())):
        for rule in rules:
            yield from names(rule)
    for kind in ("equals", "starts_with", "contains"):
        yield from filter(None, [getattr(match, kind, None)])


def name_of(provider: theirs.Provider, model: theirs.ModelInfo) -> str | None:
    """A name by which the catalogue finds this very model, if its rule tells one."""
    known = (model.id, *names(model.match))
    return next((name for name in known if provider.find_model(name) is model), None)


MODELS = [
    (provider.id, name, model)
    for provider in PROVIDERS
    for model in provider.models
    if (name := name_of(provider, model))
]


def prices_of(model: theirs.ModelInfo) -> list[theirs.ModelPrice]:
    if isinstance(model.prices, theirs.ModelPrice):
        return [model.prices]
    return [conditional.prices for conditional in model.prices]


def usage(rng: random.Random) -> Usage:
    read, written = rng.choice(SIZES), rng.choice(SIZES)
    cached = rng.choice((0, rng.randint(0, read)))
    stored = rng.choice((0, rng.randint(0, read - cached)))
    return Usage(read, written, cached, stored, rng.choice((0, rng.randint(0, written))))


def catalogue_says(provider: str, name: str, used: Usage, when: datetime = NOON) -> float:
    found = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cache_read_tokens=used.cached_tokens,
            cache_write_tokens=used.cache_write_tokens,
            output_reasoning_tokens=used.reasoning_tokens,
        ),
        name,
        provider_id=provider,
        genai_request_timestamp=when,
    )
    return float(found.total_price)


def tariff(provider: str | None, name: str, url: str | None = None, **known: Any) -> Tariff:
    found = catalogue_tariff(Listing(provider, name, url), **known)
    assert found is not None
    return found


def test_every_model_costs_what_the_catalogue_itself_computes() -> None:
    rng, priced, unpriced = random.Random(1), 0, 0
    for provider, name, model in MODELS:
        found = catalogue_tariff(Listing(provider, name), clock=lambda: NOON)
        if found is None:
            unpriced += 1
            stated = prices_of(model)
            assert not stated or any(
                price.input_mtok is None
                or price.output_mtok is None
                or price.output_citation_mtok is not None
                for price in stated
            ), (provider, name)
            continue
        priced += 1
        for used in (usage(rng), usage(rng)):
            assert found.cost(used) == pytest.approx(
                catalogue_says(provider, name, used), rel=1e-12, abs=1e-15
            ), (provider, name, used)
    assert priced >= 0.8 * len(MODELS)
    assert unpriced > 0


def test_the_catalogue_is_asked_by_every_name_it_has() -> None:
    nameless = sum(len(p.models) for p in PROVIDERS) - len(MODELS)
    assert nameless <= 0.01 * len(MODELS)


VARIED = [
    ("openai", "gpt-5-mini"),
    ("anthropic", "claude-sonnet-4-5"),  # tiers, cache writes dearer than plain input
    ("google_genai", "gemini-2.5-pro"),  # tiers
    ("perplexity", "sonar"),  # a price per call
    ("openrouter", "perplexity/sonar-deep-research"),  # reasoning has a price of its own
    ("deepseek", "deepseek-chat"),  # hours of the day
]


@settings(max_examples=300)
@given(
    model=st.sampled_from(VARIED),
    read=st.integers(0, 1_500_000),
    written=st.integers(0, 100_000),
    split=st.tuples(*[st.floats(0, 1)] * 5),
    hour=st.integers(0, 23),
)
def test_at_most_bounds_every_split_and_every_shorter_call(
    model: tuple[str, str], read: int, written: int, split: tuple[float, ...], hour: int
) -> None:
    now = NOON.replace(hour=hour)
    found = tariff(*model, clock=lambda: now)
    fewer, less = int(read * split[0]), int(written * split[1])
    cached = int(fewer * split[2])
    stored = int((fewer - cached) * split[3])
    used = Usage(fewer, less, cached, stored, int(less * split[4]))
    most = found.at_most(Usage(read, written))
    assert found.cost(used) <= most * (1 + 1e-12)
    later = tariff(*model, clock=lambda: now.replace(minute=59))
    assert later.cost(used) <= most * (1 + 1e-12)


def test_at_most_is_no_more_than_the_dearest_split() -> None:
    found = tariff("anthropic", "claude-sonnet-4-5")
    dearest = Usage(1_000, 100, cache_write_tokens=1_000)
    assert found.at_most(Usage(1_000, 100)) == pytest.approx(found.cost(dearest))


def test_cached_input_is_cheaper_where_the_catalogue_says_so() -> None:
    found = tariff("openai", "gpt-5-mini")
    assert found.discounts_cache
    assert found.cost(Usage(1_000, 0, cached_tokens=1_000)) < found.cost(Usage(1_000, 0)) / 2
    assert not tariff("openai", "gpt-4").discounts_cache


def test_a_longer_prompt_reaches_the_next_tier_as_a_whole() -> None:
    found = tariff("anthropic", "claude-sonnet-4-5")
    below, above = found.cost(Usage(200_000, 0)), found.cost(Usage(200_001, 0))
    assert above / below == pytest.approx(2, rel=1e-4)


@pytest.fixture
def catalogue() -> Iterator[theirs.Provider]:
    """A catalogue of one provider, "acme", for the test to fill."""
    acme = theirs.Provider(id="acme", name="Acme", api_pattern=r"https://api\.acme\.test")
    prices._lookup.cache_clear()
    set_custom_snapshot(DataSnapshot(providers=[acme], from_auto_update=False))
    yield acme
    set_custom_snapshot(None)
    prices._lookup.cache_clear()


def listed(catalogue: theirs.Provider, prices: Any) -> None:
    catalogue.models.append(theirs.ModelInfo("m", theirs.ClauseEquals("m"), prices=prices))


def flat(rate: str) -> theirs.ModelPrice:
    return theirs.ModelPrice(input_mtok=Decimal(rate), output_mtok=Decimal(rate))


@pytest.mark.parametrize(
    ("when", "rate"),
    [
        (datetime(2026, 1, 1, 12, tzinfo=UTC), 1.0),
        (datetime(2026, 2, 28, 23, 59, tzinfo=UTC), 1.0),
        (datetime(2026, 3, 1, 0, 0, tzinfo=UTC), 2.0),
        (datetime(2026, 3, 1, 16, 30, tzinfo=UTC), 0.5),
        (datetime(2026, 3, 1, 18, 30, tzinfo=UTC), 2.0),
    ],
)
def test_a_price_follows_the_clock_of_a_process_that_runs_for_long(
    catalogue: theirs.Provider, when: datetime, rate: float
) -> None:
    """A new price begins on its day, a cheap hour at its minute."""
    evening = theirs.TimeOfDateConstraint(time(16, 30, tzinfo=UTC), time(18, 30, tzinfo=UTC))
    conditional = [
        theirs.ConditionalPrice(prices=flat("1")),
        theirs.ConditionalPrice(theirs.StartDateConstraint(date(2026, 3, 1)), prices=flat("2")),
        theirs.ConditionalPrice(evening, prices=flat("0.5")),
    ]
    listed(catalogue, conditional)
    clock = [datetime(2025, 1, 1, tzinfo=UTC)]
    found = tariff("acme", "m", clock=lambda: clock[0])
    assert found.cost(Usage(1_000_000, 0)) == pytest.approx(1)
    clock[0] = when
    assert found.cost(Usage(1_000_000, 0)) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("spelt", "name", "theirs"),
    [
        ("openai", "GPT-4o-mini", "openai gpt-4o-mini"),
        ("azure", "gpt-4o", "azure gpt-4o"),
        ("azure_openai", "gpt-4o", "azure gpt-4o"),
        ("google_genai", "models/gemini-2.5-flash", "google gemini-2.5-flash"),
        ("google_vertexai", "gemini-2.5-pro", "google gemini-2.5-pro"),
        ("mistralai", "mistral-large-latest", "mistral mistral-large"),
        ("amazon_bedrock", "amazon.nova-lite-v1:0", "aws amazon.nova-lite-v1:0"),
        ("groq", "llama-3.3-70b-versatile", "groq llama-3.3-70b-versatile"),
        ("xai", "grok-4", "x-ai grok-4-0709"),
    ],
)
def test_the_frameworks_spellings_are_known(spelt: str, name: str, theirs: str) -> None:
    assert tariff(spelt, name).source == f"genai-prices {genai_prices.__version__}: {theirs}"


@pytest.mark.parametrize(
    "listing",
    [
        Listing("openai", "gpt-5-mini", "http://127.0.0.1:8000/v1"),
        Listing("openai", "gpt-5-mini", "http://localhost:11434"),
        Listing("openai", "gpt-5-mini", ""),
        Listing("openai", "gpt-5-mini", "https://api.groq.com/openai/v1"),
        Listing("my_openai_proxy", "gpt-5-mini"),
        Listing("ollama", "llama3.2"),
        Listing(None, "gpt-5-mini"),
        Listing("", "gpt-5-mini"),
        Listing("openai", ""),
        Listing("openai", "gpt-5-mini-of-mine"),
        Listing("openai", "text-embedding-3-small"),  # no price of output
        Listing("openai", "whisper-1"),  # no price of tokens
        Listing("perplexity", "sonar-deep-research"),  # bills citations, which no usage tells
    ],
)
def test_what_nobody_states_is_unknown(listing: Listing) -> None:
    assert catalogue_tariff(listing) is None


def test_an_address_says_who_bills() -> None:
    """The class is OpenAI's client, the server is not."""
    name = "llama-3.3-70b-versatile"
    by_address = tariff("openai", name, " https://API.groq.com/openai/v1")
    assert by_address.source == tariff("groq", name).source
    assert tariff(None, "gpt-5-mini", "https://api.openai.com/v1")


def test_a_usage_that_nobody_is_paid_for_is_free() -> None:
    free = Usage(1_000, 1_000, free=True)
    for found in (*(tariff(*model) for model in VARIED), Declared(1.0, 2.0)):
        assert found.cost(free) == found.at_most(free) == 0


def test_declared_prices_know_no_cache() -> None:
    found: Tariff = Declared(0.5, 2.0)
    used = Usage(1_000, 100, cached_tokens=900)
    assert found.cost(used) == found.at_most(used) == pytest.approx(0.0007)
    assert (found.source, found.discounts_cache) == ("declared", False)


@pytest.mark.parametrize(
    ("stated", "known"),
    [
        ({"input_mtok": Decimal(0), "output_mtok": Decimal(0)}, True),  # really free
        ({"input_mtok": Decimal(1), "output_mtok": None}, False),
        ({"input_mtok": None, "output_mtok": Decimal(1)}, False),
        (
            {"input_mtok": Decimal(1), "output_mtok": Decimal(1), "input_text_mtok": Decimal(1)},
            False,
        ),
        ({"input_mtok": Decimal(1), "output_mtok": Decimal(1), "input_text_mtok": None}, True),
        ({}, False),
    ],
)
def test_a_stated_zero_is_a_price_and_a_gap_is_none(
    catalogue: theirs.Provider, stated: dict[str, Any], known: bool
) -> None:
    listed(catalogue, theirs.ModelPrice(**stated))
    found = catalogue_tariff(Listing("acme", "m"))
    assert (found is not None) == known
    if found and stated["input_mtok"] == 0:
        assert found.cost(Usage(1_000, 1_000)) == 0


def test_a_catalogue_that_has_changed_leaves_prices_unknown_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prices._lookup.cache_clear()
    prices._warn.cache_clear()
    monkeypatch.delattr(genai_prices, "calc_price")
    with pytest.warns(RuntimeWarning, match=r"genai-prices cannot be used.*calc_price"):
        assert catalogue_tariff(Listing("openai", "gpt-5-mini")) is None
    assert catalogue_tariff(Listing("openai", "gpt-4o")) is None  # a second warning would raise
    prices._lookup.cache_clear()
    prices._warn.cache_clear()


def test_the_catalogue_is_imported_at_the_first_lookup_only() -> None:
    code = (
        "import sys, shared_core.accounting.prices as p\n"
        "assert 'genai_prices' not in sys.modules\n"
        "assert p.catalogue_tariff(p.Listing('openai', 'gpt-4o'))\n"
        "assert 'genai_prices' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_get_the_same_answer() -> None:
    prices._lookup.cache_clear()
    costs: list[float] = []

    def ask() -> None:
        costs.extend(tariff(*model).cost(Usage(1_000, 100)) for model in VARIED)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(costs) == 8 * len(VARIED)
    assert len(set(costs)) == len({tariff(*each).cost(Usage(1_000, 100)) for each in VARIED})
