"""The middle of a call: a strategy on one side, a driver and a transport on the other.

A `Transport` is what a skin gives for one call: it knows the caller's own messages and how to put
them to a candidate; a `Caller` can also have drafts looked at. A `Run` advances the strategy's
generator, checks every ask against the decision, and keeps every reply. None of them knows whether
anything is sync, async or streamed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from shared_core.errors import (
    DeadlineExceededError,
    RouterError,
    StreamInterruptedError,
    TooManyAttemptsError,
)
from shared_core.execution.failures import Kind, is_signal
from shared_core.types import Ask, Check, Decision, Entry, Reply, Steps, Verdict, Watch, Wish

__all__ = ["Caller", "Growing", "Run", "Shown", "Transport"]

_DROPPED = "dropped"


class Transport(Protocol):
    """One caller's request in a framework's own terms."""

    def send(self, ask: Ask) -> Reply:
        """Call the asked candidate; may raise what the candidate raises."""
        ...

    async def asend(self, ask: Ask) -> Reply:
        """Do the same without blocking."""
        ...

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Call the asked candidate and yield its chunks, the framework's own objects."""
        ...

    def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        """Do the same without blocking."""
        ...

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Make one reply out of all chunks of a stream, or of what there is of it so far.

        Of an ask that is not visible its native object is whole, as that of `send` is.
        """
        ...

    def split(self, reply: Reply) -> Iterable[Any]:
        """Make chunks out of a reply that was held back."""
        ...

    def edited(self, reply: Reply) -> Reply:
        """Return a reply that was held back with a native object that says its text.

        Nothing but the text is another: tool calls, usage and metadata stay.
        """
        ...

    def is_visible(self, chunk: Any) -> bool:
        """Tell whether the chunk shows the caller anything (text, a tool call, an image …)."""
        ...

    def kind_of(self, error: Exception) -> Kind | None:
        """Tell what kind of failure it is; see `shared_core.execution.failures`."""
        ...

    def is_retryable(self, error: Exception) -> bool:
        """Tell whether another candidate might succeed where this error was raised.

        Not after the caller has seen a part of the answer already, whatever the error.
        """
        ...

    def recorded(self, entry: Entry) -> None:
        """Take note of what was written down of the call, which has ended, well or not."""
        ...


class Caller(Transport, Protocol):
    """A transport that can have drafts looked at, too."""

    def check(self, check: Check) -> Verdict:
        """Have a draft looked at."""
        ...

    async def acheck(self, check: Check) -> Verdict:
        """Do the same without blocking."""
        ...

    def glance(self, growing: Growing) -> bool:
        """Have a growing answer looked at; tell whether it is to be dropped."""
        ...

    async def aglance(self, growing: Growing) -> bool:
        """Do the same without blocking."""
        ...

    def judged(self, verdict: Verdict) -> None:
        """Write a verdict down."""
        ...


class Run:
    """One strategy at work on one decision.

    Attributes:
        wishes: What the strategy wants next; empty once it has returned.
        replies: Every reply so far, failed ones too, in order.
        result: The reply that the strategy returned, once it has.
        was_shown: The caller has seen that reply grow.
    """

    def __init__(
        self, steps: Steps, decision: Decision, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Start the strategy and take its first wishes."""
        self.clock = clock
        self.wishes: tuple[Wish, ...] = ()
        self.replies: list[Reply] = []
        self.result: Reply | None = None
        self._allowed = {decision.candidate, *decision.fallbacks, *decision.allowed}
        self._shown: list[Reply] = []
        self._open: list[Reply] = []  # what the caller may have seen, be it by other ways
        self._asked = 0
        self._steps = steps
        self._advance(lambda: next(steps))

    @property
    def was_shown(self) -> bool:
        """Whether the result has been streamed to the caller already."""
        return any(_is_that(reply, self.result) for reply in self._shown)

    @property
    def visible(self) -> Ask | None:
        """The ask whose answer the caller may see growing, where that is what is wanted next."""
        wish = self.wishes[0] if len(self.wishes) == 1 else None
        return wish if isinstance(wish, Ask) and wish.visible else None

    def resume(self, granted: Iterable[Reply | Verdict], *, shown: bool = False) -> None:
        """Hand the strategy what came of each of its wishes."""
        received = tuple(granted)
        replies = [one for one in received if isinstance(one, Reply)]
        self.replies += replies
        if self.visible is not None:
            self._open += replies
        if shown:
            self._shown += replies
        self._advance(lambda: self._steps.send(received))

    def finish(self, transport: Transport) -> None:
        """Have the result's native object say what its text does, where the strategy edited it.

        Raises:
            RouterError: The caller may have seen that answer grow as it was, or has seen another.
        """
        result = self.result
        if result is None:
            return
        edited = not any(_is_that(reply, result) for reply in self.replies)
        if edited and any(reply.native is result.native for reply in self._open):
            raise RouterError("the strategy edited a visible answer; only held ones can be edited")
        if self._shown and not self.was_shown:
            raise RouterError("the strategy returned another answer than the caller has seen")
        if edited:
            self.result = transport.edited(result)

    def close(self) -> None:
        """Drop the strategy wherever it is."""
        self._steps.close()

    def failed(self, transport: Transport, ask: Ask, error: Exception) -> Reply:
        """Make data out of a failed call; what is none of the candidate's goes on its way."""
        if is_signal(error) or isinstance(error, TooManyAttemptsError):
            raise error
        retryable = transport.is_retryable(error)
        # Another could mend it, were it not for what has been seen, or for the time that is over.
        late = isinstance(error, DeadlineExceededError)
        shown = not (retryable or late) and transport.kind_of(error) is not None
        return Reply(ask.candidate, error=error, retryable=retryable, shown=shown)

    def timed(self, reply: Reply, started: float) -> Reply:
        """Note how long an attempt took, in seconds."""
        return replace(reply, seconds=self.clock() - started)

    def _advance(self, step: Callable[[], tuple[Wish, ...]]) -> None:
        try:
            wishes = step()
            self.wishes = tuple([self._numbered(wish, len(wishes) == 1) for wish in wishes])
        except StopIteration as stop:
            self.wishes, self.result = (), stop.value

    def _numbered(self, wish: Wish, alone: bool) -> Wish:
        """Return the wish; an ask knows which of the call's it is, and is held beside others."""
        if not isinstance(wish, Ask):
            return wish
        if wish.candidate not in self._allowed:
            self.close()
            raise RouterError(f"the strategy asked {wish.candidate!r}, which is not allowed")
        self._asked += 1
        return replace(wish, place=self._asked, visible=wish.visible and alone)


def _is_that(reply: Reply, result: Reply | None) -> bool:
    """Tell whether a result is that reply, with its text as it was."""
    if result is None:
        return False
    return reply is result or (reply.native is result.native and reply.text == result.text)


class Growing:
    """A held answer on its way to the strategy, which may have it broken off.

    Looks come ever further apart (each after half as many chunks again), so that all of them
    together take a time linear in the answer's length.
    """

    def __init__(self, transport: Transport, ask: Ask, watch: Watch) -> None:
        """Begin with nothing seen."""
        self._transport, self._ask, self.watch = transport, ask, watch
        self._chunks: list[Any] = []
        self._next: float = watch.first

    def take(self, chunk: Any) -> bool:
        """Receive a chunk; tell whether it is time to look."""
        self._chunks.append(chunk)
        if len(self._chunks) < self._next:
            return False
        self._next += max(1, self._next // 2)
        return True

    def look_no_more(self) -> None:
        """Have it grow to its end: whoever looks hangs."""
        self._next = float("inf")

    def drops(self) -> bool:
        """Look at what there is; a look that fails sees nothing."""
        with suppress(Exception):
            return self.watch.drops(self._joined())
        return False

    def reply(self, *, dropped: bool) -> Reply:
        """Return what has come."""
        reply = self._joined()
        return replace(reply, finish_reason=_DROPPED) if dropped else reply

    def _joined(self) -> Reply:
        return self._transport.join(self._ask, self._chunks)


class Shown:
    """One candidate's stream on its way to the caller.

    Chunks that show nothing (an empty first one that only names the role) wait for the first that
    does, so that a candidate which fails before it said anything leaves no trace and the next one
    can take over. After that nothing waits, and an error is the caller's to see, with what came
    before it: two models' texts are never spliced.
    """

    def __init__(self, run: Run, transport: Transport, ask: Ask) -> None:
        """Begin with nothing seen."""
        self._run, self._transport, self._ask = run, transport, ask
        self._started = run.clock()
        self._chunks: list[Any] = []
        self._waiting: list[Any] = []
        self._visible = False

    def take(self, chunk: Any) -> list[Any]:
        """Receive a chunk; return those that the caller gets now."""
        self._chunks.append(chunk)
        if self._visible:
            return [chunk]
        self._waiting.append(chunk)
        if not self._transport.is_visible(chunk):
            return []
        self._visible = True
        return self.rest()

    def rest(self) -> list[Any]:
        """Return what still waits, for a stream that ended without showing anything."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def finish(self) -> None:
        """Give the strategy the whole reply."""
        reply = self._transport.join(self._ask, self._chunks)
        self._run.resume([self._run.timed(reply, self._started)], shown=True)

    def fail(self, error: Exception) -> None:
        """Give the strategy the failure, or raise it where the caller has seen a part already."""
        if self._visible:
            raise self._interrupted(error)
        reply = self._run.failed(self._transport, self._ask, error)
        self._run.resume([self._run.timed(reply, self._started)])

    def _interrupted(self, error: Exception) -> Exception:
        """Return the error that carries what was shown; what is no failure stays as it is."""
        if is_signal(error):
            return error
        partial = ""
        with suppress(Exception):  # chunks that cannot be joined may be what broke it off
            partial = self._transport.join(self._ask, self._chunks).text
        if isinstance(error, RouterError):
            error.partial = partial
            return error
        interrupted = StreamInterruptedError(self._ask.candidate, error, partial)
        interrupted.__cause__ = error
        return interrupted
