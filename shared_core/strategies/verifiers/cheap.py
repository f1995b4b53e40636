"""The verifiers that cost next to nothing, in the order in which they are asked."""

from __future__ import annotations

from shared_core.strategies.verifiers.arithmetic import Arithmetic
from shared_core.strategies.verifiers.base import Verifier
from shared_core.strategies.verifiers.structure import Structure
from shared_core.strategies.verifiers.wording import Wording

__all__ = ["cheap"]


def cheap() -> tuple[Verifier, ...]:
    """Return the verifiers that need neither a call nor anything to be learned."""
    return (Structure(), Wording(), Arithmetic())
