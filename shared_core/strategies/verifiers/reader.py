"""A small local language model reads question and draft, once: nothing is generated.

In: a question and drafts of answers to it. Out: a row of numbers per draft, for a head to learn
from: hidden states of one of the lower layers, where what is above is not even run. Needs the extra
`[local]`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shared_core.errors import ConfigurationError
from shared_core.strategies.verifiers.local import LanguageModel, language_model

__all__ = ["LAYER", "Reader", "features"]

LAYER: Final = 8
"""Of the 30 of SmolLM2-135M; a deeper one tells little more."""

HALF_LIFE: Final = 10  # tokens
_FEATURES: Final = 1  # number of their definition: artefacts are bound to it by the name
_KEPT: Final = 4  # readings that may be gone on with, 15 MB each at most with SmolLM2-135M
_WORTH: Final = 8  # tokens in common from which on it is worth going on
_CHARACTERS: Final = 8  # looked at for a token at most

Floats = npt.NDArray[np.floating[Any]]


class _Reading(NamedTuple):
    """What has been read: tokens, the model's cache of them, and their hidden states."""

    ids: list[int]
    cache: Any
    states: Floats


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads with a causal language model of transformers.

    A draft is read on from where it is the same as one before, so the drafts of one question share
    the reading of it, and one that grows is read once in all, however often it is looked at.

    Attributes:
        model: A GGUF file, a folder, a name on the hub, or a model object, whose weights are then
            shared. The file of SmolLM2-135M-Instruct that `make demo` downloads will do.
        tokenizer: Of a model that is passed as an object.
        layer: Whose output is read, from 1; what is above is left off.
        most_tokens: Read of a question, and of a draft, at most: their first and last halves.
        label: What to call a model that does not tell its name and revision.
        name: Model, revision and how it is read: a head is bound to it.

    Raises:
        MissingExtraError: A package of the extra `[local]` is not installed.
        ConfigurationError: There is no such model, or an option makes no sense.
    """

    model: Any
    tokenizer: Any = None
    layer: int = LAYER
    most_tokens: int = 512
    label: str | None = None
    name: str = field(init=False)
    _loaded: LanguageModel = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _kept: list[_Reading] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Load the model."""
        if not isinstance(self.most_tokens, int) or self.most_tokens < 2:
            raise ConfigurationError(f"most_tokens must be 2 or more, not {self.most_tokens!r}")
        loaded = language_model(self.model, self.tokenizer, self.layer, self.label)
        object.__setattr__(self, "_loaded", loaded)
        how = f"layer={self.layer}&most_tokens={self.most_tokens}&features={_FEATURES}"
        object.__setattr__(self, "name", f"reader:{loaded.called}?{how}")

    def read(self, question: str, drafts: Sequence[str]) -> Floats:
        """Return one row of numbers per draft; without any, read the question beforehand."""
        asked = self._ids(f"Question: {question}\n\nAnswer:")
        if not drafts:
            self._states(asked)  # while the first is awaited
        written = [self._ids(f" {draft.strip()}") for draft in drafts]
        return np.array([features(self._states(asked + ids)[len(asked) :]) for ids in written])

    def _states(self, ids: list[int]) -> Floats:
        """Return the hidden states of tokens, a row each."""
        reading = self._taken(ids)
        same = _common(reading.ids, ids)
        states = reading.states[:same]
        if same < len(ids):
            if same < len(reading.ids):
                reading.cache.crop(same - len(reading.ids))  # so many less
            new = self._loaded.read_on(ids[same:], reading.cache)
            states = np.concatenate([states, new]) if same else new
            reading = _Reading(ids, reading.cache, states)
        self._keep(reading)
        return states

    def _taken(self, ids: list[int]) -> _Reading:
        """Take out the reading that shares most with the tokens: nobody else may go on with it."""
        with self._lock:
            shared = [_common(reading.ids, ids) for reading in self._kept]
            if shared and max(shared) >= _WORTH:
                return self._kept.pop(shared.index(max(shared)))
        return _Reading([], self._loaded.new_cache(), np.zeros((0, 0)))

    def _keep(self, reading: _Reading) -> None:
        with self._lock:
            self._kept.append(reading)
            del self._kept[:-_KEPT]

    def _ids(self, text: str) -> list[int]:
        """Return the tokens of a text that are read; never none."""
        clean = _ends(text, _CHARACTERS * self.most_tokens).encode("utf-8", "replace").decode()
        with self._lock:  # the fast tokenizers are not to be used from two threads
            ids = self._loaded.tokenizer(clean, add_special_tokens=False)["input_ids"]
        return _ends(list(ids), self.most_tokens) or [0]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens are the same from the start."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def _ends(items: Any, most: int) -> Any:
    half = most // 2
    return items if len(items) <= most else items[:half] + items[half - most :]


def features(states: Floats) -> Floats:
    """Return what is learned from: two means over the tokens of a draft, one of them of its end.

    What comes `HALF_LIFE` tokens earlier counts half in that one. The state of the last token
    alone, which models elsewhere are probed at, is often but a bracket's.
    """
    weights = 0.5 ** (np.arange(len(states))[::-1] / HALF_LIFE)
    return np.concatenate([weights @ states / weights.sum(), states.mean(axis=0)])
