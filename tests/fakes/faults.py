"""The fault matrix: what may go wrong with one of three candidates, and what must hold then.

In: the call forms of a framework. Out: a `Case` for each fault, place and form, which sets up the
loopback server and a router over real clients, listens to one call, and checks it against what the
router declares. The candidates before the place fail with a 503, so that the call reaches it; those
after it are well.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import httpx
import openai
import pytest

from shared_core import (
    AllCandidatesFailedError,
    Candidate,
    DeadlineExceededError,
    Policy,
    StreamInterruptedError,
    cleared,
    deadline_s,
)
from shared_core.execution.deadline import Deadline
from tests.fakes.core import FixedPredictor
from tests.fakes.leftovers import PATIENCE_S, eventually, nothing_left
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.replies import Answer

KEY = "sk-nobody-may-see-this-key"
QUESTION = "Hello there"
NAMES = ("a", "b", "c")
"""The candidates, in the order in which they are asked."""
BARRED = "barred"
"""The candidate that would be asked before all others, were it cleared for this prompt."""
LEFT_S = 0.1
"""Seconds that a deadline leaves for the faulty candidate."""
_STEP_S = 60.0
"""Seconds that pass on a case's clock with each step on the way to the fault."""
DOWN = Fault("status", status=503)

Kind = Literal["plain", "refused", "impatient"]
"""A client of the server, of a port where nobody listens, or with a short time-out of its own."""
End = Literal["next", "answers", "raises", "breaks"]
"""The next is asked; it is an answer; nobody else is asked; so too, and text was shown before."""
Client = Callable[[str, Kind], Any]
"""Makes, or keeps, the client of a model by its name."""
Form = Callable[[Any], "Iterator[Piece] | AsyncIterator[Piece]"]
"""Asks a router `QUESTION` in one way, and yields what the caller gets."""
Piece = tuple[str, "dict[str, Any] | None"]
"""A text, and the record where it comes with one."""


@dataclass(frozen=True)
class Trouble:
    """One way in which a candidate misbehaves, and how the router takes it.

    Attributes:
        name: Of the case.
        whole: How an attempt ends whose answer comes whole; None where only streams can fail so.
        streamed: The same of a stream.
        error: What the caller or the record is told.
        fault: What the server does.
        kind: The faulty candidate's client.
        deadline: The call has a deadline, which leaves the faulty candidate `LEFT_S`.
        says: What the faulty candidate answers instead of the default.
    """

    name: str
    whole: End | None
    streamed: End | None
    error: type[Exception] = Exception
    fault: Fault | None = None
    kind: Kind = "plain"
    deadline: bool = False
    says: Answer | None = None

    @property
    def is_hasty(self) -> bool:
        """Whether time may run out, on a busy machine, before the request is sent."""
        return self.deadline or self.kind == "impatient"

    @property
    def is_seen(self) -> bool:
        """Whether the caller sees a piece of text before the fault."""
        return self.fault is not None and self.fault.after > 1  # the first event has no text


def _status(status: int, error: type[Exception], retry_after: str | None = None) -> Trouble:
    fault = Fault("status", status=status, retry_after=retry_after)
    hint = " with Retry-After" if retry_after else ""
    return Trouble(f"{status}{hint}", "next", "next", error, fault)


_LOST, _LATE = openai.APIConnectionError, DeadlineExceededError
_NO_JSON, _HALF = json.JSONDecodeError, httpx.RemoteProtocolError

TROUBLES = [
    Trouble("refused", "next", "next", _LOST, kind="refused"),
    Trouble("reset", "next", "next", _LOST, Fault("reset")),
    _status(429, openai.RateLimitError),
    _status(429, openai.RateLimitError, retry_after="60"),
    _status(500, openai.InternalServerError),
    _status(503, openai.InternalServerError),
    _status(529, openai.InternalServerError),
    Trouble("malformed", "next", "next", _NO_JSON, Fault("malformed")),
    Trouble("no body", "next", None, _NO_JSON, Fault("empty")),
    Trouble("cut", "next", None, _LOST, Fault("cut")),
    Trouble("no choices", "raises", None, IndexError, Fault("choiceless")),
    Trouble("empty but valid", "answers", "answers", says=Answer("")),
    Trouble("cut before text", None, "next", _HALF, Fault("cut", after=1)),
    Trouble("reset before text", None, "next", httpx.ReadError, Fault("reset", after=1)),
    Trouble("malformed before text", None, "next", _NO_JSON, Fault("malformed", after=1)),
    Trouble("cut after text", None, "breaks", _HALF, Fault("cut", after=2)),
    Trouble("reset after text", None, "breaks", httpx.ReadError, Fault("reset", after=2)),
    Trouble("malformed after text", None, "breaks", _NO_JSON, Fault("malformed", after=2)),
    Trouble("slow", "answers", "answers", fault=Fault("slow", first_s=0.05)),
    Trouble("too slow", "raises", "raises", _LATE, Fault("slow", first_s=60), deadline=True),
    Trouble("hang", "raises", "raises", _LATE, Fault("hang"), deadline=True),
    Trouble("hang after text", None, "breaks", _LATE, Fault("hang", after=2), deadline=True),
    Trouble("own time-out", "next", "next", openai.APITimeoutError, Fault("hang"), "impatient"),
]


@dataclass
class Heard:
    """What a caller heard of one call.

    Attributes:
        texts: Without empty ones.
        records: Those that are complete.
        error: How it ended, if not well.
        tasks: How many were left on the event loop when it ended.
        seconds: How long it took.
    """

    texts: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None
    tasks: int = 0
    seconds: float = 0.0

    def listen(self, call: Iterator[Piece] | AsyncIterator[Piece]) -> None:
        """Hear a call to its end."""
        started = time.monotonic()
        try:
            if isinstance(call, AsyncIterator):
                asyncio.run(self._alisten(call))
            else:
                for piece in call:
                    self._take(*piece)
        except Exception as error:
            self.error = error
        self.seconds = time.monotonic() - started

    async def _alisten(self, call: AsyncIterator[Piece]) -> None:
        try:
            async for piece in call:
                self._take(*piece)
        finally:
            self.tasks = len(asyncio.all_tasks()) - 1

    def _take(self, text: str, record: dict[str, Any] | None) -> None:
        self.texts += [text] if text else []
        self.records += [record] if record and record["attempts"] else []


@dataclass(frozen=True)
class Case:
    """One fault at one place, in one form of call.

    Attributes:
        trouble: The fault.
        place: Of the faulty candidate, from 0.
        form: How the router is called.
        end: How the faulty candidate's attempt is taken.
    """

    trouble: Trouble
    place: int
    form: Form
    end: End

    @property
    def faulty(self) -> str:
        """The faulty candidate's name."""
        return NAMES[self.place]

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of the candidates that are asked, in order."""
        return NAMES[: self.place + (2 if self.end == "next" else 1)]

    @property
    def answering(self) -> str | None:
        """The name of the candidate whose answer the caller gets."""
        last = self.asked[-1]
        well = self.end == "answers" or last != self.faulty
        return last if well else None

    def settings(self, server: OpenAIServer, client: Client) -> dict[str, Any]:
        """Tell the server what to do; return what a router takes."""
        for name in NAMES[: self.place]:
            server.script(name, [DOWN])
        server.script(self.faulty, [self.trouble.fault])
        server.say(self.faulty, self.trouble.says)
        clients = {name: client(name, "plain") for name in (BARRED, *NAMES)}
        clients[self.faulty] = client(self.faulty, self.trouble.kind)
        limits = [deadline_s(LEFT_S + _STEP_S * self._steps)] if self.trouble.deadline else []
        return {**in_order(clients), "policy": Policy(subject_to=[cleared("pii"), *limits])}

    def hear(self, router: Any, server: OpenAIServer, patch: pytest.MonkeyPatch) -> Heard:
        """Make the call; of it nothing may be left, on either side.

        The deadline's clock stands still but for each step on the way to the fault. So the time
        that is left then does not depend on how fast the others failed on a busy machine.
        """
        heard = Heard()

        def clock() -> float:
            steps = min(self.place, len(server.requests)) + bool(heard.texts)
            return _STEP_S * min(steps, self._steps)

        # Without an event loop, a call that is too late goes on in a thread until the server lets
        # go; on one it must have been cancelled.
        left_behind = self.trouble.deadline and not inspect.isasyncgenfunction(self.form)
        with patch.context() as patched, nothing_left(*[server.let_go] * left_behind):
            patched.setattr("shared_core.router.Deadline", partial(Deadline, clock=clock))
            heard.listen(self.form(router))
        return heard

    def check(self, heard: Heard, server: OpenAIServer) -> None:
        """See that the call ended once, as declared, and that its account is true."""
        self._check_requests(server)
        assert heard.tasks == 0
        assert not self.trouble.deadline or heard.seconds < LEFT_S + PATIENCE_S
        if self.answering is None:
            self._check_error(heard)
        else:
            self._check_answer(heard, self.answering)

    @property
    def _steps(self) -> int:
        return self.place + self.trouble.is_seen

    def _check_requests(self, server: OpenAIServer) -> None:
        def received() -> list[str]:
            return [request["model"] for request in server.requests]

        others = [name for name in self.asked if name != self.faulty]
        every = others if self.trouble.kind == "refused" else list(self.asked)
        if not eventually(lambda: received() == every) and self.trouble.is_hasty:
            every = others
        assert received() == every

    def _check_answer(self, heard: Heard, name: str) -> None:
        assert heard.error is None
        said = self.trouble.says if name == self.faulty else None
        assert "".join(heard.texts) == (said.text if said else f"{name} answers: {QUESTION}")
        (record,) = heard.records
        assert record["candidate"] == name
        failed = [(other, "failed") for other in self.asked[:-1]]
        attempts = [(one["candidate"], one["outcome"]) for one in record["attempts"]]
        assert attempts == [*failed, (name, "answered")]
        assert not failed or f"{name} stepped in for a, which failed" in record["reason"]

    def _check_error(self, heard: Heard) -> None:
        assert heard.records == []
        assert heard.texts == ([f"{self.faulty} "] if self.end == "breaks" else [])
        if self.end == "breaks":
            self._check_break(heard)
            return
        if len(self.asked) == 1:
            assert isinstance(heard.error, self.trouble.error)
            return
        assert isinstance(heard.error, AllCandidatesFailedError)
        kinds = [openai.InternalServerError] * self.place + [self.trouble.error]
        assert [name for name, _ in heard.error.errors] == list(self.asked)
        for (name, error), kind in zip(heard.error.errors, kinds, strict=True):
            assert isinstance(error, kind)
            assert f"{name}: {type(error).__name__}: {error}" in str(heard.error)
        assert heard.error.__cause__ is heard.error.errors[-1][1]

    def _check_break(self, heard: Heard) -> None:
        error: Any = heard.error
        assert error.partial == heard.texts[0]
        if isinstance(error, StreamInterruptedError):
            assert error.candidate == self.faulty
            error = error.__cause__
        assert isinstance(error, self.trouble.error)


def cases(forms: Iterable[Form]) -> list[Any]:
    """The whole matrix, as parameters of a test."""
    return [
        pytest.param(Case(trouble, place, form, end), id=f"{form.__name__}-{trouble.name}-{where}")
        for form in forms
        for trouble in TROUBLES
        for place, where in enumerate(("first", "second", "last"))
        if (end := trouble.streamed if "stream" in form.__name__ else trouble.whole)
    ]


@contextmanager
def clients(server: OpenAIServer, make: Callable[[str, str, float], Any]) -> Iterator[Client]:
    """Makes one client of each name and kind, by what makes it of name, URL and time-out in s."""
    with nowhere() as refusing:

        @cache
        def client(name: str, kind: Kind) -> Any:
            url = refusing if kind == "refused" else server.base_url
            return make(name, url, LEFT_S if kind == "impatient" else 30.0)

        yield client


@contextmanager
def nowhere() -> Iterator[str]:
    """The URL of a server that refuses connections: nobody listens at its port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


def in_order(clients: Mapping[str, Any]) -> dict[str, Any]:
    """What a router takes to ask the clients in their order; `BARRED` alone is not cleared."""
    return {
        "candidates": [
            Candidate(name, model, tags=() if name == BARRED else ("pii",))
            for name, model in clients.items()
        ],
        "predictor": FixedPredictor(dict.fromkeys(clients, 0.9)),
    }
