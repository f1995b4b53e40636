"""Who is calling: set around any code that calls a router, in whatever framework.

In: a thread, a user, a tenant, a run and its step, a pin, constraints. Out: the `Scope` of the
calls in the block, which travels with tasks and with the threads that copy their context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from shared_core.types import Constraint, Scope

__all__ = ["call_scope", "current_scope"]

_NOBODY = Scope()
_SCOPE: ContextVar[Scope] = ContextVar("router_llm_scope", default=_NOBODY)


@contextmanager
def call_scope(
    *,
    thread: str | None = None,
    user: str | None = None,
    tenant: str | None = None,
    run: str | None = None,
    step: str | None = None,
    pin: str | None = None,
    subject_to: Sequence[Constraint] = (),
) -> Iterator[Scope]:
    """Say who makes the calls inside the block; see `Scope`.

    Inside another scope, what is given here wins, the rest is kept, and the constraints of both
    hold.

    Raises:
        ConfigurationError: A key is no non-empty string, or a constraint no function.
    """
    given = Scope(thread, user, tenant, pin, subject_to, run, step)
    inner = given.within(current_scope())
    token = _SCOPE.set(inner)
    try:
        yield inner
    finally:
        _SCOPE.reset(token)


def current_scope() -> Scope:
    """Return the scope that holds here."""
    return _SCOPE.get()
