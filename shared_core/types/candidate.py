"""One of the user's models, and what is known of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NamedTuple

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number

__all__ = ["CAPABILITIES", "Candidate", "Listing"]

CAPABILITIES = frozenset(
    {
        *("name", "status", "release_date", "last_updated", "open_weights"),
        *("max_input_tokens", "max_output_tokens"),
        *("text_inputs", "image_inputs", "image_url_inputs", "pdf_inputs"),
        *("audio_inputs", "video_inputs", "image_tool_message", "pdf_tool_message"),
        *("text_outputs", "image_outputs", "audio_outputs", "video_outputs"),
        *("reasoning_output", "reasoning_effort_levels", "reasoning_effort_default"),
        *("tool_calling", "tool_choice", "tool_call_streaming", "structured_output"),
        *("mid_conversation_system_messages", "mid_conversation_tools"),
        *("attachment", "temperature"),
    }
)
"""The keys of `Candidate.capabilities`: those of LangChain's `ModelProfile` (core 1.8)."""


class Listing(NamedTuple):
    """The name under which catalogues of prices and energy know a model.

    Attributes:
        provider: As LangChain and the catalogues spell it ("openai"); None where nobody says.
        model: The provider's name of the model.
        api_url: Where it is called, if that was set by hand: it may be another provider's.
    """

    provider: str | None
    model: str
    api_url: str | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the user's models, and what is known of it.

    Attributes:
        name: How it is called in decisions, records and `model=`.
        model: The framework's own object (never looked into by the core, never printed).
        strength: 0 to 1, how able it is beside the others. None: its place in the list, the
            i-th of n (weakest first, from 1) having i/(n+1).
        local: Runs on the user's own machines. None is "not known", which never counts as local.
        price: USD per million (input, output) tokens. None: as the catalogue of prices has it under
            `listing`; a local candidate costs its energy at `Policy.usd_per_kwh`. Unknown is not 0.
        energy: Wh per million (input, output) tokens; or a meter, such as `measured()`. None: what
            EcoLogits estimates for a hosted one, with the extra `energy`; else unknown.
        listing: Under which name catalogues know the model, such as "openai:gpt-5-mini". None: what
            the model says of itself.
        context_window: Most input tokens it takes. None: what the model itself says, if anything.
        capabilities: What it can do, under the keys of a LangChain model profile; overrides
            what the model says of itself. A capability that nobody states is unknown and allowed.
        tags: Free labels, for constraints.

    Raises:
        ConfigurationError: A value is out of range or a capability has an unknown name.
    """

    name: str
    model: Any = field(repr=False)
    _: KW_ONLY
    strength: float | None = None
    local: bool | None = None
    price: tuple[float, float] | None = None
    energy: tuple[float, float] | Any = None
    context_window: int | None = None
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    listing: Listing | str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, naming the candidate."""
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigurationError(
                f"a candidate's name must be a non-empty string, not {self.name!r}"
            )
        if self.strength is not None:
            _require_number(self, "strength", self.strength)
            if not 0 <= self.strength <= 1:
                raise _wrong(self, "strength must be between 0 and 1", self.strength)
        if self.context_window is not None:
            _require_number(self, "context_window", self.context_window)
            if self.context_window < 1:
                raise _wrong(self, "context_window must be at least 1 token", self.context_window)
        if self.local is not None and not isinstance(self.local, bool):
            raise _wrong(self, "local must be True, False or None", self.local)
        object.__setattr__(self, "price", _rates(self, "price", self.price))
        if not callable(getattr(self.energy, "joules", None)):
            object.__setattr__(self, "energy", _rates(self, "energy", self.energy))
        object.__setattr__(self, "listing", _listing(self, self.listing))
        object.__setattr__(self, "capabilities", _known_capabilities(self, self.capabilities))
        object.__setattr__(self, "tags", _labels(self, self.tags))


def _wrong(candidate: Candidate, rule: str, value: object) -> ConfigurationError:
    return ConfigurationError(f"candidate {candidate.name!r}: {rule}, not {value!r}")


def _require_number(candidate: Candidate, label: str, value: object) -> None:
    if not is_number(value):
        raise _wrong(candidate, f"{label} must be a finite number", value)


def _rates(candidate: Candidate, label: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    unit = {"price": "USD", "energy": "Wh"}[label]
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        rule = f"{label} must be a pair (input, output) in {unit} per million tokens"
        raise _wrong(candidate, rule, value)
    for rate in value:
        _require_number(candidate, label, rate)
        if rate < 0:
            raise _wrong(candidate, f"{label} must not be negative", value)
    return (float(value[0]), float(value[1]))


def _listing(candidate: Candidate, value: Any) -> Listing | None:
    if value is None or isinstance(value, Listing):
        return value
    provider, colon, model = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not (provider and colon and model):
        raise _wrong(candidate, "listing must be 'provider:model', as 'openai:gpt-5-mini'", value)
    return Listing(provider, model)


def _labels(candidate: Candidate, value: Any) -> tuple[str, ...]:
    labels = None if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if labels is None or not all(isinstance(label, str) for label in labels):
        raise _wrong(candidate, "tags must be a sequence of strings", value)
    return labels


def _known_capabilities(candidate: Candidate, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(candidate, "capabilities must be a mapping", value)
    for key in value:
        if key not in CAPABILITIES:
            near = difflib.get_close_matches(str(key), CAPABILITIES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see shared_core.types.CAPABILITIES"
            raise _wrong(candidate, f"capabilities has an unknown key ({hint})", key)
    return dict(value)
