"""Weights on disk: a folder with `card.json` and one safetensors file that it names.

In: arrays and what the card says of them. Out: the same. The weights are written first, under the
name of their own SHA-256, and the card last, in one step: whoever reads sees the old pair or the
new one, never half of one. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from shared_core.errors import ArtefactError

__all__ = ["CARD", "read_weights", "write_weights"]

CARD: Final = "card.json"


def write_weights(
    folder: Path, arrays: Mapping[str, npt.NDArray[Any]], content: Mapping[str, Any]
) -> None:
    """Write a folder, in place of what is there.

    Raises:
        OSError: The folder cannot be written; what was there is unchanged.
    """
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    blob = safetensors.numpy.save(tensors)
    digest = hashlib.sha256(blob).hexdigest()
    weights = f"weights-{digest[:16]}.safetensors"
    card = {**content, "weights": weights, "sha256": digest}
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    old = _weights_of(folder)
    _replace(folder / weights, blob)
    _replace(folder / CARD, text.encode())
    # Only what this write replaces: others may be those of somebody who is writing too.
    if old not in (None, weights):
        (folder / str(old)).unlink(missing_ok=True)


def read_weights(
    folder: Path, kind: str, format: int
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the card and the arrays that it names.

    Args:
        folder: Where they are.
        kind: What the card must say that they are.
        format: Which format it must state.

    Raises:
        ArtefactError: They are missing, corrupt, or of another kind or format.
    """
    try:
        content, blob = _files(folder, kind, format)
        if hashlib.sha256(blob).hexdigest() != content["sha256"]:
            raise ArtefactError(folder, "has weights that are not those its card names: corrupt")
        return content, safetensors.numpy.load(blob)
    except (
        *(OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError),
        safetensors.SafetensorError,
    ) as error:
        raise ArtefactError(folder, f"cannot be read ({type(error).__name__}: {error})") from error


def _files(folder: Path, kind: str, format: int, tries: int = 3) -> tuple[dict[str, Any], bytes]:
    content = json.loads((folder / CARD).read_text(encoding="utf-8"))
    if (found := content.get("kind", "predictor")) != kind:
        raise ArtefactError(folder, f"is a {found}'s, and no {kind}'s")
    if content["format"] != format:
        raise ArtefactError(
            folder, f"is of format {content['format']!r}, not {format}: train it again"
        )
    try:
        return content, (folder / Path(content["weights"]).name).read_bytes()
    except FileNotFoundError:  # new ones may have come in between
        if tries == 1:
            raise
        return _files(folder, kind, format, tries - 1)


def _weights_of(folder: Path) -> str | None:
    """Return the name of the weights that are there, if any that could be ours."""
    try:
        name = json.loads((folder / CARD).read_text(encoding="utf-8"))["weights"]
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None
    ours = isinstance(name, str) and re.fullmatch(r"weights-[0-9a-f]{16}\.safetensors", name)
    return name if ours else None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".new-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:  # with the usual mode, unlike those of tempfile
            file.write(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
