"""Learning to verify: few labels stay near the shipped head, many are followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from shared_core.errors import ConfigurationError, TableError
from shared_core.lab.answers import fit_answers, fit_rows, prior_logits, rows_of_answers
from shared_core.lab.evaluate import auc
from shared_core.lab.judged import JudgedAnswers
from shared_core.strategies.verifiers.head import SHARES
from shared_core.strategies.verifiers.learned import LearnedVerifier, shipped_head
from tests.fakes.judged import judged_answers

WHOLE = len(SHARES) - 1


def answers(n: int, **how: Any) -> JudgedAnswers:
    rows = judged_answers(n, **how)
    columns = [tuple(row[name] for row in rows) for name in ("prompt", "model", "answer")]
    return JudgedAnswers(*columns, np.array([row["score"] for row in rows]))


class Telling:
    """A reader that knows whether an answer is right, among other things."""

    name = "telling"

    def __init__(self, width: int = 3) -> None:
        """Remember how much it says."""
        self.width = width

    def read(self, question: str, drafts: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return noise, and in the first place what a slip looks like."""
        rng = np.random.default_rng(len(question))
        rows = rng.normal(size=(len(drafts), self.width))
        words = question.split()
        total = int(words[4]) + int(words[8])
        rows[:, 0] += [3.0 * (f" = {total}." in draft) for draft in drafts]
        return np.asarray(rows)


def judged(head: Any, given: JudgedAnswers) -> float:
    rows = rows_of_answers(given, growing=False)
    logits = head.logits(rows.surface[:, WHOLE], rows.prior, models=given.models)
    return auc(logits, given.scores)


def test_more_answers_teach_more() -> None:
    """What was learned orders answers to new prompts better than what is shipped."""
    new = answers(300, seed=99)
    shipped = judged(shipped_head(), new)
    few = judged(fit_answers(answers(30)).head, new)
    many = judged(fit_answers(answers(150)).head, new)
    assert shipped > 0.55
    assert few > shipped
    assert many > 0.85


def test_tells_how_good_it_is_on_new_prompts() -> None:
    """AUC and calibration of left-out prompts are those of new ones; the seed makes the folds."""
    fitted = fit_answers(answers(100))
    assert fitted.auc == pytest.approx(judged(fitted.head, answers(300, seed=99)), abs=0.12)
    assert 0 <= fitted.ece < 0.2
    again = fit_answers(answers(100))
    assert np.array_equal(again.head.linear, fitted.head.linear)
    assert np.array_equal(again.head.leaf, fitted.head.leaf)
    assert not np.array_equal(fit_answers(answers(100), seed=1).unseen, fitted.unseen)


def test_noise_teaches_next_to_nothing() -> None:
    """Scores drawn at random leave new answers near the shipped head's opinion."""
    given = answers(79)
    rng = np.random.default_rng(1)
    noise = JudgedAnswers(
        given.prompts, given.models, given.answers, rng.integers(0, 2, 79).astype(float)
    )
    fitted = fit_answers(noise)
    assert fitted.auc < 0.7


def test_learns_with_a_reader() -> None:
    """A reader that tells more is believed; it must then be there."""
    given = answers(70, slips=0.5)
    with_reader = fit_answers(given, reader=Telling())
    assert with_reader.head.reader == "telling"
    assert with_reader.head.reading[0] > 0
    assert LearnedVerifier(with_reader.head, Telling()).head.card["answers"] == 70


def test_knows_its_models_apart() -> None:
    """Of two models the better one's answers are more probable, and slips show within each."""
    given = answers(38, models=("weak", "strong"), slips=0.6)
    fitted = fit_answers(given)
    assert fitted.head.models == ("strong", "weak")
    strong = np.array(given.models) == "strong"
    assert fitted.unseen[strong].mean() > fitted.unseen[~strong].mean() + 0.3
    for one in (strong, ~strong):
        assert auc(fitted.unseen[one], given.scores[one]) > 0.7


def test_learns_about_growing_drafts() -> None:
    """The less of a draft is there, the further it may still go."""
    head = fit_answers(answers(79)).head
    assert head.drift[WHOLE] == 0
    assert head.drift[0] > head.drift[WHOLE]


def test_shares_that_nobody_asks_for_get_the_whole() -> None:
    """Learning about whole drafts alone leaves the others usable."""
    head = fit_rows(rows_of_answers(answers(60)), shares=(WHOLE,)).head
    assert np.array_equal(head.linear[0], head.linear[WHOLE])


def test_the_prior_is_the_routers() -> None:
    """Without training a router takes the weaker model to be right less often."""
    given = answers(40, models=("weak", "strong"), slips=0.9)
    prior = prior_logits(given)
    listed = np.array(given.models)
    assert prior[listed == "strong"].mean() > prior[listed == "weak"].mean()


@pytest.mark.parametrize(
    ("n", "scores", "fault"),
    [
        (9, None, "there are 9 judged answers; training needs at least 10"),
        (12, 1.0, "every score is 1"),
    ],
)
def test_refuses_what_teaches_nothing(n: int, scores: float | None, fault: str) -> None:
    """Too few answers, or scores that are all alike, are an error."""
    given = answers(n)
    kept = given.scores if scores is None else np.full(n, scores)
    with pytest.raises(TableError, match=fault):
        fit_answers(JudgedAnswers(given.prompts, given.models, given.answers, kept))


def test_refuses_answers_to_one_prompt() -> None:
    """Left-out prompts need several prompts."""
    given = answers(20)
    same = JudgedAnswers(("one",) * 20, given.models, given.answers, given.scores)
    with pytest.raises(TableError, match="fewer than 5 prompts"):
        fit_answers(same)


def test_refuses_a_reader_that_changes_its_mind() -> None:
    """Vectors of other lengths, or that are no numbers, are an error."""

    class Odd(Telling):
        def read(self, question: str, drafts: Sequence[str]) -> np.ndarray[Any, Any]:
            return np.full((1, 1 + len(question) % 2), np.nan if len(drafts) > 5 else 1.0)

    class Blind(Telling):
        def read(self, question: str, drafts: Sequence[str]) -> np.ndarray[Any, Any]:
            return np.full((1, 2), np.nan)

    for reader in (Odd(), Blind()):
        with pytest.raises(ConfigurationError, match="as many finite numbers"):
            fit_answers(answers(20), reader=reader)


def test_tells_its_progress() -> None:
    """Every answer and every share is a step."""
    told: list[tuple[int, int]] = []
    fit_answers(answers(20), progress=lambda done, steps: told.append((done, steps)))
    assert told == [(step, 24) for step in range(1, 25)]
