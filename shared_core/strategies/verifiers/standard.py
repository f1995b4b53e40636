"""The verifiers of a cascade that is told nothing else."""

from __future__ import annotations

from shared_core.strategies.verifiers.base import Verifier
from shared_core.strategies.verifiers.learned import LearnedVerifier
from shared_core.strategies.verifiers.structure import Structure
from shared_core.strategies.verifiers.wording import Wording

__all__ = ["standard_verifiers"]


def standard_verifiers() -> tuple[Verifier, ...]:
    """Return them, cheap ones first; none needs more than the base installation.

    `Arithmetic` is not among them: the learned one has looked at the sums already, and the same
    evidence must not count twice.
    """
    return (Structure(), Wording(), LearnedVerifier.shipped())
