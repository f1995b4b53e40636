"""Encoders: one row of finite numbers per text, whatever the text, or an error that helps."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from shared_core.errors import ConfigurationError, MissingExtraError
from shared_core.prediction.encoders import (
    EmbeddingEncoder,
    Encoder,
    PrefillEncoder,
    SentenceEncoder,
    encoded,
    encoder_from,
)
from tests.fakes.learning import FakeEncoder
from tests.fakes.tiny_model import LetterTokenizer, tiny_model

TEXTS = ("hello", "", " ", "证明这个定理", "🤖 \udcff \0", "word " * 20_000)


class FakeSentences:
    """Like a `SentenceTransformer`: cuts what is too long off, counts letters of what is left."""

    max_seq_length = 16

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode(self, texts: list[str], **options: Any) -> np.ndarray:
        assert options == {"convert_to_numpy": True, "show_progress_bar": False}
        assert "".join(texts).encode() is not None, "lone surrogates are refused"
        self.read += texts
        return np.array([[len(t), t.count("a"), t.count("z"), 1.0] for t in texts], np.float32)


class FakeEmbeddings:
    """Like LangChain's `Embeddings`."""

    model = "text-embedding-x"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        assert all(text.encode() for text in texts), "empty texts and lone surrogates are refused"
        return [[float(len(t)), 1.0] for t in texts]


class FakeBaseEmbedding:
    """Like LlamaIndex's `BaseEmbedding`."""

    model_name = "embedding-y"

    def get_text_embedding_batch(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(t)), 2.0] for t in texts]


def names_of(*encoders: Encoder) -> list[str]:
    return [encoder.name for encoder in encoders]


@pytest.mark.parametrize(
    "encoder",
    [
        SentenceEncoder(FakeSentences(), label="fake"),
        EmbeddingEncoder(FakeEmbeddings()),
        EmbeddingEncoder(FakeBaseEmbedding()),
    ],
)
def test_any_text_has_a_row_of_its_own(encoder: Encoder) -> None:
    rows = encoder.encode(TEXTS)
    assert rows.dtype == np.float32
    assert rows.shape[0] == len(TEXTS)
    assert np.isfinite(rows).all()
    for text, row in zip(TEXTS, rows, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], row, rtol=1e-6)


def test_names_say_what_made_the_numbers() -> None:
    encoders = (
        SentenceEncoder(FakeSentences(), label="mine"),
        EmbeddingEncoder(FakeEmbeddings()),
        EmbeddingEncoder(FakeBaseEmbedding()),
        EmbeddingEncoder(FakeEmbeddings(), label="ours"),
    )
    assert names_of(*encoders) == [
        "sentence-transformers:mine",
        "embeddings:text-embedding-x",
        "embeddings:embedding-y",
        "embeddings:ours",
    ]
    json.dumps(names_of(*encoders))


def test_a_model_that_tells_no_name_has_to_be_given_one() -> None:
    with pytest.raises(ConfigurationError, match="label="):
        SentenceEncoder(FakeSentences())


def test_what_is_no_embedding_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a dict is no embedding model"):
        EmbeddingEncoder({})


def test_a_short_text_is_read_once_and_as_it_is() -> None:
    model = FakeSentences()
    SentenceEncoder(model, label="fake").encode(["short", ""])
    assert model.read == ["short", ""]


def test_all_of_a_longer_text_counts() -> None:
    model = FakeSentences()
    text = "".join(chr(0x21 + i) for i in range(90))
    (row,) = SentenceEncoder(model, label="fake").encode([text])
    assert set("".join(model.read)) == set(text)
    assert len(model.read) == 3
    assert max(map(len, model.read)) <= 2 * model.max_seq_length
    np.testing.assert_allclose(row[0], np.mean([len(part) for part in model.read]))


def test_the_work_on_a_huge_text_is_bounded_and_spread_over_it() -> None:
    model = FakeSentences()
    text = "a" * 100_000 + "m" * 100_000 + "z" * 100_000
    (row,) = SentenceEncoder(model, label="fake").encode([text])
    assert len(model.read) == 4
    assert max(map(len, model.read)) <= 2 * model.max_seq_length
    assert row[1] > 0
    assert row[2] > 0


def test_characters_that_may_be_tokens_of_their_own_get_smaller_windows() -> None:
    model = FakeSentences()
    SentenceEncoder(model, label="fake").encode(["证" * 1_000])
    assert max(map(len, model.read)) <= model.max_seq_length


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (lambda text: [float("nan")], "no numbers"),
        (lambda text: [float("inf"), 1.0], "no numbers"),
        (lambda text: [], r"shape \(2, 0\)"),
        (lambda text: 1.0, r"shape \(2,\)"),
        (lambda text: [[1.0]], r"shape \(2, 1, 1\)"),
        (lambda text: [1.0] * len(text), "no numbers"),
        (lambda text: ["a"], "no numbers"),
        (lambda text: None, "shape|no numbers"),
    ],
)
def test_what_is_no_row_of_numbers_is_refused(row: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'fake:encoder'.*({said})"):
        encoded(FakeEncoder(row), ["a", "bc"])


def test_too_few_rows_are_refused() -> None:
    class Lazy:
        name = "lazy"

        def encode(self, texts: Sequence[str]) -> list[list[float]]:
            return [[1.0]]

    with pytest.raises(ConfigurationError, match=r"\(1, 1\) for 2 texts"):
        encoded(Lazy(), ["a", "b"])


def test_no_encoder_gives_rows_of_nothing() -> None:
    assert encoded(None, ["a", "b"]).shape == (2, 0)


@pytest.mark.parametrize("name", ["", "prefill", "prefill:", "embeddings:x", "gpt-4", "prefill:?"])
def test_a_name_that_nothing_can_be_made_from_says_what_can(name: str) -> None:
    with pytest.raises(ConfigurationError, match="prefill:MODEL"):
        encoder_from(name)


def test_a_layer_that_is_no_number_is_said() -> None:
    with pytest.raises(ConfigurationError, match="layer 'x'"):
        encoder_from("prefill:m?layer=x")


@pytest.mark.parametrize("name", ["prefill:some/model", "sentence-transformers:some/model"])
def test_a_missing_extra_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "transformers", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'router-llm-plugin\[local\]'"):
        encoder_from(name)


def test_an_embedding_model_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def guarded(name: str, *arguments: Any, **named: Any) -> Any:
        assert name.partition(".")[0] not in ("torch", "transformers", "langchain", "llama_index")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", guarded)
    assert EmbeddingEncoder(FakeEmbeddings()).encode(["a"]).tolist() == [[1.0, 1.0]]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


def prefill(model: Any, **options: Any) -> PrefillEncoder:
    given = {"tokenizer": LetterTokenizer(), "label": "tiny", **options}
    return PrefillEncoder(model, **given)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_prefill_reads_a_layer_and_how_sure_the_model_is(model: Any, pooling: str) -> None:
    torch = pytest.importorskip("torch")
    encoder = prefill(model, pooling=pooling, layer=3)
    (row,) = encoder.encode(["to be"])
    ids = LetterTokenizer()("to be")["input_ids"]
    with torch.no_grad():
        seen = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    states = seen.hidden_states[3][0].numpy()
    np.testing.assert_allclose(
        row[:-2], states[-1] if pooling == "last" else states.mean(0), rtol=1e-4, atol=1e-6
    )
    chances = np.sort(torch.softmax(seen.logits[0, -1], -1).numpy().astype(float))
    entropy = -(chances * np.log(chances)).sum() / np.log(64)
    np.testing.assert_allclose(row[-2], entropy, rtol=1e-4)
    np.testing.assert_allclose(row[-1], np.log(chances[-1] / chances[-2]) / 10, atol=1e-5)


def test_prefill_has_a_row_for_any_text(model: Any) -> None:
    rows = prefill(model, most_tokens=64).encode(TEXTS)
    assert rows.shape == (len(TEXTS), 18)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert (rows[:, -2:] >= 0).all()
    assert (rows[:, -2:] <= 1).all()


def test_prefill_reads_both_ends_of_a_long_text(model: Any) -> None:
    encoder = prefill(model, most_tokens=32, pooling="mean")
    middle = "m" * 10_000
    base, same, head, tail = encoder.encode(
        [f"a{middle}z", f"a{middle}{middle}z", f"b{middle}z", f"a{middle}y"]
    )
    np.testing.assert_array_equal(base, same)
    assert not np.allclose(base, head)
    assert not np.allclose(base, tail)


def test_prefill_stays_the_same_from_many_threads(model: Any) -> None:
    encoder, texts = prefill(model), [f"text {i}" for i in range(16)]
    alone = encoder.encode(texts)
    with ThreadPoolExecutor(16) as pool:
        rows = list(pool.map(lambda text: encoder.encode([text])[0], texts))
    np.testing.assert_allclose(np.array(rows), alone, rtol=1e-5, atol=1e-6)


def test_the_name_of_prefill_says_how_it_is_read(model: Any) -> None:
    assert prefill(model).name == "prefill:tiny?layer=3&pooling=mean"
    assert prefill(model, layer=2, pooling="last").name == "prefill:tiny?layer=2&pooling=last"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pooling": "max"}, "pooling"),
        ({"layer": 7}, "from 0 to 6"),
        ({"layer": -1}, "from 0 to 6"),
        ({"most_tokens": 1}, "most_tokens"),
        ({"tokenizer": None}, "tokenizer"),
        ({"label": None}, "label="),
    ],
)
def test_options_of_prefill_that_make_no_sense_are_said(
    model: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        prefill(model, **options)


def test_a_folder_that_holds_no_model_is_said(tmp_path: Any) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(ConfigurationError, match="no model can be loaded from"):
        encoder_from(f"prefill:{tmp_path}")
