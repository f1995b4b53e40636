"""What the classes of both skins have in common: fields that steer a `Router`.

In: the fields as the user sets them, at once or later. Out: the router that follows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from shared_core.decision.candidates import prepare_candidates
from shared_core.decision.policy import Policy
from shared_core.execution.health import Health
from shared_core.router import Router
from shared_core.types import Candidate

__all__ = ["SETTINGS", "Steered"]

SETTINGS = ("candidates", "policy", "predictor", "strategy", "max_retries", "cooldown")
"""The fields that steer the routing."""


class Steered:
    """Keeps the router of a pydantic model in step with its fields.

    A copy shares with its original what was learned of the candidates, unless it has others.
    """

    def _look_at(self, candidate: Candidate) -> tuple[Any, Mapping[str, Any]]:
        """Return a candidate's model and what it says of itself; see `prepare_candidates`."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Make the router out of all settings.

        Raises:
            ConfigurationError: A setting is wrong.
        """
        self._router = self._steered({name: getattr(self, name) for name in SETTINGS})

    def _steered(self, changes: Mapping[str, Any]) -> Router:
        """Return the router with some settings changed."""
        parts = dict(changes)
        if "cooldown" in parts:
            parts["health"] = Health(parts.pop("cooldown"))
        if "candidates" in parts:
            parts["candidates"] = prepare_candidates(parts["candidates"], self._look_at)
            parts.setdefault("health", Health(getattr(self, "cooldown")))  # noqa: B009
        router = getattr(self, "_router", None)
        return Router(**parts) if router is None else replace(router, **parts)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; one that steers the routing takes effect, or is refused and unchanged."""
        if name in SETTINGS:
            self._router = self._steered({name: value})
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; fields in `update` that steer the routing take effect on it."""
        copy: Self = super().model_copy(update=update, deep=deep)  # type: ignore[misc]
        if changes := {name: value for name, value in (update or {}).items() if name in SETTINGS}:
            copy._router = copy._steered(changes)
        return copy

    def with_policy(self, policy: Policy) -> Self:
        """Return a light copy with another policy; everything else is shared."""
        return self.model_copy(update={"policy": policy})
