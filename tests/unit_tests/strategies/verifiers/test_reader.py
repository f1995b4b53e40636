"""The reader: one row of finite numbers per draft, the same whatever was read before it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_core.errors import ConfigurationError, MissingExtraError
from shared_core.strategies.verifiers import local
from shared_core.strategies.verifiers.reader import Reader
from tests.fakes.tiny_model import LetterTokenizer, tiny_model

ODD = ("", " ", "证明 🤖 \udcff \0", "1" * 1_000_000, "+-*/=" * 1_000, "word " * 200_000)
QUESTION = "What is 3 times 4, plus 5?"


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


def reader(model: Any, **options: Any) -> Reader:
    return Reader(
        model, **{"tokenizer": LetterTokenizer(), "label": "tiny@1", "layer": 3, **options}
    )


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


def test_any_draft_has_a_row(model: Any) -> None:
    rows = reader(model, most_tokens=64).read(QUESTION, ODD)
    assert len(rows) == len(ODD)
    assert np.isfinite(rows).all()


def test_any_question_is_read(model: Any) -> None:
    for question in ODD:
        assert np.isfinite(reader(model, most_tokens=64).read(question, ["17"])).all()


def test_question_and_draft_both_count(model: Any) -> None:
    one, other = reader(model).read(QUESTION, ["12 + 5 = 17", "12 + 5 = 18"])
    (asked,) = reader(model).read("What is 3 times 4, plus 6?", ["12 + 5 = 17"])
    assert not np.allclose(one, other, rtol=1e-3)
    assert not np.allclose(one, asked, rtol=1e-3)


def test_what_was_read_before_makes_no_difference(model: Any) -> None:
    drafts = ["12 + 5 = 17", "12 + 5 = 18", "", "a longer one, " * 5, "12 + 5 = 17"]
    together = reader(model).read(QUESTION, drafts)
    alone = [reader(model).read(QUESTION, [draft])[0] for draft in drafts]
    close(together, alone)


def test_a_growing_draft_is_read_on(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "12 plus 5 is what was asked for, which makes 17 in all"
    growing, tokens = reader(model), 0
    read_on = local.LanguageModel.read_on

    def counted(self: local.LanguageModel, ids: list[int], cache: Any) -> Any:
        nonlocal tokens
        tokens += len(ids)
        return read_on(self, ids, cache)

    monkeypatch.setattr(local.LanguageModel, "read_on", counted)
    growing.read(QUESTION, [])
    asked = tokens
    rows = [growing.read(QUESTION, [whole[:end]])[0] for end in range(1, len(whole) + 1)]
    assert asked > len(QUESTION)
    assert tokens <= asked + len(whole) + 1
    close(rows[-1], reader(model).read(QUESTION, [whole])[0])


def test_only_both_ends_of_what_is_long_are_read(model: Any) -> None:
    cut, middle = reader(model, most_tokens=32), "m" * 10_000
    base, same, head, tail = cut.read(
        QUESTION, [f"a{middle}z", f"a{middle}{middle}z", f"b{middle}z", f"a{middle}y"]
    )
    close(base, same)
    assert not np.allclose(base, head, rtol=1e-3)
    assert not np.allclose(base, tail, rtol=1e-3)


def test_threads_do_not_mix_their_readings_up(model: Any) -> None:
    shared = reader(model)
    pairs = [(f"question {i % 3}", f"answer {i}") for i in range(24)]
    alone = [reader(model).read(question, [draft])[0] for question, draft in pairs]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda pair: shared.read(pair[0], [pair[1]])[0], pairs))
    close(rows, alone)


def test_a_row_holds_means_of_one_layer(model: Any) -> None:
    torch = pytest.importorskip("torch")
    draft = "x" * 12 + "17"
    (row,) = reader(model).read(QUESTION, [draft])
    tokenizer = LetterTokenizer()
    asked = tokenizer(f"Question: {QUESTION}\n\nAnswer:")["input_ids"]
    ids = asked + tokenizer(f" {draft}")["input_ids"]
    with torch.no_grad():
        seen = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    states = seen.hidden_states[3][0, len(asked) :].numpy()
    halved = np.average(states, axis=0, weights=[2 ** (place / 10) for place in range(len(states))])
    close(row, np.concatenate([halved, states.mean(0)]))


def test_the_model_it_shares_is_left_whole(model: Any) -> None:
    reader(model).read(QUESTION, ["17"])
    assert len(model.model.layers) == 6
    assert type(model.model.norm).__name__ == "LlamaRMSNorm"


def test_the_name_says_model_and_how_it_is_read(model: Any) -> None:
    assert reader(model).name == "reader:tiny@1?layer=3&most_tokens=512&features=1"
    assert reader(model, layer=2).name != reader(model).name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": 7}, "from 1 to 6"),
        ({"layer": 0}, "from 1 to 6"),
        ({"most_tokens": 1}, "most_tokens"),
        ({"tokenizer": None}, "tokenizer="),
        ({"label": None}, "label="),
    ],
)
def test_options_that_make_no_sense_are_said(
    model: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        reader(model, **options)


def test_a_model_that_cannot_be_cut_is_said() -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2)
    with pytest.raises(ConfigurationError, match="GPT2LMHeadModel keeps its layers elsewhere"):
        reader(transformers.GPT2LMHeadModel(config), layer=1)


def test_a_folder_is_named_by_what_it_holds(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "one")
    first = Reader(tmp_path / "one", LetterTokenizer(), layer=3)
    close(first.read(QUESTION, ["17"]), reader(model).read(QUESTION, ["17"]))
    again = Reader(tmp_path / "one", LetterTokenizer(), layer=3)
    assert first.name == again.name
    assert first.name.startswith("reader:one@")
    (weights,) = (tmp_path / "one").glob("*.safetensors")
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(bytes(damaged))
    assert Reader(tmp_path / "one", LetterTokenizer(), layer=3).name != first.name


@pytest.mark.parametrize("source", ["no-such.gguf", "no/such/folder/at/all"])
def test_a_model_that_is_not_there_is_said(source: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises((ConfigurationError, MissingExtraError), match=r"no file|loaded|local"):
        Reader(tmp_path / source)


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'router-llm-plugin\[local\]'"):
        Reader("some/model")
