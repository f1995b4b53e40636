"""What an import loads, and what it must not."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "transformers", "sentence_transformers", "matplotlib", "pandas")
LANGCHAIN = ("langchain", "langchain_core", "langgraph")
LLAMAINDEX = ("llama_index",)


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after `statement`."""
    code = (
        f"{statement}\nimport json, sys\nprint(json.dumps([m.split('.')[0] for m in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize(
    ("module", "not_loaded"),
    [
        ("shared_core", HEAVY + LANGCHAIN + LLAMAINDEX),
        ("langchain_router", HEAVY + LLAMAINDEX + ("langchain", "langgraph")),
        ("llamaindex_router", HEAVY + LANGCHAIN),
    ],
)
def test_an_import_loads_nothing_heavy_and_no_other_framework(
    module: str, not_loaded: tuple[str, ...]
) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert loaded.isdisjoint(not_loaded)


@pytest.mark.parametrize(
    ("before", "then", "seconds"),
    [
        ("import langchain_core.language_models", "import langchain_router", 0.150),
        (
            "from langchain_core.language_models import BaseChatModel",
            "from langchain_router import ChatRouter",
            0.400,
        ),
    ],
)
def test_the_langchain_skin_adds_little_to_langchain_itself(
    before: str, then: str, seconds: float
) -> None:
    code = (
        f"{before}\nimport time\nstart = time.process_time()\n"  # a busy machine is none of ours
        f"{then}\nprint(time.process_time() - start)"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, check=True) for _ in range(5)]
    assert min(float(run.stdout) for run in runs) < seconds


@pytest.mark.parametrize(
    ("skin", "missing", "extra"),
    [
        ("langchain_router", "langchain_core", "langchain"),
        ("llamaindex_router", "llama_index.core", "llamaindex"),
    ],
)
def test_a_missing_framework_prints_the_line_that_installs_it(
    skin: str, missing: str, extra: str
) -> None:
    code = f"import sys\nsys.modules[{missing!r}] = None\nimport {skin}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert f"pip install 'router-llm-plugin[{extra}]'" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", ["shared_core", "langchain_router", "llamaindex_router"])
def test_every_exported_name_exists_and_is_documented(module: str) -> None:
    package = importlib.import_module(module)
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__doc__, name
