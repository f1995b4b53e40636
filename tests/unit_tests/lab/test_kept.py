"""Encodings that are kept: each text is read once, also by a run that was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_core import ConfigurationError
from shared_core.lab.fit import fit
from shared_core.lab.kept import Kept
from tests.fakes.learning import hidden, parity_encoder


class Counting:
    """An encoder that notes what it reads, and fails after so many texts."""

    def __init__(self, fails_after: int | None = None, name: str = "fake:counting") -> None:
        self.read: list[str] = []
        self.fails_after = fails_after
        self.name = name

    def encode(self, texts: Sequence[str]) -> Any:
        self.read += texts
        if self.fails_after is not None and len(self.read) > self.fails_after:
            raise ConnectionError("gone")
        return parity_encoder().encode(texts)


def test_the_vectors_are_the_encoders_own_and_each_text_is_read_once(tmp_path: Path) -> None:
    encoder = Counting()
    kept = Kept(encoder, tmp_path / "kept.db")
    texts = ["a", "bb", "a", "\udcff", ""]
    expected = np.asarray(parity_encoder().encode(texts), np.float32)
    for asked in ([0, 1, 2], [1, 0, 3, 4, 2]):
        found = kept.encode([texts[at] for at in asked])
        np.testing.assert_array_equal(found, expected[asked])
    assert sorted(set(encoder.read)) == sorted(set(texts))
    assert len(encoder.read) == 5  # the text that was asked for twice at once was read twice
    assert kept.name == encoder.name
    assert kept.encode([]).shape[0] == 0


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    table = hidden()
    broken = Counting(fails_after=100)
    with pytest.raises(ConnectionError):
        fit(table, encoder=Kept(broken, tmp_path / "kept.db"))
    whole = Counting()
    resumed = fit(table, encoder=Kept(whole, tmp_path / "kept.db"))
    assert len(whole.read) == 200 - 96  # three pieces of 32 were done
    fresh = fit(table, encoder=Counting())
    np.testing.assert_array_equal(resumed.weights.by_encoding, fresh.weights.by_encoding)


def test_encoders_may_share_a_file(tmp_path: Path) -> None:
    first, second = Counting(name="fake:one"), Counting(name="fake:two")
    for encoder in (first, second):
        Kept(encoder, tmp_path / "kept.db").encode(["a"])
    assert first.read == second.read == ["a"]


def test_no_text_is_kept(tmp_path: Path) -> None:
    Kept(Counting(), tmp_path / "kept.db").encode(["the secret of the pyramids"])
    assert b"pyramids" not in (tmp_path / "kept.db").read_bytes()


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("notes " * 100)
    with pytest.raises(ConfigurationError, match=r"notes\.txt cannot keep encodings"):
        Kept(Counting(), file).encode(["a"])
    assert file.read_text() == "notes " * 100
    with pytest.raises(ConfigurationError, match="cannot keep encodings"):
        Kept(Counting(), tmp_path / "gone" / "kept.db").encode(["a"])
