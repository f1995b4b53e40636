"""Texts as vectors, by a model of the user's: what `LearnedPredictor` may read besides the surface.

In: texts. Out: one row of finite numbers each. An encoder is anything with a name and `encode`;
those here need the extra `[local]` or an embedding model of LangChain or LlamaIndex. The package
brings no weights and loads none unless an encoder is made.
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from shared_core.errors import ConfigurationError
from shared_core.extras import imported

__all__ = [
    "EmbeddingEncoder",
    "Encoder",
    "PrefillEncoder",
    "SentenceEncoder",
    "encoded",
    "encoder_from",
]

WINDOWS: Final = 4  # of a long text that a sentence encoder reads
POOLINGS: Final = ("mean", "last")

_USUAL_LENGTH: Final = 256  # tokens, of a sentence encoder that does not tell
_DEPTH: Final = 0.55  # of a language model, whose layer is read
_MARGIN_FULL: Final = 10.0  # log probability: surer than that is sure

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into vectors of one length; called from several threads at once.

    The same text has to give the same vector in training and in use: the name says what made it,
    and an artefact is refused with an encoder of another name.
    """

    @property
    def name(self) -> str:
        """Says which model, and how it is read, in plain text."""
        ...

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.floating[Any]]:
        """Return one row of numbers per text."""
        ...


def encoded(encoder: Encoder | None, texts: Sequence[str]) -> Vectors:
    """Return what an encoder makes of texts, checked; without one, rows of no numbers.

    Raises:
        ConfigurationError: It gave something else than one row of finite numbers per text.
    """
    if encoder is None or not texts:
        return np.zeros((len(texts), 0), np.float32)
    return _checked(encoder.name, encoder.encode(texts), len(texts))


def encoder_from(name: str) -> Encoder:
    """Make the encoder of that name: `sentence-transformers:MODEL` or `prefill:MODEL`.

    Raises:
        ConfigurationError: Nothing can be made by that name.
        MissingExtraError: The extra `[local]` is not installed.
    """
    kind, _, rest = name.partition(":")
    model, _, query = rest.partition("?")
    if not model or kind not in ("sentence-transformers", "prefill"):
        raise ConfigurationError(
            f"no encoder can be made from {name!r}: write sentence-transformers:MODEL or "
            "prefill:MODEL; any other is passed in Python, to fit and LearnedPredictor.load"
        )
    if kind == "sentence-transformers":
        return SentenceEncoder(rest)
    options = dict(parse_qsl(query))
    layer = options.get("layer")
    if layer is not None and not layer.isdecimal():
        raise ConfigurationError(f"{name!r} has the layer {layer!r}: write a number")
    return PrefillEncoder(
        model,
        layer=None if layer is None else int(layer),
        pooling=options.get("pooling", PrefillEncoder.pooling),
    )


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """A model of sentence-transformers; about 50 ms a short prompt on one core with MiniLM.

    Such a model cuts what is longer than its few hundred tokens off. So a long text is read in up
    to four windows, each short enough, spread evenly over it, and their vectors are averaged: up to
    about 2,000 characters (MiniLM; 256 tokens) all of it is read, beyond that a sample of it.

    Attributes:
        model: The name of a model, or a `SentenceTransformer`.
        label: What to call a model that does not tell its name.
    """

    model: Any
    label: str | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """Load the model.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ConfigurationError: There is no such model, or it does not tell its name.
        """
        card = getattr(self.model, "model_card_data", None)
        called = self.label or _name_of(self.model) or _name_of(card)
        _name(self, "sentence-transformers", called)
        if isinstance(self.model, str):
            make = imported("sentence-transformers", "local").SentenceTransformer
            object.__setattr__(self, "model", _loaded(make, self.model))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode`."""
        tokens = getattr(self.model, "max_seq_length", None) or _USUAL_LENGTH
        parts = [_windows(_clean(text), tokens) for text in texts]
        ends = np.cumsum([0, *map(len, parts)])
        flat = [part for windows in parts for part in windows]
        rows = self.model.encode(flat, convert_to_numpy=True, show_progress_bar=False)
        vectors = _checked(self.name, rows, len(flat))
        sums = np.add.reduceat(vectors, ends[:-1], axis=0)
        return np.asarray(sums / np.diff(ends)[:, None], np.float32)


@dataclass(frozen=True, eq=False)
class EmbeddingEncoder:
    """An embedding model of LangChain or LlamaIndex; what it costs and cuts off is its own affair.

    Attributes:
        embeddings: Has `embed_documents` (LangChain's `Embeddings`) or `get_text_embedding_batch`
            (LlamaIndex's `BaseEmbedding`).
        label: What to call one that does not tell its model's name.
    """

    embeddings: Any
    label: str | None = None
    name: str = field(init=False)
    _embed: Callable[[list[str]], Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Find out how to call it.

        Raises:
            ConfigurationError: It is no embedding model, or does not tell its model's name.
        """
        embed = getattr(self.embeddings, "embed_documents", None) or getattr(
            self.embeddings, "get_text_embedding_batch", None
        )
        if embed is None:
            kind = type(self.embeddings).__name__
            raise ConfigurationError(f"a {kind} is no embedding model of LangChain or LlamaIndex")
        _name(self, "embeddings", self.label or _name_of(self.embeddings))
        object.__setattr__(self, "_embed", embed)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode`."""
        clean = [_clean(text) or " " for text in texts]  # some refuse a text without a character
        return _checked(self.name, self._embed(clean), len(texts))


@dataclass(frozen=True, eq=False)
class PrefillEncoder:
    """What a causal language model makes of a prompt while it reads it, before the first token.

    One forward pass; features are the hidden state at a middle layer and how sure the model is of
    the next token: its entropy (share of the greatest possible) and the margin of the likeliest
    over the second (in log probability, 10 and more count as 1). "LLM Router: Prefill is All You
    Need" (arXiv 2603.20895) routes by such states of a small model; "LLMs Encode Their Failures"
    (arXiv 2602.09924) finds that the answering model's own tell best what it will fail at: `model`
    may be the very transformers object that a local candidate runs.

    A token takes about 5 ms with 135M parameters in float32 on one core, so a prompt of 70 tokens
    0.4 s; linear in parameters. Of more than `most_tokens` tokens the first and last halves are
    read. The defaults predicted best on mathematics and MMLU-Pro with SmolLM2-135M: mean over last
    token clearly, any layer from 45 to 75 % of the way up about alike.

    Attributes:
        model: The name of a causal language model of transformers, or the model.
        tokenizer: Of a model that is passed as an object.
        layer: Whose output is read, from 0 (the embeddings); None: 55 % of the way up.
        pooling: "mean" reads the mean over all tokens, "last" the last token's state.
        most_tokens: Read of a prompt, at most.
        label: What to call a model that does not tell its name.
    """

    model: Any
    tokenizer: Any = None
    layer: int | None = None
    pooling: str = "mean"
    most_tokens: int = 1_024
    label: str | None = None
    name: str = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Load the model.

        Raises:
            MissingExtraError: transformers or torch is not installed.
            ConfigurationError: There is no such model, it does not tell its name, it comes without
                a tokenizer, or an option makes no sense.
        """
        if self.pooling not in POOLINGS:
            raise ConfigurationError(f"pooling is one of {POOLINGS}, not {self.pooling!r}")
        if self.most_tokens < 2:
            raise ConfigurationError(f"most_tokens must be 2 or more, not {self.most_tokens}")
        called = self.label or _name_of(self.model)
        if isinstance(self.model, str):
            transformers, source = imported("transformers", "local"), self.model
            imported("torch", "local")
            tokenizer = self.tokenizer or _loaded(
                transformers.AutoTokenizer.from_pretrained, source
            )
            object.__setattr__(self, "tokenizer", tokenizer)
            model = _loaded(transformers.AutoModelForCausalLM.from_pretrained, source)
            object.__setattr__(self, "model", model)
        if self.tokenizer is None:
            raise ConfigurationError("pass the tokenizer with the model: tokenizer=...")
        layers = self.model.config.get_text_config().num_hidden_layers
        layer = round(layers * _DEPTH) if self.layer is None else self.layer
        if not 0 <= layer <= layers:
            raise ConfigurationError(f"layer is from 0 to {layers} in this model, not {layer}")
        object.__setattr__(self, "layer", layer)
        _name(self, "prefill", called and f"{called}?layer={layer}&pooling={self.pooling}")

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode`."""
        return _checked(self.name, [self._row(text) for text in texts], len(texts))

    def _row(self, text: str) -> npt.NDArray[Any]:
        torch = imported("torch", "local")
        asked: dict[str, Any] = {"output_hidden_states": True, "use_cache": False}
        if "logits_to_keep" in inspect.signature(self.model.forward).parameters:
            asked["logits_to_keep"] = 1  # a vocabulary for every token would cost more than a layer
        with torch.inference_mode():
            ids = torch.tensor([self._ids(text)], device=self.model.device)
            seen = self.model(input_ids=ids, **asked)
            states = seen.hidden_states[self.layer][0].float()
            state = states[-1] if self.pooling == "last" else states.mean(0)
            chances = seen.logits[0, -1].float().log_softmax(-1).cpu().numpy()
        return np.concatenate([state.cpu().numpy(), _certainty(chances)])

    def _ids(self, text: str) -> list[int]:
        """Return the tokens to read; never none."""
        with self._lock:  # the fast tokenizers are not to be used from two threads
            ids = self.tokenizer(_clean(_ends(text, 8 * self.most_tokens)))["input_ids"]
        return _ends(list(ids), self.most_tokens) or [self.model.config.bos_token_id or 0]


def _certainty(chances: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return entropy and margin, each 0 to 1, of log probabilities."""
    entropy = -float(np.exp(chances) @ np.maximum(chances, -1e4)) / math.log(len(chances))
    second, first = np.partition(chances, -2)[-2:]
    return np.array([entropy, min(float(first - second) / _MARGIN_FULL, 1.0)])


def _clean(text: str) -> str:
    """Return a text that can be encoded: tokenizers and providers refuse lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _windows(text: str, tokens: int) -> list[str]:
    """Return up to `WINDOWS` parts that hold no more tokens than that, spread over the text."""
    size = 2 * tokens if text.isascii() else max(1, tokens // 2)  # characters; prose has 4 a token
    count = min(WINDOWS, max(1, math.ceil(len(text) / size)))
    starts = np.linspace(0, max(0, len(text) - size), count).astype(int).tolist()
    return [text[start : start + size] for start in starts]


def _ends(items: Any, most: int) -> Any:
    half = most // 2
    return items if len(items) <= most else items[:half] + items[-half:]


def _checked(name: str, rows: Any, n: int) -> Vectors:
    try:
        vectors = np.asarray(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the encoder {name!r} gave no numbers: {error}") from error
    if vectors.ndim != 2 or len(vectors) != n or not vectors.shape[1]:
        raise ConfigurationError(
            f"the encoder {name!r} gave an array of shape {vectors.shape} for {n} texts, "
            "not one row each"
        )
    if not np.isfinite(vectors).all():
        raise ConfigurationError(f"the encoder {name!r} gave values that are no numbers")
    return vectors


def _name(encoder: Any, kind: str, called: str | None) -> None:
    if not called:
        raise ConfigurationError(f"the model of {type(encoder).__name__} has no name: pass label=")
    object.__setattr__(encoder, "name", f"{kind}:{called}")


def _name_of(model: Any) -> str | None:
    if isinstance(model, str):
        return model
    names = (
        getattr(model, at, None) for at in ("model_name", "model", "name_or_path", "base_model")
    )
    return next((name for name in names if isinstance(name, str) and name), None)


def _loaded(make: Callable[[str], Any], source: str) -> Any:
    try:
        return make(source)
    except (OSError, ValueError) as error:  # transformers' for a name that it cannot find
        raise ConfigurationError(f"no model can be loaded from {source!r}: {error}") from error
