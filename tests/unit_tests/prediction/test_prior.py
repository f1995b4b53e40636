"""The prior: small, bounded, loaded once, refused when damaged, fair to other languages."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from shared_core.errors import ArtefactError
from shared_core.prediction import prior
from shared_core.prediction.prior import (
    CARD,
    LEAST,
    MOST,
    SHIPPED,
    WEIGHTS,
    Prior,
    prompt_difficulty,
)
from shared_core.prediction.surface import difficulty, surface_features
from shared_core.prediction.terms import BUCKETS, bucket, buckets, terms, tokens

PARALLEL = json.loads((Path(__file__).parent / "parallel_prompts.json").read_text("utf-8"))
PLAIN = "Tom has 3 red apples and 4 green apples. How many apples does Tom have in the basket now?"
TANGLED = "Tom buys 3 kg at a 20% discount each week and half as many the next. What is his profit?"


def surface(text: str) -> float:
    return difficulty(surface_features(text))


def write(folder: Path, weights: list[float] | None = None, idf: list[float] | None = None) -> None:
    values = {"weights": weights or [0.0] * BUCKETS, "idf": idf or [1.0] * BUCKETS}
    half = {name: np.array(value, np.float16) for name, value in values.items()}
    save_file(half, folder / WEIGHTS)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps({"format": 1, "sha256": digest}))


def test_words_move_the_difficulty_as_far_as_they_weigh(tmp_path: Path) -> None:
    weights = [0.0] * BUCKETS
    weights[bucket("lemma")] = 0.1
    write(tmp_path, weights)
    learned = Prior.load(tmp_path)
    assert learned.shift("Lemma") == pytest.approx(0.1, rel=1e-3)
    assert learned.shift("lemma zorn") == pytest.approx(0.1 / math.sqrt(3), rel=1e-3)
    assert learned.shift("zorn") == 0
    assert learned.difficulty("zorn") == surface("zorn")


def test_words_move_the_difficulty_only_so_far(tmp_path: Path) -> None:
    for weight, end in ((9.0, MOST), (-9.0, -MOST)):
        write(tmp_path, [weight] * BUCKETS)
        assert Prior.load(tmp_path).shift("any words at all") == end
    assert Prior.load(tmp_path).difficulty("Hi") == LEAST * surface("Hi")


def test_only_both_ends_of_a_long_prompt_are_read(tmp_path: Path) -> None:
    weights = [0.0] * BUCKETS
    weights[bucket("lemma")] = 0.1
    write(tmp_path, weights)
    learned, filler = Prior.load(tmp_path), "word " * 400
    assert learned.shift(f"{filler} lemma {filler}") == 0
    assert learned.shift(f"lemma {filler}{filler}") > 0
    assert learned.shift(f"{filler}{filler} lemma") > 0


def test_buckets_are_those_of_the_terms() -> None:
    for text in ("", "one", "Über 12 ÷ 7 = x", "日本の首都 is 東京?", "\ud800 lone \udfff a a a"):
        listed = [bucket(term) for term, n in terms(text).items() for _ in range(n)]
        assert sorted(buckets(tokens(text))) == sorted(listed)


def test_what_is_shipped_is_what_its_card_says_and_may_be_shipped() -> None:
    card = json.loads((SHIPPED / CARD).read_text("utf-8"))
    assert card["sha256"] == hashlib.sha256((SHIPPED / WEIGHTS).read_bytes()).hexdigest()
    assert all(source.endswith(("MIT", "Apache-2.0")) for source in card["sources"].values())
    assert card["apgr"]["mean"]["prompts_left_out"] > card["apgr"]["mean"]["surface"]
    assert card["apgr"]["mean"]["family_left_out"] >= card["apgr"]["mean"]["surface"]
    assert (SHIPPED / WEIGHTS).stat().st_size < 150_000


def test_it_tells_prompts_of_like_surface_apart() -> None:
    assert abs(surface(PLAIN) - surface(TANGLED)) < 0.05
    assert prompt_difficulty(TANGLED) - prompt_difficulty(PLAIN) > 0.1


@pytest.mark.parametrize("of", [surface, prompt_difficulty])
@pytest.mark.parametrize("language", sorted(set(PARALLEL) - {"en"}))
def test_a_translation_is_about_as_difficult(language: str, of: Callable[[str], float]) -> None:
    """The mean shift stays below half the spread of the English prompts, and the order remains."""
    english, theirs = ([of(text) for text in PARALLEL[name]] for name in ("en", language))
    shift = statistics.fmean(theirs) - statistics.fmean(english)
    assert abs(shift) < 0.5 * statistics.pstdev(english)
    assert statistics.correlation(english, theirs) > 0.7


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])


def flip(folder: Path) -> None:
    blob = bytearray((folder / WEIGHTS).read_bytes())
    blob[-1] ^= 1
    (folder / WEIGHTS).write_bytes(blob)


def of_another_format(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text("utf-8"))
    (folder / CARD).write_text(json.dumps({**card, "format": 2}))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (truncate, "not those its card names"),
        (flip, "not those its card names"),
        (of_another_format, "format 2"),
        (lambda folder: (folder / WEIGHTS).unlink(), "FileNotFoundError"),
        (lambda folder: (folder / CARD).unlink(), "FileNotFoundError"),
        (lambda folder: (folder / CARD).write_text("{}"), "KeyError"),
        (lambda folder: (folder / CARD).write_text("not JSON"), "JSONDecodeError"),
        (lambda folder: write(folder, weights=[0.0] * 7), "7 weights"),
        (lambda folder: write(folder, idf=[1.0] * (BUCKETS + 1)), "idf"),
        (lambda folder: write(folder, weights=[math.nan] * BUCKETS), "no numbers"),
        (lambda folder: write(folder, idf=[math.inf] * BUCKETS), "no numbers"),
    ],
)
def test_what_is_damaged_is_refused(
    damage: Callable[[Path], object], fault: str, tmp_path: Path
) -> None:
    folder = tmp_path / "prior"
    shutil.copytree(SHIPPED, folder)
    Prior.load(folder)
    damage(folder)
    with pytest.raises(ArtefactError, match=fault):
        Prior.load(folder)


def test_many_threads_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    load = Prior.load

    def counted(folder: Path) -> Prior:
        loads.append(folder)
        return load(folder)

    monkeypatch.setattr(Prior, "load", counted)
    prior._loaded.cache_clear()
    with ThreadPoolExecutor(64) as pool:
        found = set(pool.map(prompt_difficulty, [TANGLED] * 256))
    assert loads == [SHIPPED]
    assert len(found) == 1


def test_it_needs_no_numpy() -> None:
    code = (
        "import sys; from shared_core.prediction.prior import prompt_difficulty as of; of('Hi');"
        "sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
