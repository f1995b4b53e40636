"""Every error this package raises on purpose, as one tree.

```
RouterError
├── ConfigurationError        a constructor argument is wrong; the message says what to change
│   ├── NotCalibratedError    the policy needs a calibration that has not been made
│   ├── ArtefactError         what was learned cannot be read: missing, corrupt, another format
│   └── TableError            a table of outcomes cannot be used; names file, row and column
├── UnknownCandidateError     a call names a candidate that does not exist
├── UnknownDecisionError      a score is given to a call that the ledger does not hold
├── NoCandidateError          no candidate may answer this prompt; carries every refusal
│   └── BudgetExceededError   … because a budget has no room; says what is left and when it resets
├── AllCandidatesFailedError  every candidate that was tried failed; carries every error
├── StreamInterruptedError    a stream broke off after the caller had seen a part; carries that part
├── DraftDroppedError         a draft was broken off: it had been seen to be no good (never raised)
├── TooManyAttemptsError      a call and those inside it asked more often than `max_attempts` allows
├── CandidateRestingError     its server asked to be left alone for longer than the call may wait
├── StorageError              where budgets or the ledger are kept cannot be read or written
├── DeadlineExceededError     the call was not complete in time (also a TimeoutError)
└── MissingExtraError         an optional dependency is not installed (also an ImportError)
```

None of them is a `ValueError`: pydantic would swallow those into its own `ValidationError`.
A candidate's own error that no other candidate could mend is raised as it is, not wrapped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared_core.types import Refusal

__all__ = [
    "AllCandidatesFailedError",
    "ArtefactError",
    "BudgetExceededError",
    "CandidateRestingError",
    "ConfigurationError",
    "DeadlineExceededError",
    "DraftDroppedError",
    "MissingExtraError",
    "NoCandidateError",
    "NotCalibratedError",
    "RouterError",
    "StorageError",
    "StreamInterruptedError",
    "TooManyAttemptsError",
    "UnknownCandidateError",
    "UnknownDecisionError",
    "said",
]


def said(amount: float, unit: str = "", digits: int = 6) -> str:
    """Return an amount in words: "1 call", "1,000,000 tokens", "0.05 USD"."""
    number = f"{amount:,.0f}" if amount == int(amount) else f"{amount:.{digits}g}"
    return f"{number} {unit.removesuffix('s') if amount == 1 else unit}".rstrip()


class RouterError(Exception):
    """Base class of every error of this package.

    Attributes:
        partial: The text that a stream had shown before, None where it had shown nothing.
    """

    partial: str | None = None


class ConfigurationError(RouterError):
    """A constructor argument is wrong."""


class NotCalibratedError(ConfigurationError):
    """The policy asks for something that only a calibration can give."""


class ArtefactError(ConfigurationError):
    """A folder of learned weights cannot be used."""

    def __init__(self, path: object, fault: str) -> None:
        """Name the folder and what is wrong with it."""
        super().__init__(f"the artefact {str(path)!r} {fault}")
        self.path = path


class TableError(ConfigurationError):
    """A table of outcomes cannot be used as it is."""


class UnknownCandidateError(RouterError):
    """A call names a candidate that does not exist."""

    def __init__(self, name: object, known: Sequence[str]) -> None:
        """Name what was asked for and what there is."""
        super().__init__(f"no candidate is named {name!r}; there are: {', '.join(known)}")
        self.name = name
        self.known = tuple(known)


class UnknownDecisionError(RouterError):
    """A score is given to a call that the ledger does not hold."""

    def __init__(self, decision_id: object, kept: str) -> None:
        """Name the decision, and say what is kept."""
        super().__init__(f"no call with the decision {decision_id!r} is in the ledger; {kept}")
        self.decision_id = decision_id


class NoCandidateError(RouterError):
    """No candidate may answer this prompt.

    Attributes:
        refusals: One per refused candidate, with its reason.
    """

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        """Build the message out of every refusal."""
        reasons = "; ".join(f"{r.candidate}: {r.reason}" for r in refusals)
        super().__init__(f"no candidate can answer this prompt: {reasons}")
        self.refusals = tuple(refusals)


class BudgetExceededError(NoCandidateError):
    """A budget has no room for this call.

    Attributes:
        budget: The budget, in words.
        left: What is left of it, in its units ("USD", "Wh", "tokens", "calls").
        resets_at: Unix time at which it begins anew, in seconds; None where it never does.
        refusals: One per candidate that it refuses.
    """

    def __init__(
        self,
        budget: str,
        left: Mapping[str, float],
        resets_at: float | None,
        refusals: Sequence[Refusal] = (),
    ) -> None:
        """Say what is left, and until when."""
        super().__init__(refusals)
        amounts = " and ".join(said(amount, unit) for unit, amount in left.items())
        when = "it never resets"
        if resets_at is not None:
            when = f"it resets at {datetime.fromtimestamp(resets_at, UTC):%Y-%m-%d %H:%M} UTC"
        reasons = "".join(f"; {r.candidate}: {r.reason}" for r in refusals)
        self.args = (f"the budget of {budget} has {amounts} left, {when}{reasons}",)
        self.budget, self.left, self.resets_at = budget, dict(left), resets_at


class StorageError(RouterError):
    """Where budgets or the ledger are kept cannot be read or written."""

    def __init__(self, place: object, fault: str) -> None:
        """Name the place and what is wrong with it."""
        super().__init__(f"{place}: {fault}")
        self.place = place


class AllCandidatesFailedError(RouterError):
    """Every candidate that was tried failed in a way that another one might have mended.

    Attributes:
        errors: (candidate, error) for every attempt, in order.
    """

    def __init__(self, errors: Sequence[tuple[str, BaseException]]) -> None:
        """Build the message out of every attempt."""
        causes = "; ".join(f"{name}: {type(e).__name__}: {e}" for name, e in errors)
        super().__init__(f"all {len(errors)} attempts failed: {causes}")
        self.errors = tuple(errors)


class StreamInterruptedError(RouterError):
    """A stream broke off after the caller had seen a part of it: no other candidate may go on.

    Attributes:
        candidate: Who was answering.
        partial: The text that had been shown.
        __cause__: What broke it off.
    """

    def __init__(self, candidate: str, error: BaseException, partial: str) -> None:
        """Say who was answering and what broke it off; the message does not repeat the text."""
        cause = f"{type(error).__name__}: {error}"
        super().__init__(f"{candidate!r} broke off after {len(partial)} characters: {cause}")
        self.candidate, self.partial = candidate, partial


class DraftDroppedError(RouterError):
    """A draft is broken off, for it has been seen to be no good; it never reaches the caller."""


class TooManyAttemptsError(RouterError):
    """A call asked more often than it may, with all calls inside it.

    Attributes:
        limit: How often it may ask.
    """

    def __init__(self, limit: int) -> None:
        """Say how often that is, and what to change."""
        super().__init__(
            f"the call has made {limit} attempts, as many as max_attempts allows; strategies that "
            "nest multiply their attempts: let them ask less, or raise max_attempts"
        )
        self.limit = limit


class CandidateRestingError(RouterError):
    """A candidate was not asked: its server wants to be left alone for longer than we may wait."""

    def __init__(self, name: str, seconds: float) -> None:
        """Say for how long, in seconds."""
        super().__init__(f"the server of {name!r} asked to be left alone for {seconds:.3g} s more")
        self.name, self.seconds = name, seconds


class DeadlineExceededError(RouterError, TimeoutError):
    """The call was not complete by its deadline."""

    def __init__(self, seconds: float | None) -> None:
        """Name the deadline, in seconds from the start of the call."""
        super().__init__(f"the call was not complete within its deadline of {seconds} s")
        self.seconds = seconds


class MissingExtraError(RouterError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        """Print the line that installs what is missing."""
        super().__init__(
            f"{package} is not installed. Install it with: pip install 'router-llm-plugin[{extra}]'"
        )
