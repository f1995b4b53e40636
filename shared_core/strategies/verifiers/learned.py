"""A verifier that has learned from judged answers: from their surface, and from a reader's vectors.

Log odds add up: the prior's, and what the draft itself says. What comes with the package has
learned from public answers of other domains (its card says which); `router-llm train --answers`
makes one from answers of the own traffic, for which thirty are enough to help.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from shared_core.errors import ArtefactError
from shared_core.strategies.verifiers.arithmetic import Arithmetic
from shared_core.strategies.verifiers.base import Verifier, logit, probability
from shared_core.strategies.verifiers.head import SHARES, Head
from shared_core.strategies.verifiers.surface import FEATURES, draft_features
from shared_core.tokens import estimate_tokens
from shared_core.types import Check, Draft, Verdict, Verification

__all__ = ["LearnedVerifier", "Reader"]

SHIPPED: Final = Path(__file__).parent / "data" / "verifier"
_LOADING: Final = threading.Lock()
_INLINE: Final = 1_500  # characters of a draft, about a millisecond
_REASONS: Final = 3  # features that a note names
_WHOLE: Final = len(SHARES) - 1
_BEYOND: Final = Arithmetic()
_LENGTHS: Final = ("q_words", "words")
_STRANGE: Final = 3.0
"""Standard deviations of a logarithm of words from the mean. Further off are 0.5 % of 1,500
answers of train_answers_math, and 14 % of train_answers_mmlu_pro: most of these a bare sentence."""

Floats = npt.NDArray[np.floating[Any]]


class Reader(Protocol):
    """Reads a question and drafts of answers to it, and returns what it makes of them.

    Its vectors must be the same each time, and of one length under one name.
    """

    @property
    def name(self) -> str:
        """Which model, in which revision, read how."""
        ...

    def read(self, question: str, drafts: Sequence[str]) -> Floats:
        """Return one row of numbers per draft."""
        ...


@dataclass(frozen=True, eq=False)
class LearnedVerifier:
    """Tells how probable it is that a draft is right by what it looks like.

    Attributes:
        head: What it has learned.
        reader: The one that it was trained with, where it was.
        beyond: Who looks at drafts that are far shorter or longer than those it has learned from,
            or answer to such questions: what it has learned says nothing of them.
        name: What records call it.
        limit_s: Seconds that a reader is waited for at most.

    Raises:
        ArtefactError: It was trained with another reader.
    """

    head: Head = field(repr=False)
    reader: Reader | None = None
    beyond: Verifier = _BEYOND
    name: str = "learned"
    limit_s: float = 10.0

    inline_glance = True

    def __post_init__(self) -> None:
        """Refuse a reader that the head does not know."""
        given = None if self.reader is None else self.reader.name
        if given != self.head.reader:
            raise ArtefactError("verifier", f"needs the reader {self.head.reader!r}, not {given!r}")

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""
        strange: list[bool] = []

        def look(draft: Draft) -> Verdict | None:
            if not draft.reply.text.strip():
                return Verdict(self.name, None, "no text")
            surface = draft_features(draft.prompt.text, draft.reply.text)
            strange.append(self._is_strange(surface))
            return None if strange[0] else self._judged(draft, surface)

        inline = self.reader is None and len(draft.reply.text) <= _INLINE
        verdict: Verdict
        (verdict,) = yield (Check(self.name, look, draft, inline=inline, limit_s=self.limit_s),)
        if not any(strange):
            return verdict
        verdict = yield from self.beyond.verify(draft)
        note = f"unlike what it has learned from; {verdict.note or 'nobody can tell'}"
        return replace(verdict, verifier=self.name, note=note)

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        """See `Verifier`: what a growing draft is worth by its surface, and how surely.

        It is judged against its expected length; None where that is unknown.
        """
        if not draft.expected_tokens:
            return None
        share = estimate_tokens(draft.reply.text) / draft.expected_tokens
        if share < SHARES[0]:
            return None
        place = min(_place(share), _WHOLE - 1)
        surface = draft_features(draft.prompt.text, draft.reply.text)
        if self._is_strange(surface, ("q_words",)):
            return None
        found = self._probability(draft, surface, place)
        return None if found is None else (found, float(self.head.drift[place]))

    def contributions(self, draft: Draft) -> list[tuple[str, float]]:
        """Return what moved the log odds of a whole draft by its surface, largest first."""
        surface = draft_features(draft.prompt.text, draft.reply.text)
        z = self.head.standardised(surface)
        parts = dict(zip(FEATURES, (z * self.head.linear[_WHOLE]).tolist(), strict=True))
        parts["together"] = float(self.head.by_trees(z[None])[0])
        return sorted(((n, part) for n, part in parts.items() if part), key=lambda p: -abs(p[1]))

    def _is_strange(self, surface: Floats, lengths: Sequence[str] = _LENGTHS) -> bool:
        places = [FEATURES.index(name) for name in lengths]
        return bool((np.abs(self.head.standardised(surface)[places]) > _STRANGE).any())

    def _judged(self, draft: Draft, surface: Floats) -> Verdict:
        reading = None
        if self.reader is not None:
            reading = np.asarray(self.reader.read(draft.prompt.text, [draft.reply.text]), float)
        found = self._probability(draft, surface, _WHOLE, reading)
        z = self.head.standardised(surface) * self.head.linear[_WHOLE]
        most = np.argsort(-np.abs(z))[:_REASONS]
        note = ", ".join(f"{FEATURES[place]} {z[place]:+.2f}" for place in most if z[place])
        return Verdict(self.name, found, f"log odds: {note}" if note else "")

    def _probability(
        self, draft: Draft, surface: Floats, share: int, reading: Floats | None = None
    ) -> float | None:
        by = (draft.reply.candidate,)
        logits = self.head.logits(surface[None], logit(draft.prior), reading, share, by)
        return probability(float(logits[0])) if np.isfinite(logits[0]) else None

    def save(self, folder: str | Path) -> None:
        """Write it to a folder; see `Head.save`."""
        self.head.save(folder)

    @classmethod
    def load(cls, folder: str | Path, reader: Reader | None = None) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtefactError: It cannot be read, or was trained with another reader.
        """
        return cls(Head.load(folder), reader)

    @classmethod
    def shipped(cls, reader: Reader | None = None) -> Self:
        """Return the one that comes with the package."""
        return cls(shipped_head(), reader)


def shipped_head() -> Head:
    """Return the head that comes with the package, read once."""
    with _LOADING:  # `cache` alone would let threads that come first load it side by side
        return _loaded(SHIPPED)


@cache
def _loaded(folder: Path) -> Head:
    return Head.load(folder)


def _place(share: float) -> int:
    """Return the place of the largest share that is surely there."""
    return max(0, sum(share >= one for one in SHARES) - 1)
