"""What repeated faults teach a router: one caller, one router, and a clock of their own.

In: a framework's router and one of its call forms. Out: two stories, each told call by call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from shared_core import AllCandidatesFailedError, CandidateRestingError, Cooldown
from shared_core.execution.health import Health
from tests.fakes.faults import DOWN, NAMES, QUESTION, Client, Form, Heard, in_order
from tests.fakes.openai_server import Fault, OpenAIServer


@dataclass
class Caller:
    """Asks one router again and again; time passes only as it is told.

    Attributes:
        router: A framework's class of routers.
        client: Makes the candidates' clients.
        form: How the router is called.
        server: Of all candidates.
        patch: Gives the router the clock.
        now: What the clock shows, in seconds.
    """

    router: Callable[..., Any]
    client: Client
    form: Form
    server: OpenAIServer
    patch: pytest.MonkeyPatch
    now: float = 0.0
    llm: Any = field(init=False)

    def begin(self, cooldown: Cooldown) -> None:
        """Make the router, whose rests are not lengthened by chance."""
        timed = partial(Health, clock=lambda: self.now, chance=lambda: 0.0)
        self.patch.setattr("shared_core.settings.Health", timed)
        clients = {name: self.client(name, "plain") for name in NAMES}
        self.llm = self.router(**in_order(clients), cooldown=cooldown)

    def ask(self, **faults: Fault) -> tuple[str, Heard]:
        """Ask with these faults of the candidates; return who was asked, as one word."""
        for name in NAMES:
            self.server.script(name, [faults[name]] if name in faults else [])
        before, heard = len(self.server.requests), Heard()
        heard.listen(self.form(self.llm))
        return "".join(request["model"] for request in self.server.requests[before:]), heard

    def rests(self) -> dict[str, str]:
        """Who rests by the next decision, and why."""
        return {rest.candidate: rest.reason for rest in self.llm.explain(QUESTION).resting}


def who_keeps_failing_is_asked_last(caller: Caller) -> None:
    """Two failures send to rest; a trial follows it; one that fails doubles the rest."""
    caller.begin(Cooldown(failures=2, seconds=30))
    assert caller.ask(a=DOWN)[0] == "ab"
    assert caller.rests() == {}
    assert caller.ask(a=DOWN)[0] == "ab"
    reason = caller.rests()["a"]
    assert reason.startswith("rests for 30 s more after 2 failures")

    asked, heard = caller.ask()
    assert asked == "b"
    assert f"a {reason}" in heard.records[0]["reason"]
    asked, heard = caller.ask(b=DOWN, c=DOWN)
    assert asked == "bca", "one that rests is still better than none"
    assert outcomes(heard) == [("b", "failed"), ("c", "failed"), ("a", "answered")]

    assert caller.ask(a=DOWN)[0] == "ab", "who answered is well again"
    assert caller.ask(a=DOWN)[0] == "ab"
    caller.now = 30
    assert caller.ask(a=DOWN)[0] == "ab", "after the rest it is tried"
    assert caller.rests()["a"].startswith("rests for 60 s more after 3 failures")
    caller.now = 89
    assert caller.ask()[0] == "b"
    caller.now = 90
    assert caller.ask()[0] == "a"
    assert caller.rests() == {}


def who_asked_for_a_wait_is_not_asked_before(caller: Caller) -> None:
    """A server's own `Retry-After` binds, even where everybody else has failed."""
    caller.begin(Cooldown(failures=1, seconds=30, patience=10))
    assert caller.ask(a=Fault("status", status=429, retry_after="60"))[0] == "ab"
    caller.now = 45
    asked, heard = caller.ask(b=DOWN)
    assert asked == "bc"
    reason = caller.rests()["a"]
    assert reason.startswith("asked to be left alone for 15 s more")
    assert f"a {reason}" in heard.records[0]["reason"]

    asked, heard = caller.ask(c=DOWN)
    assert asked == "cb"
    assert outcomes(heard) == [("c", "failed"), ("a", "resting"), ("b", "answered")]
    asked, heard = caller.ask(b=DOWN, c=DOWN)
    assert asked == "bc"
    assert isinstance(heard.error, AllCandidatesFailedError)
    assert [name for name, _ in heard.error.errors] == ["b", "a", "c"]
    assert isinstance(heard.error.errors[1][1], CandidateRestingError)
    assert "the server of 'a' asked to be left alone for 15 s more" in str(heard.error)
    caller.now = 60
    assert caller.ask()[0] == "a"


def outcomes(heard: Heard) -> list[tuple[str, str]]:
    """Each attempt of the one record, and how it ended."""
    (record,) = heard.records
    return [(one["candidate"], one["outcome"]) for one in record["attempts"]]
