"""Whether an answer holds together: what shall be structured has the structure that was asked for.

In: prompt and answer. Out: a definite failure (JSON that cannot be read, a field that is missing, a
tool that does not exist, Python that does not parse, an answer that was cut off), as a low
probability; else "cannot tell", for what is well formed may still be wrong. Nothing that the answer
contains is run, but by a sandbox of the user's own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared_core.strategies.verifiers.base import looked, told
from shared_core.strategies.verifiers.blocks import blocks
from shared_core.strategies.verifiers.forms import asked_form
from shared_core.strategies.verifiers.json_text import decoded, held_value
from shared_core.strategies.verifiers.schema import misfit
from shared_core.types import Check, Draft, Prompt, Reply, Verdict, Verification

__all__ = ["Structure", "is_cut_off"]

_FAILED = 0.02
_CUT_OFF = 0.1
_CUT: Final = frozenset(("length", "max_tokens", "max_output_tokens"))
_PYTHON: Final = frozenset(("python", "py", "python3"))
_MOST_CODE: Final = 20_000  # characters that are parsed
_SHORT_CODE: Final = 500  # characters that parse in well under a millisecond
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_KEPT: Final = "\\'\"\r\n"
_NO_PYTHON: Final = re.compile(r"^[ \t]*(?:>>>|[%!?])|\.\.\.\n|^\.\.\. |…", re.MULTILINE)


def is_cut_off(reply: Reply) -> bool:
    """Tell whether a reply ended because it might get no longer, as the provider says."""
    return (reply.finish_reason or "").casefold() in _CUT


@dataclass(frozen=True, slots=True)
class Structure:
    """Looks for broken structure.

    Attributes:
        run: The user's sandbox: is given all Python of the answer and returns how probable it makes
            it that the answer is right (0 to 1, where 0.5 says nothing), True or False for
            certainty, None where it cannot tell. That code runs is no proof: tests that it passes
            are. It is called in a thread; what it raises counts as None.
        limit_s: Seconds that it is waited for at most.
    """

    run: Callable[[str], Any] | None = None
    limit_s: float = 10.0
    name: str = "structure"

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""
        verdict = yield from looked(self.name, self._look, draft)
        code = _python(draft)
        if verdict.probability is None and code:
            verdict = yield from self._parsed(draft, code)
        if verdict.probability is None and code and self.run is not None:
            verdict = yield from self._tried(self.run, draft, code)
        return verdict

    def _look(self, draft: Draft) -> Verdict:
        if failure := _failure(draft):
            return Verdict(self.name, min(draft.prior, _FAILED), failure)
        if is_cut_off(draft.reply):
            return Verdict(self.name, min(draft.prior, _CUT_OFF), "it is cut off")
        return Verdict(self.name, None, _found(draft))

    def _parsed(self, draft: Draft, code: list[str]) -> Verification:
        def look(draft: Draft) -> Verdict:
            broken = any(_is_broken(block) for block in code if block not in draft.prompt.text)
            if broken:
                return Verdict(self.name, min(draft.prior, _FAILED), "its Python does not parse")
            return Verdict(self.name, None, "its Python parses, which proves nothing")

        verdict: Verdict
        inline = sum(map(len, code)) <= _SHORT_CODE
        (verdict,) = yield (Check(self.name, look, draft, inline=inline),)
        return verdict

    def _tried(self, run: Callable[[str], Any], draft: Draft, code: list[str]) -> Verification:
        def look(draft: Draft) -> Any:
            said = told(draft.prior, run("\n\n".join(code)))
            note = "its Python was run"
            return Verdict(self.name, said, note) if isinstance(said, float) else said

        verdict: Verdict
        (verdict,) = yield (Check(self.name, look, draft, limit_s=self.limit_s),)
        return verdict


def _failure(draft: Draft) -> str | None:
    """Return what definitely fails, in words; None where nothing does."""
    prompt, reply = draft.prompt, draft.reply
    if reply.parse_error is not None:
        return f"it could not be parsed ({type(reply.parse_error).__name__})"
    if prompt.must_call and not reply.tool_calls and reply.parsed is None:
        return "no tool is called"
    return _tool_failure(prompt, reply) or _schema_failure(prompt, reply) or _json_failure(draft)


def _found(draft: Draft) -> str:
    reply = draft.reply
    if reply.tool_calls:
        return "the tool calls fit, which proves nothing"
    if draft.prompt.schema is not None:
        return "the structure fits, which proves nothing"
    return "nothing is broken"


# --- tools ---


def _tool_failure(prompt: Prompt, reply: Reply) -> str | None:
    known = _parameters(prompt)
    if known is None:
        return None
    for name, arguments in reply.tool_calls:
        if name not in known:
            return "a tool is called that does not exist"
        if why := misfit(arguments, {"type": "object", **known[name]}):
            return f"a tool is called wrongly: {why}"
    return None


def _parameters(prompt: Prompt) -> dict[str, Mapping[str, Any]] | None:
    """Return the schema of each tool's arguments; None where there may be other tools as well.

    A schema may be asked for by way of a tool, and a provider's own tools have other shapes.
    """
    known: dict[str, Mapping[str, Any]] = {}
    for tool in prompt.tools:
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            return None
        parameters = function.get("parameters")
        known[function["name"]] = parameters if isinstance(parameters, Mapping) else {}
    return None if prompt.schema is not None else known


# --- JSON ---


def _schema_failure(prompt: Prompt, reply: Reply) -> str | None:
    if prompt.schema is None or (reply.parsed is None and reply.tool_calls):
        return None
    values = (reply.parsed,) if reply.parsed is not None else held_value(reply.text)
    if not values:
        return "there is no JSON in it"
    plain = isinstance(values[0], (Mapping, list, tuple, str, int, float))  # else the user's class
    return misfit(values[0], prompt.schema) if plain else None


def _json_failure(draft: Draft) -> str | None:
    if not asked_form(draft.prompt.text).json:
        return None
    written = [block.text for block in blocks(draft.reply.text) if block.language == "json"]
    return None if all(map(decoded, written)) else "its JSON cannot be read"


# --- Python ---


def _python(draft: Draft) -> list[str]:
    """Return the blocks of Python of an answer, but for sessions, magics and what is left out."""
    code = [block.text for block in blocks(draft.reply.text) if block.language in _PYTHON]
    return [block for block in code if block.strip() and not _NO_PYTHON.search(block)]


def _is_broken(code: str) -> bool:
    """Tell whether Python does not parse; False where it is too long or too deep to say.

    `ast.parse` runs nothing. Escapes are taken out of its sight first: one that Python does not
    know makes it warn, and warnings can be neither caught nor silenced for one thread alone.
    """
    if len(code) > _MOST_CODE or "\0" in code:
        return False
    try:
        ast.parse(_ESCAPE.sub(lambda m: m[0] if m[1] in _KEPT else "_", code))
    except SyntaxError:
        return True
    except (ValueError, RecursionError, MemoryError):  # surrogates; nested too deep
        return False
    return False
