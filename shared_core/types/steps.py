"""What a strategy may want at each step, and what it gets."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from shared_core.types.prompt import Prompt, Turn
from shared_core.types.reply import Reply

__all__ = [
    "Ask",
    "Check",
    "Draft",
    "Purpose",
    "Reasoning",
    "Steps",
    "Verdict",
    "Verification",
    "Watch",
    "Wish",
]

Reasoning = Literal["none", "low", "medium", "high"]
"""How long a model that can think before it answers is to think."""

Purpose = Literal["answer", "check"]
"""What a candidate is asked for: an answer to the caller, or a word on another's answer."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A strategy wants this candidate to be asked.

    Attributes:
        candidate: Its name.
        visible: Its answer may be streamed to the caller while it grows, where nothing else is
            wanted beside it; it cannot be edited then. False holds it back until the strategy
            returns it.
        params: Neutral parameters of the call, which each skin maps: "max_tokens", "temperature",
            "reasoning" (see `Reasoning`), "logprobs" (True: tell each token's log probability).
        turns: Said besides the caller's messages: a system turn in the first system message, a user
            turn at the end, in the caller's own last message where that is a user's.
        replace: The turns are said instead of the caller's messages, tools and schema: a helper
            needs text alone.
        watch: Looks at a held answer while it grows, and may have it dropped.
        purpose: What it is asked for.
        place: Which ask of its call it is, from 1, as the run numbers them.
    """

    candidate: str
    visible: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    watch: Watch | None = None
    purpose: Purpose = "answer"
    replace: bool = False
    place: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at an answer while it grows.

    Attributes:
        drops: Is given what there is so far; True has the call broken off.
        inline: It takes well under a millisecond: an event loop can do it in passing.
        first: Chunks before the first look; each further one waits for half as many again.
        limit_s: Seconds that a look which is not inline is waited for at most; there is no other
            after it then.
    """

    drops: Callable[[Reply], bool]
    inline: bool = True
    first: int = 16
    limit_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer that is looked at before the caller gets it.

    Attributes:
        prompt: What was asked.
        reply: What came back, as far as it has grown.
        prior: Probability that it is right, by all that is known before it is looked at: the
            predictor's estimate, then what earlier verifiers made of it.
        whole: It has ended.
        expected_tokens: Of the whole answer, as estimated; None where nobody knows.
    """

    prompt: Prompt
    reply: Reply
    prior: float = 0.5
    whole: bool = True
    expected_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verifier makes of one draft; or, without a draft, what a strategy concluded.

    Attributes:
        verifier: Its name.
        probability: That the draft is right, 0 to 1, by all that is known with it; None: it cannot
            tell, which is never taken for a pass.
        note: Why, in words; nothing of the draft's text.
        candidate: Who wrote the draft; empty where there is none.
        seconds: How long it took, models that it asked included.
    """

    verifier: str
    probability: float | None = None
    note: str = ""
    candidate: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """A strategy wants a draft looked at, by work that asks no candidate.

    Attributes:
        verifier: The name of who looks.
        look: Returns the probability that the draft is right, True or False for certainty, a
            `Verdict`, or None where it cannot tell. What it raises, and anything else it returns,
            counts as None.
        draft: What to look at.
        inline: It takes well under a millisecond: it is done in passing, else in a thread.
        limit_s: Seconds that it is waited for at most; it then counts as None.
    """

    verifier: str
    look: Callable[[Draft], float | bool | Verdict | None]
    draft: Draft
    inline: bool = False
    limit_s: float = 10.0


Wish = Ask | Check | Verdict
Steps = Generator[tuple[Wish, ...], tuple[Any, ...], Reply]
"""A strategy at work: yields what it wants (those of one tuple may run side by side), receives a
`Reply` to each ask and a `Verdict` for each check, returns the reply that answers, or a copy of it
with another text, which the caller then gets. A verdict that it yields is written down, and comes
back as it is. Does no I/O."""

Verification = Generator[tuple[Wish, ...], tuple[Any, ...], Verdict]
"""A verifier at work: the same, but for the end, which is its verdict."""
