"""A causal language model of transformers, cut down to what a reader needs of it.

In: a name on the hub, a folder, a GGUF file, or a model object. Out: its first layers without the
rest, and how it is called with its revision: what is learned of a model's insides holds for these
very weights alone. Needs the extra `[local]`; nothing is loaded before it is asked for.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.errors import ConfigurationError
from shared_core.extras import imported

__all__ = ["LanguageModel", "language_model"]

_WEIGHTS: Final = ("*.safetensors", "*.bin")
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """What a reader needs of a causal language model.

    Attributes:
        called: Model and revision, in plain text.
        tokenizer: Its tokenizer.
        trunk: From token ids to hidden states after the wanted layer, before any last norm.
    """

    called: str
    tokenizer: Any
    trunk: Any

    def new_cache(self) -> Any:
        """Return what keeps the keys and values of what has been read."""
        return imported("transformers", "local").DynamicCache()

    def read_on(self, ids: list[int], cache: Any) -> npt.NDArray[np.float32]:
        """Read more tokens, and return their hidden states, a row each."""
        torch = imported("torch", "local")
        known = inspect.signature(self.trunk.forward).parameters
        kept = {"cache" if "cache" in known else "past_key_values": cache}  # renamed in 5.x
        with torch.inference_mode():
            given = torch.tensor([ids], device=self.trunk.device)
            states = self.trunk(input_ids=given, use_cache=True, **kept).last_hidden_state[0]
            return np.asarray(states.float().cpu().numpy())


def language_model(model: Any, tokenizer: Any, layer: int, label: str | None) -> LanguageModel:
    """Load a model, where it is not one already, and leave off what is above the layer.

    Raises:
        MissingExtraError: A package of the extra `[local]` is not installed.
        ConfigurationError: There is no such model, it comes without a tokenizer or a name, has no
            such layer, or is of a kind that cannot be cut.
    """
    called = label
    if isinstance(model, (str, Path)):
        model, tokenizer, revision = _loaded(str(model), tokenizer)
        called = label or revision
    called = called or _revision(model)
    if not called:
        raise ConfigurationError("this model does not tell its name: pass label=, with a revision")
    if tokenizer is None:
        raise ConfigurationError("pass the tokenizer with the model: tokenizer=…")
    return LanguageModel(called, tokenizer, _cut(model, layer))


def _loaded(source: str, tokenizer: Any) -> tuple[Any, Any, str]:
    """Return model, tokenizer and what it is called, of a file, a folder or a name."""
    transformers, torch = imported("transformers", "local"), imported("torch", "local")
    path = Path(source).expanduser()
    name, options = source, {}
    if path.suffix == ".gguf":
        imported("gguf", "local")
        imported("accelerate", "local")
        if not path.is_file():
            raise ConfigurationError(f"there is no file {source!r}")
        name, options = str(path.parent), {"gguf_file": path.name}
    try:
        tokenizer = tokenizer or transformers.AutoTokenizer.from_pretrained(name, **options)
        make = transformers.AutoModelForCausalLM.from_pretrained
        model = make(name, dtype=torch.float32, **options).eval()
    except (OSError, ValueError, KeyError) as error:  # transformers' for what it cannot read
        raise ConfigurationError(f"no model can be loaded from {source!r}: {error}") from error
    if options:
        return model, tokenizer, f"{path.name}@{_hash([path])}"
    weights = sorted(one for kind in _WEIGHTS for one in path.glob(kind)) if path.is_dir() else []
    return (
        model,
        tokenizer,
        f"{path.name}@{_hash(weights)}" if weights else _revision(model) or name,
    )


def _revision(model: Any) -> str | None:
    """Return name and commit of a model that came from the hub, as far as it knows."""
    name = getattr(model, "name_or_path", None)
    commit = getattr(getattr(model, "config", None), "_commit_hash", None)
    return f"{name}@{commit}" if name and commit else None


def _hash(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                whole.update(block)
    return whole.hexdigest()[:12]


def _cut(model: Any, layer: int) -> Any:
    """Return a model's trunk up to a layer, sharing its weights."""
    trunk = model.get_decoder()
    if not (hasattr(trunk, "layers") and hasattr(trunk, "norm")):
        kind = type(model).__name__
        raise ConfigurationError(
            f"a {kind} keeps its layers elsewhere than the models that a reader can cut (Llama, "
            "Qwen, Mistral, SmolLM and the like)"
        )
    if not 1 <= layer <= len(trunk.layers):
        raise ConfigurationError(f"layer is from 1 to {len(trunk.layers)} here, not {layer}")
    torch = imported("torch", "local")
    short = copy.copy(trunk)
    short._modules = dict(trunk._modules)  # a copy of the object shares this one
    short.layers, short.norm = trunk.layers[:layer], torch.nn.Identity()
    return short
