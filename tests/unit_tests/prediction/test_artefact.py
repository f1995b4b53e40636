"""The artefact on disk: whole or refused, and never lost to a write that fails."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from shared_core.errors import ArtefactError
from shared_core.lab.fit import fit
from shared_core.prediction.artefact import read_artefact, write_artefact
from shared_core.prediction.learned import LearnedPredictor
from tests.fakes.learning import hidden, outcomes, parity_encoder


@pytest.fixture(scope="module")
def predictor() -> LearnedPredictor:
    return fit(hidden(n=60), encoder=parity_encoder())


@pytest.fixture
def folder(predictor: LearnedPredictor, tmp_path: Path) -> Path:
    predictor.save(tmp_path / "artefact")
    return tmp_path / "artefact"


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def weights(folder: Path) -> Path:
    return next(folder.glob("weights-*.safetensors"))


def recard(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the card."""
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def reweigh(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change the weights, with a card that fits."""
    tensors = safetensors.numpy.load(weights(folder).read_bytes())
    change(tensors)
    blob = safetensors.numpy.save(tensors)
    weights(folder).write_bytes(blob)
    recard(folder, lambda card: card.update(sha256=hashlib.sha256(blob).hexdigest()))


def test_everything_comes_back(predictor: LearnedPredictor, folder: Path) -> None:
    models, arrays, trained_on, sample, card = read_artefact(folder)
    assert models == predictor.models
    assert card == predictor.card
    np.testing.assert_array_equal(trained_on, predictor.trained_on)
    assert arrays.keys() == vars(predictor.weights).keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, getattr(predictor.weights, name))
    assert sample is not None
    assert sample.names == predictor.models


def test_an_artefact_needs_no_sample(predictor: LearnedPredictor, tmp_path: Path) -> None:
    replace(predictor, sample=None).save(tmp_path)
    assert LearnedPredictor.load(tmp_path, parity_encoder()).sample is None


def test_the_card_can_be_read_by_people(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    assert card["models"] == ["small", "large"]
    assert card["about"]["prompts"] == 60
    assert card["about"]["encoder"] == "fake:parity"


def test_models_may_have_any_name(predictor: LearnedPredictor, tmp_path: Path) -> None:
    odd = ("../ß/模型 🤖", "")
    replace(predictor, models=odd).save(tmp_path)
    assert LearnedPredictor.load(tmp_path, parity_encoder()).models == odd


def test_the_same_artefact_is_the_same_bytes(predictor: LearnedPredictor, folder: Path) -> None:
    before = content(folder)
    predictor.save(folder)
    assert content(folder) == before


def test_a_new_artefact_leaves_nothing_of_the_old(folder: Path) -> None:
    old = weights(folder)
    fit(outcomes(n=60)).save(folder)
    assert not old.exists()
    assert sorted(content(folder)) == ["card.json", weights(folder).name]


CUTS: list[Callable[[bytes], bytes]] = [
    lambda blob: b"",
    lambda blob: blob[: len(blob) // 2],
    lambda blob: blob[:-3],
    lambda blob: blob + b"\0",
]
FLIPS: list[Callable[[bytes], bytes]] = [
    lambda blob: bytes([blob[0] ^ 1]) + blob[1:],
    lambda blob: blob[:1000] + bytes([blob[1000] ^ 1]) + blob[1001:],
    lambda blob: blob[:-1] + bytes([blob[-1] ^ 128]),
]


@pytest.mark.parametrize("change", CUTS + FLIPS)
def test_damaged_weights_are_refused(change: Callable[[bytes], bytes], folder: Path) -> None:
    weights(folder).write_bytes(change(weights(folder).read_bytes()))
    with pytest.raises(ArtefactError, match=str(folder)):
        read_artefact(folder)


@pytest.mark.parametrize("change", CUTS)
def test_a_cut_card_is_refused(change: Callable[[bytes], bytes], folder: Path) -> None:
    card = folder / "card.json"
    card.write_bytes(change(card.read_bytes()))
    with pytest.raises(ArtefactError, match=str(folder)):
        read_artefact(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w["by_term"].__setitem__((5, 1), np.nan),
        lambda w: w["blend"].__setitem__((0, 0), np.inf),
        lambda w: w["encoding_centre"].__setitem__(0, np.nan),
        lambda w: w["sample.predicted"].__setitem__((0, 0), np.nan),
        lambda w: w.update(blend=w["blend"][:, :4].copy()),
        lambda w: w.update(by_encoding=w["by_encoding"][:-1].copy()),
        lambda w: w.update(encoding_centre=np.zeros(())),
        lambda w: w.update(by_term=w["by_term"].T.copy()),
        lambda w: w.update({"sample.scores": w["sample.scores"][:-1].copy()}),
        lambda w: w.update({"sample.odd": w["sample.scores"]}),
        lambda w: w.update(odd=np.zeros(3)),
        lambda w: w.pop("idf"),
        lambda w: w.pop("trained_on"),
        lambda w: w.pop("encoding_centre"),
        lambda w: w.pop("sample.predicted"),
        lambda w: w.pop("sample.input_tokens"),
    ],
)
def test_weights_of_a_wrong_shape_or_that_are_no_numbers_are_refused(
    change: Callable[[dict[str, np.ndarray]], object], folder: Path
) -> None:
    reweigh(folder, lambda tensors: None)
    read_artefact(folder)
    reweigh(folder, change)
    with pytest.raises(ArtefactError):
        read_artefact(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card.update(format=2), "of format 2, not 1"),
        (lambda card: card.update(format=None), "of format None"),
        (lambda card: card.pop("format"), "format"),
        (lambda card: card.pop("models"), "models"),
        (lambda card: card.pop("about"), "about"),
        (lambda card: card.update(models="ab"), "no list of names"),
        (lambda card: card.update(models=[1, 2]), "no list of names"),
        (lambda card: card.update(models=["small"]), "shape"),
        (lambda card: card.update(calibrated_on=["small"]), "shape"),
        (lambda card: card.update(weights="gone.safetensors"), "gone"),
        (lambda card: card.update(weights=7), "cannot be read"),
        (lambda card: card.update(sha256="0"), "corrupt"),
        (lambda card: card.update(about=3), "cannot be read"),
    ],
)
def test_a_card_that_is_wrong_is_refused(
    change: Callable[[dict[str, Any]], object], said: str, folder: Path
) -> None:
    recard(folder, change)
    with pytest.raises(ArtefactError, match=said):
        read_artefact(folder)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", "{", "", "\udcff", "[" * 99_999])
def test_a_card_that_is_none_is_refused(text: str, folder: Path) -> None:
    (folder / "card.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtefactError):
        read_artefact(folder)


def test_what_is_no_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "card.json", tmp_path / "gone", tmp_path):
        with pytest.raises(ArtefactError, match="cannot be read"):
            read_artefact(path)


def test_a_card_cannot_name_a_file_elsewhere(folder: Path, tmp_path: Path) -> None:
    moved = weights(folder).rename(tmp_path / "weights.safetensors")
    recard(folder, lambda card: card.update(weights=f"../{moved.name}"))
    with pytest.raises(ArtefactError):
        read_artefact(folder)


def test_who_reads_while_another_writes_sees_one_of_both(
    predictor: LearnedPredictor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, read = replace(predictor, models=("a", "b"), sample=None), Path.read_bytes

    def overtaken(path: Path) -> bytes:
        monkeypatch.setattr(Path, "read_bytes", read)
        other.save(folder)  # after the card was read, before the weights are
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", overtaken)
    assert read_artefact(folder)[0] == ("a", "b")


def test_whoever_writes_last_leaves_an_artefact_that_can_be_read(
    predictor: LearnedPredictor, folder: Path
) -> None:
    """Of those who write side by side none deletes the weights of another."""
    for turn in range(20):
        makers = [replace(predictor, trained_on=np.array([turn, place])) for place in range(4)]
        with ThreadPoolExecutor(len(makers)) as pool:
            list(pool.map(lambda maker: maker.save(folder), makers))
        assert read_artefact(folder)[2][0] == turn


def test_what_a_card_names_elsewhere_is_not_deleted(
    predictor: LearnedPredictor, folder: Path
) -> None:
    for name in ("thesis.txt", "../thesis.txt"):
        (folder / name).write_text("precious")
        recard(folder, lambda card, name=name: card.update(weights=name))
        predictor.save(folder)
        assert (folder / name).read_text() == "precious"


@pytest.mark.parametrize("calls_before", [0, 1])
def test_a_write_that_fails_keeps_the_old_artefact(
    calls_before: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, moved, calls = LearnedPredictor.load(folder, parity_encoder()), os.replace, []

    def full(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) > calls_before:
            raise OSError(28, "No space left on device")
        moved(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        fit(outcomes(n=60)).save(folder)
    kept = LearnedPredictor.load(folder, parity_encoder())
    np.testing.assert_array_equal(kept.qualities(["1"]), old.qualities(["1"]))
    assert not list(folder.glob(".new-*"))


def test_a_card_that_is_not_json_is_never_written(
    predictor: LearnedPredictor, folder: Path
) -> None:
    before = content(folder)
    for value in (float("nan"), object()):
        with pytest.raises((TypeError, ValueError)):
            replace(predictor, card={"odd": value}).save(folder)
    assert content(folder) == before


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_files_have_the_usual_mode(predictor: LearnedPredictor, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        predictor.save(tmp_path / "a")
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").iterdir()}
    assert modes == {0o640}


def test_arrays_of_any_layout_are_written(predictor: LearnedPredictor, tmp_path: Path) -> None:
    arrays = {name: np.asfortranarray(array) for name, array in vars(predictor.weights).items()}
    write_artefact(tmp_path, predictor.models, arrays, predictor.trained_on, None, {})
    np.testing.assert_array_equal(read_artefact(tmp_path)[1]["by_term"], predictor.weights.by_term)
