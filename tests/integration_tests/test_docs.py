"""The Python block of the architecture page runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from llama_index.core.llms.mock import MockLLM

from llamaindex_router import RouterLLM

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_a_strategy_of_your_own() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code, namespace)  # noqa: S102
    llm = RouterLLM(
        candidates={"small": MockLLM(), "large": MockLLM()}, strategy=namespace["Twice"]()
    )
    record = llm.complete("Hello").additional_kwargs["router"]
    assert record["candidate"] == "large"
    assert "by the strategy's choice" in record["reason"]
    assert [attempt["candidate"] for attempt in record["attempts"]] == ["small", "large"]
