"""The parts of the demo that need no model: grading, selection, downloads, the table."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from examples.demo import downloads, table
from examples.demo.__main__ import PROMPTS
from examples.demo.clients import ClientError, named
from examples.demo.code_grading import Case, Code
from examples.demo.energy import Wattmeter, meter_of
from examples.demo.grading import Json, Mentions, Number
from examples.demo.options import Deadline, NamedModel, parse
from examples.demo.prompts import Prompt, grade, select
from examples.demo.trials import Answer, Call, Trial, run_trials
from shared_core.accounting.energy import meters

KINDS = ("facts", "arithmetic", "extraction", "summary", "code")

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


def trial(small: bool, large: bool, routed: str = "small") -> Trial:
    calls = {
        name: Call(Answer(name, name, tokens_in=10, tokens_out=5), 2.0, right)
        for name, right in (("small", small), ("large", large))
    }
    calls |= dict.fromkeys(table.ROUTERS, calls[routed])
    return Trial(Prompt("facts", "?", Number(1)), calls)


def test_the_table_compares_with_chance_and_an_oracle() -> None:
    trials = [
        trial(True, True),
        trial(False, True, routed="large"),
        trial(False, False),
        trial(True, False),
    ]
    share = table.share_of("large", trials)
    assert share == 0.25
    drawn = {row.strategy: row for row in table.rows(trials, ["small", "large"], share)}
    assert drawn["always small"].right == 2
    assert drawn["oracle"].right == 3
    assert drawn["oracle"].calls == {"small": 3, "large": 1}
    assert drawn["random, 25% large"].right == pytest.approx(2.0)
    assert drawn["random, 25% large"].calls == {"small": 3.0, "large": 1.0}
    assert drawn["ChatRouter"].right == 3
    assert drawn["ChatRouter"].tokens_out == 20
    low, high = table.wilson(2, 4)
    assert (round(low, 2), round(high, 2)) == (0.15, 0.85)


def test_a_failed_call_is_counted_and_shown() -> None:
    prompt = Prompt("facts", "How much is 1?", Number(1))

    def broken(text: str) -> Answer:
        raise ConnectionError("lost")

    lanes = {"small": lambda _: Answer("small", "1"), **dict.fromkeys(table.ROUTERS, broken)}
    (tried,) = run_trials([prompt], lanes, Deadline(None), Wattmeter([]))
    assert tried.calls["small"].right
    assert tried.calls["ChatRouter"].error == "ConnectionError: lost"
    assert [router for router, _ in table.unanswered([tried])] == list(table.ROUTERS)


def test_no_prompt_is_started_when_the_time_is_up() -> None:
    prompts = [Prompt("facts", "?", Number(1))]
    assert list(run_trials(prompts, {}, Deadline(1.0), Wattmeter([]))) == []


def test_a_paid_model_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ClientError, match="OPENAI_API_KEY"):
        named(NamedModel("openai", "gpt-5-mini"))


def test_options_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"PROMPTS": "7", "RUN_CODE": "1", "DEADLINE_S": "60", "CI": "1"}
    for name, value in {**environment, "LARGE": "openai:gpt-5-mini"}.items():
        monkeypatch.setenv(name, value)
    options = parse([])
    assert (options.prompts, options.run_code, options.deadline_s) == (7, True, 60)
    assert options.threads == 1
    assert options.large == NamedModel("openai", "gpt-5-mini")
    assert parse(["--prompts", "3", "--no-run-code"]).prompts == 3
    with pytest.raises(SystemExit):
        parse(["--large", "gpt-5"])


class Ticking:
    """A meter of a watt-hour a reading."""

    method, spread = "measured (test)", (1.0, 1.0)

    def __init__(self) -> None:
        self.readings = 0

    def joules(self) -> float:
        self.readings += 1
        return 3600.0 * self.readings


def test_what_each_call_takes_is_measured_and_counted_for_each_strategy() -> None:
    one = Ticking()
    prompt = Prompt("facts", "How many legs?", Mentions("8"))
    lanes = {
        name: (lambda _: Answer("small", "8"))
        for name in ("small", "large", "ChatRouter", "RouterLLM")
    }
    trials = list(run_trials([prompt] * 3, lanes, Deadline(None), Wattmeter([one, one, None])))
    small, large, chance, oracle, *_ = table.rows(trials, ["small", "large"], 0.5)
    assert [row.wh for row in (small, large, oracle)] == pytest.approx([3.0] * 3)
    assert chance.wh == pytest.approx(3.0)
    assert Wattmeter([one, one]).complete
    assert not Wattmeter([one, None]).complete
    assert Wattmeter([one, one]).method == "measured (test)"


def test_a_server_without_counters_is_metered_by_its_cpu_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(meters, "POWERCAP", tmp_path)
    monkeypatch.setattr(meters, "nvml", lambda gpus=None: None)
    meter = meter_of(os.getpid(), 10.0)
    assert meter.method == "estimated: 10 W x CPU-seconds"
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert 0.5 < meter.joules() < 60  # a tenth of a second of this process at 10 W, and a bit
