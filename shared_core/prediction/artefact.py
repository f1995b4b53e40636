"""What a predictor has learned, on disk; see `shared_core.weights`.

In: names, arrays, a calibration sample, a card. Out: the same, or an `ArtefactError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.errors import ArtefactError
from shared_core.prediction.features import BUCKETS, MEASURES
from shared_core.types import CalibrationSample
from shared_core.weights import read_weights, write_weights

__all__ = ["FORMAT", "read_artefact", "write_artefact"]

FORMAT: Final = 1
"""Number of the format; another one is refused. It changes with the shipped prior too: the prior's
opinion is part of what was blended."""

_SAMPLE: Final = "sample."
_TRAINED_ON: Final = "trained_on"
_MAY_BE_UNKNOWN: Final = ("output_tokens", f"{_SAMPLE}output_tokens", f"{_SAMPLE}scores")
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
    tensors: dict[str, npt.NDArray[Any]] = {_TRAINED_ON: trained_on, **arrays}
    names: tuple[str, ...] = ()
    if sample is not None:
        names = sample.names
        parts = {name: value for name, value in vars(sample).items() if name != "names"}
        tensors |= {
            _SAMPLE + k: np.asarray(v, np.int64 if k == "prompts" else np.float32)
            for k, v in parts.items()
            if v is not None
        }
    content = {
        "format": FORMAT,
        "models": list(models),
        "calibrated_on": list(names),
        "about": dict(card),
    }
    write_weights(folder, tensors, content)


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
    content, tensors = read_weights(folder, "predictor", FORMAT)
    try:
        models, names = _names(content["models"]), _names(content["calibrated_on"])
        about, trained_on = dict(content["about"]), tensors.pop(_TRAINED_ON)
        stored = {n: tensors.pop(n) for n in list(tensors) if n.startswith(_SAMPLE)}
        d, n = len(tensors["encoding_centre"]), len(stored[f"{_SAMPLE}predicted"]) if stored else 0
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(folder, f"cannot be read ({type(error).__name__}: {error})") from error
    _check(folder, tensors, _shapes(len(models), d))
    sample = None
    if names:
        _check(folder, stored, _sample_shapes(n, len(names), stored))
        parts = {name.removeprefix(_SAMPLE): array for name, array in stored.items()}
        sample = CalibrationSample(names, **parts)
    return models, tensors, trained_on, sample, about


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{value!r} is no list of names")
    if len(set(value)) < len(value):
        raise ValueError(f"{value!r} names one twice")
    return tuple(value)


def _shapes(m: int, d: int) -> dict[str, tuple[int, ...]]:
    k = len(MEASURES)
    return {
        **dict.fromkeys(("strengths", "usual", "mean_score", "output_tokens"), (m,)),
        **dict.fromkeys(("idf", "term_variance"), (BUCKETS,)),
        **dict.fromkeys(("centre", "scale"), (k,)),
        **dict.fromkeys(("encoding_centre", "encoding_scale", "encoding_variance"), (d,)),
        "by_measure": (k, m),
        "by_term": (BUCKETS, m),
        "by_encoding": (d, m),
        "blend": (m, 5),
        "blend_covariance": (m, 5, 5),
        "measure_covariance": (k, k),
    }


def _sample_shapes(n: int, m: int, stored: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    shapes = {"predicted": (n, m), "input_tokens": (n,), "output_tokens": (n, m)}
    perhaps = {"scores": (n, m), "prompts": (n,)}
    shapes |= {name: shape for name, shape in perhaps.items() if _SAMPLE + name in stored}
    return {_SAMPLE + name: shape for name, shape in shapes.items()}


def _check(
    folder: Path, tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    if set(tensors) != set(shapes):
        odd = sorted(set(tensors) ^ set(shapes))
        raise ArtefactError(folder, f"lacks or has too much of: {', '.join(odd)}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ArtefactError(
                folder, f"has {name} of shape {tensors[name].shape}, not {shape}: corrupt"
            )
        if name not in _MAY_BE_UNKNOWN and not np.isfinite(tensors[name]).all():
            raise ArtefactError(folder, f"has {name} with values that are no numbers: corrupt")
