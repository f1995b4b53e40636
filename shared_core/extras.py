"""Packages that only some extras bring, imported where they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from shared_core.errors import MissingExtraError

__all__ = ["imported"]


def imported(package: str, extra: str) -> Any:
    """Import a package of an extra.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        raise MissingExtraError(package, extra) from error
