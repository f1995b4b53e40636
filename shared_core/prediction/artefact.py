"""What was learned, on disk: a folder with `card.json` and one safetensors file that it names.

In: names, arrays, a calibration sample, a card. Out: the same, or an `ArtefactError`. The weights
are written first, under the name of their own SHA-256, and the card last, in one step: whoever
reads sees the old artefact or the new one, never half of one. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from shared_core.errors import ArtefactError
from shared_core.prediction.features import BUCKETS, MEASURES
from shared_core.types import CalibrationSample

__all__ = ["FORMAT", "read_artefact", "write_artefact"]

FORMAT: Final = 1
"""Number of the format; another one is refused."""

CARD: Final = "card.json"
_SAMPLE: Final = "sample."
_TRAINED_ON: Final = "trained_on"
Array = npt.NDArray[np.floating[Any]]


def write_artefact(
    folder: Path,
    models: tuple[str, ...],
    arrays: Mapping[str, Array],
    trained_on: npt.NDArray[np.int64],
    sample: CalibrationSample | None,
    card: Mapping[str, Any],
) -> None:
    """Write an artefact, in place of the one that is there.

    Raises:
        OSError: The folder cannot be written; what was there is unchanged.
    """
    tensors: dict[str, npt.NDArray[Any]] = {_TRAINED_ON: np.ascontiguousarray(trained_on)}
    tensors |= {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    names: tuple[str, ...] = ()
    if sample is not None:
        names = sample.names
        parts = {name: value for name, value in vars(sample).items() if name != "names"}
        tensors |= {
            _SAMPLE + k: np.ascontiguousarray(v, np.int64 if k == "prompts" else np.float32)
            for k, v in parts.items()
            if v is not None
        }
    blob = safetensors.numpy.save(tensors)
    digest = hashlib.sha256(blob).hexdigest()
    weights = f"weights-{digest[:16]}.safetensors"
    content = {
        "format": FORMAT,
        "models": list(models),
        "weights": weights,
        "sha256": digest,
        "calibrated_on": list(names),
        "about": dict(card),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / weights, blob)
    _replace(folder / CARD, text.encode())
    for old in folder.glob("weights-*.safetensors"):
        if old.name != weights:
            old.unlink(missing_ok=True)


def read_artefact(
    folder: Path,
) -> tuple[
    tuple[str, ...],
    dict[str, Array],
    npt.NDArray[np.int64],
    CalibrationSample | None,
    dict[str, Any],
]:
    """Read an artefact: models, arrays, prompts trained on, calibration sample, card.

    Raises:
        ArtefactError: It is missing, corrupt, of another format, or of a wrong shape.
    """
    try:
        content = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ArtefactError(
                folder, f"is of format {content['format']!r}, not {FORMAT}: train it again"
            )
        models, names = tuple(content["models"]), tuple(content["calibrated_on"])
        blob = (folder / Path(content["weights"]).name).read_bytes()
        if hashlib.sha256(blob).hexdigest() != content["sha256"]:
            raise ArtefactError(folder, "has weights that are not those its card names: corrupt")
        tensors = safetensors.numpy.load(blob)
        about, trained_on = dict(content["about"]), tensors.pop(_TRAINED_ON)
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise ArtefactError(folder, f"cannot be read ({type(error).__name__}: {error})") from error
    stored = {n.removeprefix(_SAMPLE): tensors.pop(n) for n in list(tensors) if _SAMPLE in n}
    _check(folder, tensors, len(models))
    sample = CalibrationSample(names, **stored) if names else None
    return models, tensors, trained_on, sample, about


def _check(folder: Path, tensors: Mapping[str, Array], m: int) -> None:
    k = len(MEASURES)
    shapes = {
        **dict.fromkeys(("strengths", "usual", "mean_score", "output_tokens"), (m,)),
        **dict.fromkeys(("idf", "term_variance"), (BUCKETS,)),
        **dict.fromkeys(("centre", "scale"), (k,)),
        "by_measure": (k, m),
        "by_term": (BUCKETS, m),
        "blend": (m, 4),
        "blend_covariance": (m, 4, 4),
        "measure_covariance": (k, k),
    }
    if set(tensors) != set(shapes):
        odd = sorted(set(tensors) ^ set(shapes))
        raise ArtefactError(folder, f"lacks or has too much of: {', '.join(odd)}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ArtefactError(
                folder, f"has {name} of shape {tensors[name].shape}, not {shape}: corrupt"
            )
        if name != "output_tokens" and not np.isfinite(tensors[name]).all():
            raise ArtefactError(folder, f"has {name} with values that are no numbers: corrupt")


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
