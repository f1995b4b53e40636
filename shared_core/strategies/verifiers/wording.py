"""How an answer is worded: empty, a refusal, a loop, in another form than asked, unsure.

In: prompt and answer. Out: what is wrong with the wording, as evidence. The phrases are English; an
answer in another language is found wanting only where it is empty, loops or breaks a form. That
nothing is found is no proof of a right answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared_core.strategies.verifiers.answers import as_number
from shared_core.strategies.verifiers.base import looked, weighed
from shared_core.strategies.verifiers.forms import Form, asked_form
from shared_core.strategies.verifiers.json_text import held_value
from shared_core.types import Draft, Reply, Verdict, Verification

__all__ = ["Wording"]

_READ: Final = 20_000  # characters
_SHORT: Final = 400  # characters: an answer that is longer goes on to say something
_TAIL: Final = 2_000  # characters in which a loop shows
_PIECE: Final = 30  # characters: shorter pieces come back in any text
_FAILED: Final = 0.05
_BROKEN: Final = 0.2
_UNSURE: Final = 0.3
"""Measured on 12,245 answers of 12 models to MMLU-Pro (TIGER-Lab, Apache-2.0): words of refusal in
a longer answer multiply its odds by 0.2, a hedge by 0.3, a loop by 0.1; 0.3 is odds of 0.43."""

_APOSTROPHES: Final = str.maketrans("’‘", "''")  # noqa: RUF001
_REFUSAL: Final = re.compile(
    r"(?<![\"'\w])i(?: cannot| can not| can't| won't|(?:'m| am) (?:unable|not able) to"
    r"|'m afraid i can't) (?:help|assist|provide|answer|do that|fulfil|comply|discuss|create"
    r"|generate|access|browse|engage|support|give|share|write|respond|complete|process|view|see)\b"
    r"|(?<![\"'\w])i(?:'m| am) sorry, but (?:i|as an)\b|\bas an ai\b|\bi must decline\b"
    r"|(?<![\"'\w])i(?: do not| don't) (?:know|have (?:access|enough information|the ability))\b"
)
_HEDGE: Final = re.compile(
    r"\bi(?:'m| am) not (?:\w+ )?(?:sure|certain)\b|\bi could be wrong\b|\bi may be wrong\b"
    r"|\bi might be mistaken\b|\bi(?:'m| am) guessing\b|\b(?:my best|an educated|a wild) guess\b"
    r"|\bnone of the (?:options|choices|answers)\b|\bseems? (?:to be )?(?:a mistake|an error)\b"
    r"|\b(?:hard|difficult|impossible) to (?:say|tell|determine)\b|\bnot enough information\b"
)
_ITEM: Final = re.compile(r"^[ \t]{0,8}(?:[-*•+]|\(?[0-9]{1,3}[.):])[ \t]*\S", re.MULTILINE)
_MARKUP: Final = re.compile(r"<[^<>]{1,30}>")
_REPEAT: Final = re.compile(
    r"\brepeat|\b(?:write|say|print|output|type)\b[^.\n]{0,60}[0-9] times\b"
)
_SENTENCE_END: Final = re.compile(r"[.?!](?=\s|$)")
_LETTER: Final = re.compile(r"\W{0,3}(?:option |answer:? )?\W{0,3}[a-z]\W{0,3}")


@dataclass(frozen=True, slots=True)
class Wording:
    """Looks for wordings that right answers seldom have."""

    name: str = "wording"

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""
        return looked(self.name, self._look, draft)

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        """See `Verifier`: a loop shows while an answer grows, and nothing mends it."""
        return (min(draft.prior, _FAILED), 0.0) if _failure(draft) else None

    def _look(self, draft: Draft) -> Verdict:
        reply = draft.reply
        if not reply.text.strip():
            return self._without_text(draft)
        if failure := _failure(draft):
            return Verdict(self.name, min(draft.prior, _FAILED), failure)
        if broken := _broken(draft):
            return Verdict(self.name, weighed(draft.prior, _BROKEN), broken)
        if _refuses(reply.text) or _HEDGE.search(_plain(_ends(reply.text))):
            return Verdict(self.name, weighed(draft.prior, _UNSURE), "it is unsure")
        return Verdict(self.name, None, "nothing is wrong with the wording")

    def _without_text(self, draft: Draft) -> Verdict:
        if _is_structured(draft.reply):
            return Verdict(self.name, None, "no text")
        return Verdict(self.name, min(draft.prior, _FAILED), "it is empty")


def _is_structured(reply: Reply) -> bool:
    return bool(reply.tool_calls) or reply.parsed is not None


def _failure(draft: Draft) -> str | None:
    """Return what ends all hope of an answer; None where nothing does."""
    text = draft.reply.text
    if draft.whole and len(text) <= _SHORT and _refuses(text):
        return "it refuses"
    return "it goes round in a loop" if _loops(text) and not _may_loop(draft) else None


def _refuses(text: str) -> bool:
    """Tell whether the first line refuses: further down, letters and dialogues do."""
    return _REFUSAL.search(_plain(text[:_SHORT].lstrip().partition("\n")[0])) is not None


def _may_loop(draft: Draft) -> bool:
    return _REPEAT.search(_ends(draft.prompt.text).casefold()) is not None


def _loops(text: str) -> bool:
    """Tell whether a text ends in one piece said again and again, for 300 characters or more."""
    tail = text[-_TAIL - _READ :].rstrip()[-_TAIL:]
    before = tail.rfind(tail[-_PIECE:], 0, max(0, len(tail) - 1))
    period = len(tail) - _PIECE - before
    length = max(300, 5 * period)
    words = _MARKUP.sub("", tail[-2 * period :])  # a table's rule and padding are no loops
    if before < 0 or length > len(tail) or not any(map(str.isalpha, words)):
        return False
    return tail[-length:] == (tail[-period:] * (length // period + 1))[-length:]


def _plain(text: str) -> str:
    return text.casefold().translate(_APOSTROPHES)


def _ends(text: str) -> str:
    half = _READ // 2
    return text if len(text) <= _READ else f"{text[:half]}\n{text[-half:]}"


# --- the form that was asked for ---


def _broken(draft: Draft) -> str | None:
    """Return which form that the prompt asks for the answer breaks; None where it breaks none."""
    if _is_structured(draft.reply) or draft.prompt.schema is not None:
        return None  # see `Structure`
    form, text = asked_form(draft.prompt.text), draft.reply.text[:_READ].strip()
    return next((why for rule in _RULES if (why := rule(form, text))), None)


def _single(form: Form, text: str) -> str | None:
    words = len(text.split())
    fits = {
        "word": words <= 2,
        "number": words <= 3 and (as_number(text) is not None or words == 1),
        "letter": _LETTER.fullmatch(text[:40].casefold()) is not None,
    }
    return None if form.single is None or fits[form.single] else f"not one {form.single} alone"


def _items(form: Form, text: str) -> str | None:
    found = len(_ITEM.findall(text))
    if form.items is None or not 1 < found < form.items:
        return None  # none at all: it may be a list in a sentence
    return "fewer items than asked for"


def _words(form: Form, text: str) -> str | None:
    too_many = form.words is not None and len(text.split()) > 1.2 * form.words + 2
    return "more words than asked for" if too_many else None


def _sentences(form: Form, text: str) -> str | None:
    if form.sentences is None:
        return None
    most = 1.5 * form.sentences + 1  # full stops end more than sentences
    return "more sentences than asked for" if len(_SENTENCE_END.findall(text)) > most else None


def _json(form: Form, text: str) -> str | None:
    return "no JSON, as asked for" if form.json and not held_value(text) else None


_RULES: Final[tuple[Callable[[Form, str], str | None], ...]] = (
    _single,
    _items,
    _words,
    _sentences,
    _json,
)
