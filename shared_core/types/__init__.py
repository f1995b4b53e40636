"""The data of a call, in the order in which it flows.

`Prompt` (what was asked) → `Estimate` per candidate (what each would do) → `Decision` (who
answers, who was refused and why) → `Ask` (a candidate is asked) → `Reply` (what came back) →
`Draft` (it is looked at first) → `Verdict` (what one verifier makes of it) → `Entry` (what is
written down) → `Answer` (what the skin hands to the caller).

All of it is frozen and knows no framework: a framework's own objects appear only as
`Candidate.model` and `Reply.native`, which the core carries and never looks into.
"""

from shared_core.types.candidate import CAPABILITIES, Candidate, Listing
from shared_core.types.decision import (
    COMMON_OVERLAP,
    CalibrationSample,
    Decision,
    Detail,
    Estimate,
    Phase,
    Refusal,
)
from shared_core.types.entry import Alternative, Answer, Attempt, Ending, Entry, Outcome
from shared_core.types.prompt import Constraint, Modality, Prompt, Scope, Step, Turn, as_constraints
from shared_core.types.reply import Energy, Reply, Usage, usage_of_counts
from shared_core.types.steps import (
    Ask,
    Check,
    Draft,
    Purpose,
    Reasoning,
    Steps,
    Verdict,
    Verification,
    Watch,
    Wish,
)

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
    "Wish",
    "as_constraints",
    "usage_of_counts",
]
