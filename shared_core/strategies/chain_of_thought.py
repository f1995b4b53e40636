"""Have a candidate reason before it answers where that is worth its price, and hand on the answer.

In: a decision. Out: the chosen candidate's answer, without its reasoning. How much it reasons is
decided for each call, which for an agent is each step, as the policy decides between candidates:
the least effort, which costs the fewest tokens, whose expected quality is at most δ under that of
the greatest. Where a budget nears its end the policy raises δ, and there is less reasoning.

A model that is known to reason (`Decision.reasoners`) is asked with the parameter "reasoning". Any
other is asked to think step by step and to write its answer under a marker, where nothing else than
free text is asked for; the text after the marker is the answer ("Large Language Models are
Zero-Shot Reasoners", Kojima et al., arXiv 2205.11916).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from shared_core.errors import ConfigurationError
from shared_core.strategies.base import failure
from shared_core.strategies.verifiers.answers import spoken
from shared_core.tokens import TOKENS_TO_THINK
from shared_core.types import Ask, Decision, Prompt, Reasoning, Reply, Steps, Turn, Verdict

__all__ = ["ChainOfThought"]

_LEFT: Final[dict[Reasoning, float]] = {"none": 1.0, "low": 0.79, "medium": 0.63, "high": 0.57}
"""Of the errors that a model makes without reasoning, the share that is left at each effort.

Low: an assumption of what thinking step by step mends in mathematics and logic ("To CoT or not to
CoT?", Sprague et al., arXiv 2409.12183, finds gains there alone). Medium and high: of the errors of
o1, o3-mini and o4-mini at low effort on programming problems, medium mends 20 % (95 %: 9 to 30),
high 28 % (16 to 37), by examples/benchmarks/reasoning_effort.py. It is a share of the errors, so
that there is little to gain where few are expected."""

_PROMPTED: Final = "low"
"""The level that thinking step by step on request counts as."""

_CUT: Final = frozenset({"length", "max_tokens", "max_output_tokens"})
"""What providers call an end that the limit of an answer's length made, in small letters."""

_MARKER: Final = re.compile(r"=== ANSWER(?: (\d{1,9}))? ===")

_ACTION: Final = "Action Input:"
"""A line by which ReAct's agents call a tool (Yao et al. 2022, https://arxiv.org/abs/2210.03629),
in LangChain's prompts and in LlamaIndex's."""

_NUMBER: Final = re.compile(
    r"\d+|\b(?:two|three|four|five|six|seven|eight|nine|ten|twelve|dozen|half|twice|thrice)\b", re.I
)
_READ: Final = 8_000  # characters of a prompt in which numbers are looked for


@dataclass(frozen=True, slots=True)
class ChainOfThought:
    """Ask the chosen candidate to reason as much as the prompt is worth; see the module.

    With tools, in a tool loop and for structured output nothing is said besides the prompt: only
    the parameter is set, on models that have it. Nor are others asked to think where a prompt has
    no equals sign and fewer than two numbers, unless `easy` has them reason in any case: on MMLU
    thinking step by step mended hardly anything without an equals sign (Sprague et al., arXiv
    2409.12183). A caller's limit of the answer's length has to leave room to reason in
    (`TOKENS_TO_THINK`: 1,024 tokens at low effort, 24,576 at high), else a lesser effort is the
    most.

    An answer that has to be taken from under its marker is held back until it is whole, and a
    stream then gives it in one chunk; `<think>…</think>` before it goes too. One without a marker
    is returned as it is. Where the limit cut it off before its answer, or nothing came, the same
    candidate is asked once more, without reasoning. What a model that is known to reason says is
    streamed as it comes: its reasoning comes apart from its text.

    Args:
        easy: The least it reasons. Models that would reason by themselves are kept from it as far
            as their provider lets them.
        hard: The most it reasons; the same as `easy` for a fixed effort. Of models that are asked
            to think step by step, any level but "none" means that.
        show_reasoning: Hand on all that was written, streamed as it comes.

    Raises:
        ConfigurationError: An argument makes no sense.
        AllCandidatesFailedError: More than one was asked and all failed.
        Exception: The candidate's own error, where no other could mend it or none is left.
    """

    easy: Reasoning = "none"
    hard: Reasoning = "high"
    show_reasoning: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for label in ("easy", "hard"):
            level = getattr(self, label)
            if not isinstance(level, str) or level not in _LEFT:
                raise ConfigurationError(
                    f"chain of thought: {label} is one of {tuple(_LEFT)}, not {level!r}"
                )
        if _LEFT[self.easy] < _LEFT[self.hard]:
            raise ConfigurationError(
                "chain of thought: easy prompts would get more reasoning "
                f"({self.easy!r}) than hard ones ({self.hard!r})"
            )
        if type(self.show_reasoning) is not bool:
            raise ConfigurationError(
                f"chain of thought: show_reasoning must be True or False: {self.show_reasoning!r}"
            )

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """See `Strategy.steps`."""
        reply: Reply
        cut: Reply | None = None
        failures: list[tuple[str, Exception]] = []
        for name in (decision.candidate, *decision.fallbacks):
            ask, note = self._ask(prompt, decision, name)
            yield (_said(note),)
            (reply,) = yield (ask,)
            if reply.error is None and ask.turns and not ask.visible:
                found = _answered(reply, _marker(prompt))
                if found is not None:
                    return found
                cut = reply
                yield (_said("no answer under the marker: asked once more, plainly"),)
                (reply,) = yield (Ask(name),)
            if reply.error is None:
                return reply
            failures.append((name, reply.error))
            if not reply.retryable:
                break
        if cut is not None and cut.text.strip() and not reply.shown:
            return cut
        raise failure(failures)

    def plan(self, prompt: Prompt, decision: Decision) -> str:
        """Say what would be done, in words, for `explain`."""
        _, note = self._ask(prompt, decision, decision.candidate)
        return f"{decision.candidate} answers; {note}"

    def _ask(self, prompt: Prompt, decision: Decision, name: str) -> tuple[Ask, str]:
        """Return how a candidate is asked, and why so, in words."""
        quality = next(e.quality for e in decision.estimates if e.candidate == name)
        native = name in decision.reasoners
        least, most = (self.easy, self.hard) if native else map(_prompted, (self.easy, self.hard))
        level = self._level(prompt, 1.0 - quality, decision.delta, least, most)
        note = f"reasoning {level}: right with probability {quality:.2f} without"
        if native:
            return Ask(name, params={"reasoning": level}), note
        if prompt.schema is not None or _acts(prompt):
            return Ask(name), "no reasoning: it would break the form of the answer"
        if level == "none":
            return Ask(name), note
        if least == "none" and not _computes(prompt.text):
            return Ask(name), "no reasoning: nothing is computed, where it mends hardly anything"
        said = Turn("user", _REQUEST.format(marker=_marker(prompt)))
        return Ask(name, visible=self.show_reasoning, turns=(said,)), f"{note}, step by step"

    def _level(
        self, prompt: Prompt, wrong: float, delta: float, least: Reasoning, most: Reasoning
    ) -> Reasoning:
        """Return the least effort that is expected to be at most δ worse than the most."""
        limit = inf if prompt.max_tokens is None else prompt.max_tokens
        between = [name for name in _LEFT if _LEFT[least] >= _LEFT[name] >= _LEFT[most]]
        fit = [n for n in between if n == least or TOKENS_TO_THINK[n] <= limit]
        return next(n for n in fit if wrong * (_LEFT[n] - _LEFT[fit[-1]]) <= delta)


_REQUEST: Final = (
    "Think step by step first. Then write a line that says {marker} and nothing else, and after it "
    "the answer alone, exactly as it was asked for above."
)


def _acts(prompt: Prompt) -> bool:
    """Tell whether a step of an agent is asked for; ReAct's call tools by lines of their text."""
    in_text = any(_ACTION in turn.text for turn in prompt.turns)
    return bool(prompt.tools) or prompt.in_tool_loop or in_text


def _computes(text: str) -> bool:
    """Tell whether a prompt looks like one that computes: an equals sign, or two numbers."""
    return "=" in text or len(_NUMBER.findall(text[:_READ])) > 1


def _said(note: str) -> Verdict:
    return Verdict("chain of thought", None, note)


def _prompted(level: Reasoning) -> Reasoning:
    return level if level == "none" else _PROMPTED


def _marker(prompt: Prompt) -> str:
    """Return a marker that nobody has used in the conversation: the answer may quote it."""
    used = [match for turn in prompt.turns for match in _MARKER.findall(turn.text)]
    if not used:
        return "=== ANSWER ==="
    return f"=== ANSWER {1 + max(int(number or 1) for number in used)} ==="


def _answered(reply: Reply, marker: str) -> Reply | None:
    """Return a held reply that says its answer alone; None where there is none to be had."""
    said = spoken(reply.text)
    answer = _under(said, marker)
    if answer is None:
        cut = (reply.finish_reason or "").lower() in _CUT
        if reply.tool_calls or (said.strip() and not cut):
            answer = said
    if answer is None:
        return None
    return reply if answer == reply.text else replace(reply, text=answer)


def _under(text: str, marker: str) -> str | None:
    """Return what follows the last line that begins with the marker, in bold or not.

    Failing that, what follows the last marker: small models put it into a line.
    """
    at = end = len(text)
    while (at := text.rfind(marker, 0, at)) >= 0:
        before = text[max(0, at - _INDENT) : at]
        begun = before.rpartition("\n")[2]
        if (begun != before or at == len(before)) and not begun.strip(" \t*_#>`"):
            answer = text[at + len(marker) : end].lstrip("*_`: \t").rstrip()
            if answer:
                return answer.lstrip("\r\n")  # the first line of code may be indented
            end = at - len(begun)  # it closes an answer
    return text.rpartition(marker)[2].strip() or None if marker in text else None


_INDENT: Final = 16
"""Characters before a marker among which its line has to begin."""
