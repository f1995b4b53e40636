"""What a candidate must be able to do for a prompt, and the reason where it cannot.

In: a `Prompt` and a `Candidate`. Out: None, or the reason for refusing it. A capability that
nobody states is unknown and allowed: a refusal needs a stated "no".
"""

from __future__ import annotations

from shared_core.types import Candidate, Prompt

__all__ = ["missing_capability"]

_INPUTS = {
    "image": ("image_inputs", "images"),
    "audio": ("audio_inputs", "audio"),
    "video": ("video_inputs", "video"),
    "pdf": ("pdf_inputs", "PDF files"),
}

_SCHEMA_WAYS = {
    "any way": ("structured_output", "tool_calling"),
    "function_calling": ("tool_calling",),
    "json_schema": ("structured_output",),
}


def missing_capability(candidate: Candidate, prompt: Prompt) -> str | None:
    """Return why `candidate` cannot take `prompt`, or None if nothing says so."""
    can = candidate.capabilities
    if prompt.tools and can.get("tool_calling") is False:
        return f"cannot call tools ({len(prompt.tools)} bound)"
    if prompt.must_call and can.get("tool_choice") is False:
        return "cannot be made to call a tool"
    if prompt.schema is not None:
        ways = _SCHEMA_WAYS.get(prompt.schema_method or "any way", ())
        if ways and all(can.get(way) is False for way in ways):
            return f"cannot give structured output ({prompt.schema_method or 'no method works'})"
    for modality in sorted(prompt.modalities):
        capability, words = _INPUTS[modality]
        if can.get(capability) is False:
            return f"cannot read {words}"
    window = candidate.context_window
    if window is not None and prompt.tokens > window:
        return f"about {prompt.tokens} input tokens, and its window holds {window}"
    return None
