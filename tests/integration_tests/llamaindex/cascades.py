"""Cascades over two LLMs whose small one drafts, and what their tests look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llamaindex_router import Cascade, Draft, RouterLLM
from tests.fakes.core import FixedPredictor
from tests.integration_tests.accounts import last

CHANCES = FixedPredictor({"small": 0.6, "middle": 0.7, "large": 0.9})
"""What is known before a draft is seen: worth drafting, and not yet good enough."""

DIFFERS = {"decision_id", "started_at", "seconds", "overhead_s"}
"""What of a record differs from call to call."""


def good(draft: Draft) -> bool:
    """Everything is right."""
    return True


def bad(draft: Draft) -> bool:
    """Nothing is."""
    return False


def cascade(candidates: Mapping[str, Any], verify: Any, **settings: Any) -> RouterLLM:
    """A router that has drafts made, and looked at by `verify`."""
    about = {name: settings.pop(name) for name in ("max_drafts", "abort") if name in settings}
    strategy = Cascade(verify=verify, accept=0.65, **about)
    return RouterLLM(candidates, predictor=CHANCES, strategy=strategy, **settings)


def steady(found: Any) -> Any:
    """What of a record or an entry is the same in every form of the same call."""
    if isinstance(found, Mapping):
        return {name: steady(value) for name, value in found.items() if name not in DIFFERS}
    return [steady(one) for one in found] if isinstance(found, list) else found


def judged(llm: Any) -> list[tuple[str, str, float | None]]:
    """The newest entry's verdicts: who drafted, who looked, what came of it."""
    verdicts = last(llm)["verdicts"]
    return [(one["candidate"], one["verifier"], one["probability"]) for one in verdicts]


class Noting:
    """A verifier that keeps what it is shown.

    Attributes:
        drafts: All of them.
    """

    def __init__(self, says: Callable[[Draft], Any] = good) -> None:
        self.drafts: list[Draft] = []
        self._says = says

    def __call__(self, draft: Draft) -> Any:
        """Look at a draft."""
        self.drafts.append(draft)
        return self._says(draft)
