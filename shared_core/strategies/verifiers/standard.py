"""The verifiers of a cascade that is told nothing else."""

from __future__ import annotations

from shared_core.strategies.verifiers.base import Verifier

__all__ = ["standard"]


def standard() -> tuple[Verifier, ...]:
    """Return them, cheap ones first; none needs more than the base installation."""
    return ()
