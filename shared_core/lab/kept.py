"""Encodings that are kept in a file, so that a run that was stopped goes on where it was.

In: an encoder and the path of a file (SQLite), made where there is none. Out: an encoder of the
same name that reads each text once, whatever happens in between. Texts are not kept, only
their fingerprints.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared_core.errors import ConfigurationError
from shared_core.prediction.encoders import Encoder, Vectors, encoded
from shared_core.prediction.features import fingerprints

__all__ = ["Kept"]

_TABLE = """
CREATE TABLE IF NOT EXISTS encodings
(encoder TEXT, text INTEGER, vector BLOB, PRIMARY KEY (encoder, text))
"""


@dataclass(frozen=True)
class Kept:
    """An encoder whose vectors are kept.

    Attributes:
        encoder: Makes those that are not kept yet.
        file: Where; several encoders may share one.
    """

    encoder: Encoder
    file: Path

    @property
    def name(self) -> str:
        """That of the encoder."""
        return self.encoder.name

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode`.

        Raises:
            ConfigurationError: The file is no database, or the encoder's vectors cannot be used.
        """
        known = fingerprints(texts).tolist()
        with self._opened() as database:
            kept = dict(self._rows(database, known))
            places = [at for at, text in enumerate(known) if text not in kept]
            made = encoded(self.encoder, [texts[at] for at in places])
            fresh = {known[at]: row for at, row in zip(places, made, strict=True)}
            database.executemany(
                "INSERT OR REPLACE INTO encodings VALUES (?, ?, ?)",
                [(self.name, text, row.astype("<f4").tobytes()) for text, row in fresh.items()],
            )
        return np.array([fresh[text] if text in fresh else kept[text] for text in known])

    def _rows(
        self, database: sqlite3.Connection, texts: Sequence[int]
    ) -> Iterator[tuple[int, Vectors]]:
        asked = "SELECT vector FROM encodings WHERE encoder = ? AND text = ?"
        for text in texts:
            for (vector,) in database.execute(asked, (self.name, text)):
                yield text, np.frombuffer(vector, "<f4").astype(np.float32)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.file)) as database, database:
                database.execute(_TABLE)
                yield database
        except sqlite3.Error as error:
            raise ConfigurationError(f"{self.file} cannot keep encodings: {error}") from error
