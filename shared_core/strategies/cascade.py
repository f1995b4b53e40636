"""Look at the cheap model's answer, then decide: accept it, or ask a better model.

In: a decision. Out: the accepted draft, or the answer of the best candidate left. Cascade routing
as in "A Unified Approach to Routing and Cascading for LLMs" (Dekoninck et al., arXiv 2410.10347):
at each step the next model is chosen, or the draft at hand taken, by what each is expected to be
worth against what it costs, and rungs on which a draft would not pay are skipped. What a draft is
worth comes from the predictor (before it is there) and from verifiers (after). Drafts are held
until they are accepted; the last candidate answers in sight.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, Final, Literal

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number, is_whole
from shared_core.strategies.base import failure, unparsed
from shared_core.strategies.single import Single
from shared_core.strategies.stakes import Stakes
from shared_core.strategies.verifiers.base import Verifier, as_verifiers, logit
from shared_core.strategies.verifiers.bounded import bounded
from shared_core.strategies.verifiers.standard import standard_verifiers
from shared_core.tokens import estimate_tokens
from shared_core.types import (
    Ask,
    Decision,
    Draft,
    Prompt,
    Reply,
    Steps,
    Verdict,
    Watch,
    Wish,
)

__all__ = ["Cascade"]

_HOPELESS: Final = 0.05
"""Probability of a draft under which no further verifier is asked."""

_UNVERIFIED: Final = ("policy", "escalate", "accept")

Judging = Generator[tuple[Wish, ...], tuple[Any, ...], tuple[float, bool]]
"""Verifiers at work; ends with the probability that is left, and whether any of them could tell."""


@dataclass(frozen=True)
class Cascade:
    """Try a cheap candidate, look at its draft, ask a better one where it is probably wrong.

    Args:
        verify: Who looks at drafts, cheap ones first: verifiers, or functions of a `Draft` that
            return how probable it is that it is right. None: `standard_verifiers()`.
        accept: Probability from which a draft is accepted, 0 to 1. None: by the policy, from δ
            under what the best candidate left would probably achieve on this prompt.
        unverified: What becomes of a draft of which no verifier can tell anything: "policy" leaves
            it to the estimates, as if there were no draft, so that it is accepted where its
            candidate would have been chosen; "escalate", "accept".
        abort: Look at a draft of free text while it grows, and break it off once it will hardly be
            accepted. Needs a verifier that can `glance`.
        max_drafts: Most drafts before the answer is left to the best candidate.

    Raises:
        ConfigurationError: An argument makes no sense.
        AllCandidatesFailedError: All failed, and no draft was whole.
        Exception: A candidate's own error that no other could mend.
    """

    verify: Any = None
    accept: float | None = None
    unverified: Literal["policy", "escalate", "accept"] = "policy"
    abort: bool = True
    max_drafts: int = 3
    verifiers: tuple[Verifier, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.accept is not None and not is_number(self.accept, 0, 1):
            raise ConfigurationError(f"cascade: accept must be from 0 to 1, not {self.accept!r}")
        if self.unverified not in _UNVERIFIED:
            raise ConfigurationError(
                f"cascade: unverified is one of {_UNVERIFIED}, not {self.unverified!r}"
            )
        if not is_whole(self.max_drafts, 1):
            raise ConfigurationError(f"cascade: max_drafts must be 1 or more: {self.max_drafts!r}")
        if type(self.abort) is not bool:
            raise ConfigurationError(f"cascade: abort must be True or False, not {self.abort!r}")
        found = standard_verifiers() if self.verify is None else as_verifiers(self.verify)
        if not found:
            raise ConfigurationError("cascade: verify names nobody; leave it out for the standard")
        object.__setattr__(self, "verifiers", found)
        if self.verify is not None:  # an iterator is empty by now
            object.__setattr__(self, "verify", found)

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """See `Strategy.steps`."""
        if len(decision.allowed) < 2:
            return (yield from Single().steps(prompt, decision))
        return (yield from _Ascent(self, prompt, decision).steps())

    def plan(self, prompt: Prompt, decision: Decision) -> str:
        """Say what would be done, in words, for `explain`."""
        if len(decision.allowed) < 2:
            return f"{decision.candidate} answers without a draft: nobody else may"
        stakes = Stakes(decision, self.accept)
        first = stakes.next_draft(frozenset(), self._first(prompt, decision))
        if first is None:
            return f"{stakes.best(frozenset())} answers without a draft: none would pay"
        names = ", ".join(verifier.name for verifier in self.verifiers)
        return (
            f"{first} drafts; looked at by {names}; accepted from a probability of "
            f"{stakes.bar(first, frozenset({first})):.2f}, else "
            f"{stakes.best(frozenset({first}))} answers"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Candidates that its verifiers ask by name, such as judges."""
        asked = [getattr(verifier, "candidate", None) for verifier in self.verifiers]
        return tuple([name for name in asked if isinstance(name, str)])

    def _first(self, prompt: Prompt, decision: Decision) -> str | None:
        """Return who must draft first: the model that waits for a tool's result, or its relief."""
        relieved = decision.phase in ("after an error", "stall")
        held = prompt.in_tool_loop and (relieved or prompt.author == decision.candidate)
        return decision.candidate if held else None

    @cached_property
    def _params(self) -> Mapping[str, Any]:
        """What drafts have to be asked with, so that verifiers can do their work."""
        found: dict[str, Any] = {}
        for verifier in self.verifiers:
            found.update(getattr(verifier, "params", None) or {})
        return found


class _Ascent:
    """One call's way up: who has been asked, what was held, what failed."""

    def __init__(self, cascade: Cascade, prompt: Prompt, decision: Decision) -> None:
        self._cascade, self._prompt, self._decision = cascade, prompt, decision
        self._stakes = Stakes(decision, cascade.accept)
        self._names = frozenset((decision.candidate, *decision.fallbacks, *decision.allowed))
        self._tried: set[str] = set()
        self._held: list[tuple[float, Reply]] = []
        self._failures: list[tuple[str, Exception]] = []

    def steps(self) -> Steps:
        first = self._cascade._first(self._prompt, self._decision)
        drafts = 0
        while drafts < self._cascade.max_drafts and self._may_go_on():
            name = self._stakes.next_draft(frozenset(self._tried), first)
            if name is None:
                break
            drafts, first = drafts + 1, None
            accepted = yield from self._draft(name)
            if accepted is not None:
                return accepted
        return (yield from self._answer())

    def _draft(self, name: str) -> Generator[tuple[Wish, ...], tuple[Any, ...], Reply | None]:
        """Ask for a draft and look at it; return it if it is accepted."""
        self._tried.add(name)
        bar = self._stakes.bar(name, frozenset(self._tried))
        seen: list[Verdict] = []
        reply: Reply
        (reply,) = yield (self._ask(name, bar, seen),)
        if reply.error is not None:
            self._failed(reply)
            return None
        if (fault := unparsed(self._prompt, reply)) is not None:
            yield (Verdict("parser", 0.0, fault, name),)
            self._stakes.learn(name, 0.0)
            return None
        if reply.finish_reason == "dropped" and seen:
            yield (seen[-1],)
            self._stakes.learn(name, seen[-1].probability or 0.0)
            return None
        bar = self._stakes.bar(name, frozenset(self._tried), _written(reply))
        chance, known = yield from self._judge(Draft(self._prompt, reply, self._prior(name)), bar)
        if known or self._cascade.unverified == "policy":
            accepted = chance >= bar
        else:
            accepted = self._cascade.unverified == "accept"
        if not accepted:
            self._stakes.learn(name, chance)
            self._held.append((chance, reply))
        return reply if accepted else None

    def _judge(self, draft: Draft, bar: float) -> Judging:
        """Ask verifier after verifier, as long as one could still change what becomes of it."""
        chance, known = draft.prior, False
        for verifier in self._cascade.verifiers:
            reach = getattr(verifier, "reach", None)
            if reach is not None and abs(logit(chance) - logit(bar)) > reach:
                known = True  # whatever it said, the same would become of the draft
                continue
            try:
                verdict = yield from bounded(verifier, replace(draft, prior=chance), self._names)
            except Exception as error:  # noqa: BLE001 - a verifier of anybody's making
                note = f"it raised {type(error).__name__}"
                verdict = Verdict(verifier.name, None, note, draft.reply.candidate)
            yield (verdict,)
            if verdict.probability is not None:
                chance, known = verdict.probability, True
            if chance < min(_HOPELESS, bar):
                break
        return chance, known

    def _answer(self) -> Steps:
        """Have the best candidate left answer in sight; failing that the others, or a draft."""
        reply: Reply
        chance, draft = max(self._held, key=itemgetter(0), default=(0.0, None))
        while self._may_go_on() and (name := self._stakes.best(frozenset(self._tried))) is not None:
            if self._failures and draft is not None and chance >= self._stakes.expected(name):
                break
            self._tried.add(name)
            (reply,) = yield (Ask(name),)
            if reply.error is None:
                return reply
            self._failed(reply)
        if draft is not None:
            return draft
        raise failure(self._failures)

    def _ask(self, name: str, bar: float, seen: list[Verdict]) -> Ask:
        watch = self._watch(name, bar, seen)
        return Ask(name, visible=False, params=self._cascade._params, watch=watch)

    def _watch(self, name: str, bar: float, seen: list[Verdict]) -> Watch | None:
        """Return who looks at a growing draft; only free text grows in a way that tells."""
        if not self._cascade.abort or self._prompt.schema is not None or self._prompt.tools:
            return None
        glancing = [v for v in self._cascade.verifiers if hasattr(v, "glance")]
        if not glancing:
            return None
        prior, expected = self._prior(name), self._stakes.of(name).output_tokens

        def drops(reply: Reply) -> bool:
            draft = Draft(self._prompt, reply, prior, whole=False, expected_tokens=expected)
            for verifier in glancing:
                glance = verifier.glance(draft)
                if glance is not None and self._stakes.gives_up(bar, *glance):
                    note = "broken off while it grew"
                    seen.append(Verdict(verifier.name, glance[0], note, name))
                    return True
            return False

        return Watch(drops, all(getattr(v, "inline_glance", True) for v in glancing))

    def _prior(self, name: str) -> float:
        return self._stakes.of(name).quality

    def _failed(self, reply: Reply) -> None:
        assert reply.error is not None  # noqa: S101 - for the type alone
        self._failures.append((reply.candidate, reply.error))
        if not reply.retryable:
            raise failure(self._failures)

    def _may_go_on(self) -> bool:
        """Tell whether another failure could be mended: as many as the decision has fallbacks."""
        return len(self._failures) <= len(self._decision.fallbacks)


def _written(reply: Reply) -> int:
    usage = reply.usage
    return usage.output_tokens if usage is not None else estimate_tokens(reply.text)
