"""What the classes of both skins have in common: fields that steer a `Router`.

In: the fields as the user sets them, at once or later. Out: the router that follows them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

from shared_core.accounting.books import Books
from shared_core.accounting.budgets.budget import Budget, Budgets
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.decision.candidates import prepare_candidates
from shared_core.decision.policy import Policy
from shared_core.errors import ConfigurationError
from shared_core.execution.health import Health
from shared_core.router import Router
from shared_core.types import Candidate, Scope

__all__ = ["SETTINGS", "Steered"]

SETTINGS = (
    *("candidates", "policy", "predictor", "strategy", "max_retries", "max_attempts", "cooldown"),
    *("budgets", "ledger", "shadow"),
)
"""The fields that steer the routing."""


class Steered:
    """Keeps the router of a pydantic model in step with its fields.

    A copy shares with its original its ledger and budgets, and what was learned of the candidates,
    unless it has others.
    """

    step: str | None

    def _look_at(self, candidate: Candidate) -> tuple[Any, Mapping[str, Any]]:
        """Return a candidate's model and what it says of itself; see `prepare_candidates`."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Make the router out of all settings.

        Raises:
            ConfigurationError: A setting is wrong.
        """
        Scope(step=self.step)  # refuses what is no name
        self._router = self._steered({name: getattr(self, name) for name in SETTINGS})
        self._show_books()

    def _steered(self, changes: Mapping[str, Any]) -> Router:
        """Return the router with some settings changed."""
        parts = dict(changes)
        kept = getattr(self, "_router", None)
        books: dict[str, Any] = {}
        if "budgets" in parts:
            books["budgets"] = _budgets(parts.pop("budgets"))
        if "ledger" in parts:
            books["ledger"] = _ledger(parts.pop("ledger"))
        if "cooldown" in parts:
            parts["health"] = Health(parts.pop("cooldown"))
        if "candidates" in parts:
            parts["candidates"] = prepare_candidates(parts["candidates"], self._look_at)
            parts.setdefault("health", Health(getattr(self, "cooldown")))  # noqa: B009
            books["candidates"] = parts["candidates"]
        if books:
            parts["books"] = Books(**books) if kept is None else kept.books.with_parts(**books)
        return Router(**parts) if kept is None else replace(kept, **parts)

    def _show_books(self) -> None:
        """Let the fields show what the router keeps: a ledger, where a path was given."""
        books = self._router.books
        super().__setattr__("budgets", books.budgets)
        super().__setattr__("ledger", books.ledger)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; one that steers the routing takes effect, or is refused and unchanged."""
        if name in SETTINGS:
            self._router = self._steered({name: value})
        super().__setattr__(name, value)
        if name in ("budgets", "ledger"):
            self._show_books()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; fields in `update` that steer the routing take effect on it."""
        copy: Self = super().model_copy(update=update, deep=deep)  # type: ignore[misc]
        if changes := {name: value for name, value in (update or {}).items() if name in SETTINGS}:
            copy._router = copy._steered(changes)
            copy._show_books()
        return copy

    def with_policy(self, policy: Policy, *, step: str | None = None) -> Self:
        """Return a light copy with another policy; everything else is shared.

        Args:
            policy: The trade-off of the copy.
            step: The stage of a pipeline that the copy is for, under which its calls are reported.
                It goes before a step of `call_scope`, which holds for whatever is inside it, and
                after one that a call's own config names.

        Raises:
            ConfigurationError: The step is no non-empty string.
        """
        step = self.step if step is None else Scope(step=step).step
        return self.model_copy(update={"policy": policy, "step": step})

    def feedback(self, decision_id: str, score: float, *, comment: str | None = None) -> None:
        """Say how good an answer was; the report and `router-llm train` use it.

        Args:
            decision_id: From the record of the answer.
            score: 0 (useless) to 1 (right).
            comment: Kept beside it.

        Raises:
            UnknownDecisionError: The ledger has no such decision.
            ConfigurationError: The score is no number from 0 to 1.
        """
        self._router.books.ledger.feedback(decision_id, score, comment=comment)


def _budgets(given: Any) -> Budgets:
    if isinstance(given, Budgets):
        return given
    if given is None:
        return Budgets()
    if isinstance(given, Budget):
        return Budgets(given)
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise ConfigurationError(
            f"budgets must be a Budget, a list of them, or Budgets(..., store=...), not {given!r}"
        )
    return Budgets(*given)


def _ledger(given: Any) -> Ledger:
    if given is None:
        return Ledger()
    if isinstance(given, Ledger):
        return given
    if isinstance(given, (str, os.PathLike)):
        return Ledger(given)
    raise ConfigurationError(f"ledger must be a path or a Ledger(...), not {given!r}")
