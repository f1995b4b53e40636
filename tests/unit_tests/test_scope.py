"""Who is calling: nested, task by task, thread by thread."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import pytest

from shared_core import ConfigurationError, Scope, call_scope, cleared, local_only
from shared_core.scope import current_scope


def test_it_holds_inside_the_block_and_nowhere_else() -> None:
    assert current_scope() == Scope()
    with call_scope(thread="t1", user="u7") as scope:
        assert current_scope() is scope
        assert (scope.thread, scope.user, scope.tenant, scope.pin) == ("t1", "u7", None, None)
    assert current_scope() == Scope()


def test_an_inner_scope_keeps_what_it_does_not_say_and_lifts_no_constraint() -> None:
    local, pii = local_only(), cleared("pii")
    with call_scope(thread="t1", pin="small", subject_to=[local]):
        with call_scope(pin="large", tenant="acme", subject_to=[pii]) as scope:
            assert scope == Scope("t1", None, "acme", "large", (local, pii))
        assert current_scope().pin == "small"


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), call_scope(thread="t1"):
        raise KeyError
    assert current_scope() == Scope()


async def test_tasks_keep_apart() -> None:
    async def call(thread: str) -> str | None:
        with call_scope(thread=thread):
            await asyncio.sleep(0.01)
            inner = await asyncio.to_thread(lambda: current_scope().thread)
            assert inner == thread
            return current_scope().thread

    names = [f"t{n}" for n in range(20)]
    assert await asyncio.gather(*map(call, names)) == names


def test_threads_begin_with_nobody_unless_they_copy_the_context() -> None:
    seen: list[Any] = []
    with call_scope(thread="t1"):
        copied = copy_context()
        for target in (current_scope, lambda: copied.run(current_scope)):
            thread = threading.Thread(target=lambda t=target: seen.append(t().thread))
            thread.start()
            thread.join()
    assert seen == [None, "t1"]


@pytest.mark.parametrize("wrong", ["", 7, b"t"])
@pytest.mark.parametrize("label", ["thread", "user", "tenant", "pin"])
def test_keys_are_non_empty_strings(label: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"call scope: {label} must be a non-empty string"):
        call_scope(**{label: wrong}).__enter__()


@pytest.mark.parametrize("wrong", [local_only(), "local", [7], None, 7])
def test_constraints_are_a_list_of_functions(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="call scope: subject_to must be a list"):
        call_scope(subject_to=wrong).__enter__()
