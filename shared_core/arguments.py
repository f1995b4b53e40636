"""The constructor arguments of a router, checked alike in both skins before pydantic sees them."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection, Mapping
from typing import Any

from shared_core.errors import ConfigurationError

__all__ = ["check_arguments"]


def check_arguments(
    owner: str,
    candidates: object,
    given: Mapping[str, Any],
    known: Collection[str],
    candidates_own: Collection[str],
) -> dict[str, Any]:
    """Return the arguments to construct a router with.

    Args:
        owner: Name of the router's class, for messages.
        candidates: The argument of that name; None where it is missing.
        given: All other arguments.
        known: Names of the arguments that exist.
        candidates_own: Names of those that belong on the candidates' models.

    Raises:
        ConfigurationError: `candidates` is missing, a name is unknown (a typo must not vanish), or
            an argument belongs to the candidates.
    """
    if candidates is None:
        raise ConfigurationError(
            "candidates is missing: give a list of Candidate(name, model), weakest first"
        )
    arguments = {"candidates": candidates, **given}
    if arguments.pop("api_key", None) is not None:
        warnings.warn("api_key is not used: keys belong to the candidates", stacklevel=3)
    for name, value in arguments.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"{owner} has no argument {name!r}{hint}")
        if name in candidates_own and value is not None:
            raise ConfigurationError(
                f"{name} belongs to the candidates: set it on their models, not on the router"
            )
    return arguments
