"""The data of a call, in the order in which it flows.

`Prompt` (what was asked) → `Estimate` per candidate (what each would do) → `Decision` (who
answers, who was refused and why) → `Ask` (a candidate is asked) → `Reply` (what came back) →
`Draft` (it is looked at first) → `Verdict` (what one verifier makes of it) → `Entry` (what is
written down) → `Answer` (what the skin hands to the caller).

All of it is frozen and knows no framework: a framework's own objects appear only as
`Candidate.model` and `Reply.native`, which the core carries and never looks into.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "CAPABILITIES",
    "COMMON_OVERLAP",
    "Alternative",
    "Answer",
    "Ask",
    "Attempt",
    "CalibrationSample",
    "Candidate",
    "Check",
    "Constraint",
    "Decision",
    "Detail",
    "Draft",
    "Ending",
    "Energy",
    "Entry",
    "Estimate",
    "Listing",
    "Modality",
    "Outcome",
    "Phase",
    "Prompt",
    "Purpose",
    "Reasoning",
    "Refusal",
    "Reply",
    "Scope",
    "Step",
    "Steps",
    "Turn",
    "Usage",
    "Verdict",
    "Verification",
    "Watch",
    "as_constraints",
    "usage_of_counts",
]

Modality = Literal["image", "audio", "video", "pdf"]
"""What a prompt can carry besides text."""

Outcome = Literal["answered", "failed", "cancelled", "dropped", "resting", "refused"]
"""How one attempt at one candidate ended. A resting one was not asked at all, nor was one that a
budget refused; a cancelled one was left by the caller before its answer was whole, a dropped one by
the router, which had seen enough of it."""

Reasoning = Literal["none", "low", "medium", "high"]
"""How long a model that can think before it answers is to think."""

Purpose = Literal["answer", "check"]
"""What a candidate is asked for: an answer to the caller, or a word on another's answer."""

Ending = Literal["answered", "failed", "cancelled"]
"""How a routed call ended."""

Phase = Literal["planning", "reading a tool's result", "after an error", "stall"]
"""Which step of an agent a call is: tools are on offer and nothing was called yet; a tool has
answered; its answer was an error, or the call could not be parsed; the same call was made again."""

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


COMMON_OVERLAP = 0.63
"""How far two models are right about the same prompts where nobody has looked: the correlation of
what makes them right, 0 to 1. The mean of four data sets, over all pairs of their 29 to 48 models:
MATH .45, MMLU-Pro .58, CRUXEval .70, ZebraLogic .79 (examples.benchmarks.mixture). As the plain
correlation of their errors that is .25, .37, .43 and .48."""


class Turn(NamedTuple):
    """One message of the prompt, as plain text."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str

    def place_in(self, roles: Sequence[str]) -> int | None:
        """Return in which of the caller's messages it is said; None: in one of its own.

        What a system says is in the first system message. What a user says, or a tool, which is
        told as the user's, is in the last one where that is a user's: roles still take turns.
        """
        if self.role == "system":
            return next((place for place, role in enumerate(roles) if role == "system"), None)
        joins = bool(roles) and roles[-1] == "user" and self.role != "assistant"
        return len(roles) - 1 if joins else None


@dataclass(frozen=True, slots=True)
class Scope:
    """Who is calling, and what holds for all of their calls.

    Attributes:
        thread: The conversation.
        user: The person.
        tenant: Whom the person works for.
        run: The run of an agent, a graph, a pipeline that the calls belong to.
        step: The step of it, for reports.
        pin: The candidate that answers, by name; it is held to every constraint.
        subject_to: Constraints, besides those of the policy.

    Raises:
        ConfigurationError: A key is no non-empty string, or a constraint no function.
    """

    thread: str | None = None
    user: str | None = None
    tenant: str | None = None
    pin: str | None = None
    subject_to: Sequence[Constraint] = ()
    run: str | None = None
    step: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for label in ("thread", "user", "tenant", "pin", "run", "step"):
            value = getattr(self, label)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigurationError(
                    f"call scope: {label} must be a non-empty string, not {value!r}"
                )
        object.__setattr__(self, "subject_to", as_constraints("call scope", self.subject_to))

    def within(self, outer: Scope) -> Scope:
        """Return this scope inside another: its keys win, the constraints of both hold."""
        if outer == Scope():
            return self
        return Scope(
            thread=self.thread or outer.thread,
            user=self.user or outer.user,
            tenant=self.tenant or outer.tenant,
            pin=self.pin or outer.pin,
            subject_to=(*outer.subject_to, *self.subject_to),
            run=self.run or outer.run,
            step=self.step or outer.step,
        )


def as_constraints(owner: str, given: Any) -> tuple[Constraint, ...]:
    """Return constraints as a tuple.

    Raises:
        ConfigurationError: It is no sequence of functions.
    """
    listed = isinstance(given, Iterable) and not callable(given) and not isinstance(given, str)
    rules = tuple(given) if listed else None  # once: a generator is empty the second time
    if rules is None or not all(callable(rule) for rule in rules):
        raise ConfigurationError(
            f"{owner}: subject_to must be a list of constraints, for instance [local_only()], "
            f"not {given!r}"
        )
    return rules


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a tool loop: a model called tools, and perhaps they have answered.

    Attributes:
        author: The candidate that made it, where that is known.
        calls: Each call that it made, its name with its arguments in an order of their own, so that
            the same call is the same text.
        failed: Of the tools' results, how many are errors.
        malformed: It has a call that could not be parsed.
        results: What the tools said.
    """

    author: str | None
    calls: tuple[str, ...] = ()
    failed: int = 0
    malformed: bool = False
    results: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A plain, lossy view of what the caller asks: enough to choose a candidate by.

    Attributes:
        turns: The conversation as text, oldest first.
        tokens: Estimated input tokens (see `estimate_tokens`), tools included.
        tools: The tools on offer, in full, as OpenAI-shaped function schemas.
        must_call: A tool call is forced (any tool, or one by name).
        schema: The output schema that is asked for, in full; None for free text.
        schema_method: "function_calling", "json_schema" or "json_mode" where the caller insists
            on one; None leaves it to the candidate.
        modalities: What the messages carry besides text.
        in_tool_loop: The last message is a tool's result: a model waits for it.
        author: The candidate that wrote the last assistant message, where that is known.
        scope: Who is calling.
        max_tokens: Most output tokens that the caller asks for; None where that is not said.
        loop: The steps of the tool loop since the user's last turn, oldest first.
    """

    turns: tuple[Turn, ...]
    tokens: int
    tools: tuple[Mapping[str, Any], ...] = ()
    must_call: bool = False
    schema: Mapping[str, Any] | None = None
    schema_method: str | None = None
    modalities: frozenset[Modality] = frozenset()
    in_tool_loop: bool = False
    author: str | None = None
    scope: Scope = Scope()
    max_tokens: int | None = None
    loop: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """What the user asked last, or everything where no user turn exists."""
        for turn in reversed(self.turns):
            if turn.role == "user":
                return turn.text
        return "\n".join(turn.text for turn in self.turns)


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one candidate is expected to do with one prompt. None is unknown, never zero.

    Attributes:
        candidate: Its name.
        quality: Probability that its answer is good, 0 to 1.
        quality_low: Lower end of the interval the predictor gives.
        quality_high: Upper end of it.
        output_tokens: Expected tokens of the answer.
        predicted_tokens: The same before past calls corrected it.
        cost_usd: USD.
        energy_wh: Wh, with `energy_wh_low` and `energy_wh_high` where an interval is known.
        latency_s: Seconds.
        cached_tokens: Of the input, what is expected to come out of the provider's prompt cache.
        energy_method: How the energy is known.
        worst_usd: Where the cost is unknown, the dearest that is known of any candidate, in USD.
        worst_wh: The same of the energy, in Wh.
        pays_energy: `cost_usd` is the price of the energy: nobody else is paid.
    """

    candidate: str
    quality: float
    quality_low: float
    quality_high: float
    output_tokens: int | None = None
    cost_usd: float | None = None
    energy_wh: float | None = None
    energy_wh_low: float | None = None
    energy_wh_high: float | None = None
    latency_s: float | None = None
    predicted_tokens: int | None = None
    cached_tokens: int = 0
    energy_method: str | None = None
    worst_usd: float | None = None
    worst_wh: float | None = None
    pays_energy: bool = False


@dataclass(frozen=True, eq=False)
class CalibrationSample:
    """Prompts of the traffic whose predicted qualities, and perhaps scores, are known.

    The predictions must come from a predictor that has not seen these prompts' scores.

    Attributes:
        names: Candidates, m of them.
        predicted: Predicted quality, 0 to 1, n prompts x m.
        input_tokens: Of each prompt, n.
        output_tokens: Expected of each answer, n x m; NaN where unknown.
        scores: How good each answer was, 0 to 1, n x m; NaN where nobody knows. None: no scores.
        prompts: A number for each prompt's text by which it is known again, n.
    """

    names: tuple[str, ...]
    predicted: npt.NDArray[np.floating[Any]]
    input_tokens: npt.NDArray[np.floating[Any]]
    output_tokens: npt.NDArray[np.floating[Any]]
    scores: npt.NDArray[np.floating[Any]] | None = None
    prompts: npt.NDArray[np.integer[Any]] | None = None


def _line(estimate: Estimate) -> str:
    low, high = estimate.quality_low, estimate.quality_high
    parts = [f"  {estimate.candidate}: quality {estimate.quality:.2f} ({low:.2f} to {high:.2f})"]
    if estimate.output_tokens is not None:
        parts.append(f"about {estimate.output_tokens} output tokens")
    if estimate.cost_usd is not None:
        parts.append(f"{estimate.cost_usd:.2g} USD")
    if estimate.energy_wh is not None:
        parts.append(f"{estimate.energy_wh:.2g} Wh")
    return ", ".join(parts)


Constraint = Callable[[Prompt, Candidate, Estimate], "bool | str | None"]
"""A hard limit: returns None or True to allow, False or a reason (a string) to refuse."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A candidate that is not asked, or only last, and why."""

    candidate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What lies behind a decision.

    Attributes:
        moved: What moved the predicted quality of each candidate: (measure or term, log odds), the
            largest first; empty where the predictor does not say.
        flips: What would have made others answer, a sentence each.
    """

    moved: Mapping[str, tuple[tuple[str, float], ...]]
    flips: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in lines of text."""
        lines = list(self.flips)
        for candidate, parts in self.moved.items():
            lines.append(f"what moved {candidate}, in log odds:")
            lines += [f"  {moved:+.2f}  {name}" for name, moved in parts]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers, and why; `print` it to read it.

    Attributes:
        id: Names this decision in records.
        candidate: The chosen candidate's name.
        reason: One sentence, in words and numbers.
        calibrated: The quality threshold comes from a calibration on scored prompts. What it
            promises was tested on questions; inside a tool loop the threshold is the same, but
            staying with a model, and the loop's evidence, are beside what was tested.
        estimates: One per candidate, weakest first, refused ones too; in a tool loop, lower for
            those whose steps failed.
        refusals: One per candidate that may not answer.
        fallbacks: The other allowed candidates, in the order in which they are tried.
        resting: Allowed candidates that have failed and are let rest, and why: tried last.
        predictor: Name of the predictor that made the estimates.
        delta: How far under the best predicted quality a candidate may be, 0 to 1.
        calibration: Where that comes from, in words and numbers.
        detail: What lies behind it, where that was asked for.
        plan: What the strategy makes of it, in words, where that was asked for.
        allowed: Everyone who may answer, weakest first.
        reasoners: Candidates known to reason when asked with the parameter "reasoning".
        wanted: In shadow mode, the candidate that would have been chosen.
        windows: Most input tokens of each candidate of which that is known.
        overlaps: How far two candidates are right about the same prompts, 0 to 1, by both names, in
            both orders, where the predictor knows and the strategy asks; see `COMMON_OVERLAP`.
        seconds: How long it took to decide.
        phase: Which step of an agent the call is; None outside of agents.
    """

    id: str
    candidate: str
    reason: str
    calibrated: bool
    estimates: tuple[Estimate, ...]
    refusals: tuple[Refusal, ...] = ()
    fallbacks: tuple[str, ...] = ()
    resting: tuple[Refusal, ...] = ()
    predictor: str = ""
    delta: float = 0.0
    calibration: str = ""
    detail: Detail | None = None
    plan: str = ""
    allowed: tuple[str, ...] = ()
    reasoners: frozenset[str] = frozenset()
    wanted: str | None = None
    windows: Mapping[str, int] = field(default_factory=dict, repr=False)
    overlaps: Mapping[tuple[str, str], float] = field(default_factory=dict, repr=False)
    seconds: float = field(default=0.0, compare=False)
    phase: Phase | None = None

    def __str__(self) -> str:
        """Say it in lines of text."""
        lines = [
            f"{self.candidate}: {self.reason}",
            *([f"step of an agent: {self.phase}"] if self.phase else []),
            f"calibrated: {'yes' if self.calibrated else 'no'} ({self.calibration})",
            *map(_line, self.estimates),
            *(f"  {refusal.candidate} is refused: {refusal.reason}" for refusal in self.refusals),
            *([self.plan] if self.plan else []),
        ]
        return "\n".join(lines if self.detail is None else [*lines, str(self.detail)])


@dataclass(frozen=True, slots=True)
class Ask:
    """A strategy wants this candidate to be asked.

    Attributes:
        candidate: Its name.
        visible: Its answer may be streamed to the caller while it grows, where nothing else is
            wanted beside it; it cannot be edited then. False holds it back until the strategy
            returns it.
        params: Neutral parameters of the call, which each skin maps: "max_tokens", "temperature",
            "reasoning" (see `Reasoning`), "logprobs" (True: tell each token's log probability).
        turns: Said besides the caller's messages: a system turn in the first system message, a user
            turn at the end, in the caller's own last message where that is a user's.
        replace: The turns are said instead of the caller's messages, tools and schema: a helper
            needs text alone.
        watch: Looks at a held answer while it grows, and may have it dropped.
        purpose: What it is asked for.
        place: Which ask of its call it is, from 1, as the run numbers them.
    """

    candidate: str
    visible: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    watch: Watch | None = None
    purpose: Purpose = "answer"
    replace: bool = False
    place: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at an answer while it grows.

    Attributes:
        drops: Is given what there is so far; True has the call broken off.
        inline: It takes well under a millisecond: an event loop can do it in passing.
        first: Chunks before the first look; each further one waits for half as many again.
        limit_s: Seconds that a look which is not inline is waited for at most; there is no other
            after it then.
    """

    drops: Callable[[Reply], bool]
    inline: bool = True
    first: int = 16
    limit_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model itself counted them; see `usage_of_counts`.

    Attributes:
        input_tokens: All that it read, those out of and into a prompt cache included.
        output_tokens: All that it wrote, reasoning included.
        cached_tokens: Of the input, what came out of the provider's prompt cache.
        cache_write_tokens: Of the input, what was written into it.
        reasoning_tokens: Of the output, hidden reasoning.
        free: The framework's own cache answered: no model ran, nobody is paid.
        estimated: Nobody counted them: they are told from the texts.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    free: bool = False
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.free and other.free,
            self.estimated or other.estimated,
        )


def usage_of_counts(
    input_tokens: object,
    output_tokens: object,
    cached_tokens: object = 0,
    cache_write_tokens: object = 0,
    reasoning_tokens: object = 0,
    *,
    free: bool = False,
) -> Usage | None:
    """Return the usage that a model reports, or None where that cannot be one.

    Input and output must be whole numbers from 0 up: missing, negative, NaN, absurdly great is
    unknown. A part that is none, or more than its whole, counts as 0.
    """
    whole = [_count(input_tokens), _count(output_tokens)]
    if whole[0] is None or whole[1] is None:
        return None
    read, written = _count(cached_tokens) or 0, _count(cache_write_tokens) or 0
    if read + written > whole[0]:
        read = written = 0
    thought = _count(reasoning_tokens) or 0
    return Usage(whole[0], whole[1], read, written, thought if thought <= whole[1] else 0, free)


_MOST_TOKENS = 2**53  # whole numbers up to here are exact as floats, and in every store


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= _MOST_TOKENS and value == int(value) else None


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy in Wh: the best guess, the range it is believed to lie in, and how it is known.

    Attributes:
        low: Wh.
        mid: Wh.
        high: Wh.
        method: For instance "declared", "EcoLogits 0.11.3", "measured (NVML)".
    """

    low: float
    mid: float
    high: float
    method: str

    def __add__(self, other: Energy) -> Energy:
        """Return both together: ends are added, as for errors that go the same way."""
        methods = dict.fromkeys([*self.method.split(" + "), *other.method.split(" + ")])
        ends = self.low + other.low, self.mid + other.mid, self.high + other.high
        return Energy(*ends, " + ".join(methods))


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one candidate. A failed call is data too.

    Attributes:
        candidate: Its name.
        native: The framework's own object, or those of a stream that the caller has seen; the core
            hands it back and never looks into it.
        text: Its plain text.
        parsed: The structured output, where one was asked for.
        parse_error: Why the answer could not be parsed into it.
        usage: None where the model reports none.
        seconds: Wall-clock time of the attempt, noted by the run.
        error: What it raised, or None.
        retryable: Another candidate (or a later try) might succeed where this one failed.
        tool_calls: (name, arguments) of each tool that it calls.
        finish_reason: Why it ended, as the provider says; "dropped" where a watch ended it.
        logprobs: Natural log probability of each token of the text; None where nobody tells.
        shown: It failed after somebody had seen a part of it, so that no other answer may follow.
    """

    candidate: str
    native: Any = field(default=None, repr=False)
    text: str = ""
    parsed: Any = None
    parse_error: Exception | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    error: Exception | None = None
    retryable: bool = False
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None
    shown: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer that is looked at before the caller gets it.

    Attributes:
        prompt: What was asked.
        reply: What came back, as far as it has grown.
        prior: Probability that it is right, by all that is known before it is looked at: the
            predictor's estimate, then what earlier verifiers made of it.
        whole: It has ended.
        expected_tokens: Of the whole answer, as estimated; None where nobody knows.
    """

    prompt: Prompt
    reply: Reply
    prior: float = 0.5
    whole: bool = True
    expected_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verifier makes of one draft; or, without a draft, what a strategy concluded.

    Attributes:
        verifier: Its name.
        probability: That the draft is right, 0 to 1, by all that is known with it; None: it cannot
            tell, which is never taken for a pass.
        note: Why, in words; nothing of the draft's text.
        candidate: Who wrote the draft; empty where there is none.
        seconds: How long it took, models that it asked included.
    """

    verifier: str
    probability: float | None = None
    note: str = ""
    candidate: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """A strategy wants a draft looked at, by work that asks no candidate.

    Attributes:
        verifier: The name of who looks.
        look: Returns the probability that the draft is right, True or False for certainty, a
            `Verdict`, or None where it cannot tell. What it raises, and anything else it returns,
            counts as None.
        draft: What to look at.
        inline: It takes well under a millisecond: it is done in passing, else in a thread.
        limit_s: Seconds that it is waited for at most; it then counts as None.
    """

    verifier: str
    look: Callable[[Draft], float | bool | Verdict | None]
    draft: Draft
    inline: bool = False
    limit_s: float = 10.0


Wish = Ask | Check | Verdict
Steps = Generator[tuple[Wish, ...], tuple[Any, ...], Reply]
"""A strategy at work: yields what it wants (those of one tuple may run side by side), receives a
`Reply` to each ask and a `Verdict` for each check, returns the reply that answers, or a copy of it
with another text, which the caller then gets. A verdict that it yields is written down, and comes
back as it is. Does no I/O."""

Verification = Generator[tuple[Wish, ...], tuple[Any, ...], Verdict]
"""A verifier at work: the same, but for the end, which is its verdict."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one candidate, as it is written down. None is unknown, never zero.

    Attributes:
        candidate: Its name.
        outcome: How it ended.
        seconds: Wall-clock time.
        usage: Tokens, where the model reports them.
        cost_usd: USD.
        energy: Wh.
        error: Class of what it raised.
        cost_usd_high: USD at most, which budgets are charged where the usage is unknown.
        predicted_tokens: Output tokens that were predicted, before past calls corrected it.
        purpose: What it was asked for.
    """

    candidate: str
    outcome: Outcome
    seconds: float
    usage: Usage | None = None
    cost_usd: float | None = None
    energy: Energy | None = None
    error: str | None = None
    cost_usd_high: float | None = None
    predicted_tokens: int | None = None
    purpose: Purpose = "answer"


@dataclass(frozen=True, slots=True)
class Alternative:
    """What one candidate would have come to, had it answered this call and those before it.

    Attributes:
        candidate: Its name.
        quality: Predicted quality, 0 to 1.
        local: It is declared to run locally.
        cost_usd: USD, at the tokens that were really read, with its own prompt cache warm.
        energy: Wh.
    """

    candidate: str
    quality: float
    local: bool
    cost_usd: float | None = None
    energy: Energy | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written down of one routed call.

    Attributes:
        decision_id: Of its decision.
        candidate: Who answered; the one chosen where nobody did.
        reason: Why, in words and numbers.
        calibrated: The quality threshold comes from a calibration.
        attempts: Every attempt, in order: failed ones, drafts that were dropped, cancelled ones.
        cost_usd: USD of all attempts together; None as soon as one's share is unknown.
        energy: Wh of all attempts together, in the same sense.
        outcome: How the call ended.
        chosen: Whom the policy chose; in shadow mode, whom it would have chosen.
        shadow: The call was made in shadow mode.
        scope: Who called.
        started_at: Unix time, seconds.
        seconds: Wall-clock time from the decision to the end.
        overhead_s: Of it, the router's own: deciding and booking, no attempt and no wait.
        delta: How far under the best predicted quality a candidate could be, 0 to 1.
        prompt_hash: Names the prompt without telling it.
        prompt_text: What the user asked last, where text is kept.
        answer_text: The answer, where text is kept.
        lost_cache_usd: USD that a warm prompt cache would have saved, had the model that answered
            written the conversation so far.
        alternatives: One per candidate: what it would have come to.
        verdicts: What was made of drafts, in order.
    """

    decision_id: str
    candidate: str
    reason: str
    calibrated: bool
    attempts: tuple[Attempt, ...]
    cost_usd: float | None
    energy: Energy | None
    outcome: Ending = "answered"
    chosen: str = ""
    shadow: bool = False
    scope: Scope = Scope()
    started_at: float = 0.0
    seconds: float = 0.0
    overhead_s: float = 0.0
    delta: float = 0.0
    prompt_hash: str = ""
    prompt_text: str | None = None
    answer_text: str | None = None
    lost_cache_usd: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def energy_wh(self) -> float | None:
        """Wh of all attempts together, the best guess."""
        return None if self.energy is None else self.energy.mid

    def as_dict(self) -> dict[str, Any]:
        """Return the small, plain-JSON form that is stamped on every answer.

        Verdicts are in it where there are any.
        """
        record = {
            "decision_id": self.decision_id,
            "candidate": self.candidate,
            "reason": self.reason,
            "calibrated": self.calibrated,
            "attempts": [{"candidate": a.candidate, "outcome": a.outcome} for a in self.attempts],
            "cost_usd": self.cost_usd,
            "energy_wh": self.energy_wh,
        }
        if self.verdicts:
            record["verdicts"] = [
                {
                    "candidate": v.candidate,
                    "verifier": v.verifier,
                    "probability": None if v.probability is None else round(v.probability, 4),
                    "note": v.note,
                    "seconds": round(v.seconds, 6),
                }
                for v in self.verdicts
            ]
        return record


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply that answers the caller, and the entry that records how it came about."""

    reply: Reply
    entry: Entry
