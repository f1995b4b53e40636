"""Tables of judged answers: what models said to prompts, and whether it was right.

In: a file with one row per answer. Out: `JudgedAnswers`, or a `TableError` that names the file, the
row and the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.errors import TableError
from shared_core.lab.table import REQUIRED, Scale, rows_of, text_of

__all__ = ["JudgedAnswers", "read_answers"]

COLUMNS: Final = (*REQUIRED, "answer")


@dataclass(frozen=True, eq=False)
class JudgedAnswers:
    """n answers.

    Attributes:
        prompts: What was asked, n.
        models: Who answered, n.
        answers: What they said, n.
        scores: How good it was, 0 to 1, n.
        unscored: Rows of the table that have no score and are left out.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    answers: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    unscored: int = 0

    def subset(self, rows: npt.NDArray[Any] | Sequence[int]) -> JudgedAnswers:
        """Return some of the answers, by their places or a mask."""
        places = np.arange(len(self.scores))[np.asarray(rows)].tolist()
        return JudgedAnswers(
            tuple([self.prompts[place] for place in places]),
            tuple([self.models[place] for place in places]),
            tuple([self.answers[place] for place in places]),
            self.scores[places],
        )


def read_answers(path: str | Path, *, scale: tuple[float, float] | None = None) -> JudgedAnswers:
    """Read a table of judged answers.

    Columns `prompt`, `model`, `answer` and `score` are required, all others are ignored. Rows
    without a score (null, NaN, empty) are left out and counted.

    Args:
        path: A file as `read_table` takes it; a ledger must keep texts and hold users' feedback.
        scale: Scores of the table that become 0 and 1, for instance (1, 10). None: they are 0 to 1.

    Raises:
        TableError: The file is missing, broken or empty, a column is missing, a value cannot be
            meant, or a score is not on the scale.
        MissingExtraError: The package that reads this kind of file is not installed.
    """
    path = Path(path)
    seen = Scale(path, scale)
    found: list[tuple[str, str, str, float]] = []
    for where, row in rows_of(path, COLUMNS, ()):
        texts = [text_of(where, row, column) for column in ("prompt", "model", "answer")]
        score = seen.score(where, row)
        if score is not None:
            found.append((texts[0], texts[1], texts[2], score))
    seen.check()
    prompts, models, answers, scores = zip(*found, strict=True)
    if len(set(scores)) == 1:
        raise TableError(
            f"{path}: every score is {scores[0]:g}: give both right answers and wrong ones"
        )
    return JudgedAnswers(prompts, models, answers, np.array(scores), seen.unscored)
