"""The command: what it prints, writes and refuses, and that a failure leaves no trace."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shared_core.cli
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.cli import main
from shared_core.errors import ArtefactError
from shared_core.prediction.learned import LearnedPredictor
from shared_core.strategies.verifiers.learned import LearnedVerifier
from shared_core.types import Usage
from tests.fakes.entries import attempt, entry
from tests.fakes.judged import judged_answers
from tests.fakes.learning import MODELS, FakeEncoder, parity_encoder, write


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    table = write(folder / "table.jsonl", MODELS)
    assert main(["train", str(table), "--out", str(folder / "artefact")]) == 0
    return folder


@pytest.fixture
def artefact(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    copy = tmp_path / "artefact"
    copy.mkdir()
    for file in (trained / "artefact").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def run(*arguments: Any) -> int:
    return main([str(argument) for argument in arguments])


def test_train_writes_an_artefact_that_routes(trained: Path) -> None:
    predictor = LearnedPredictor.load(trained / "artefact")
    assert predictor.models == ("small", "large")
    assert predictor.sample is not None
    easy, hard = predictor.qualities(["give the sum of 3 and 4", "give the proof of 3 and 4"])
    assert easy[0] > hard[0] + 0.2


def test_train_says_what_it_read_and_shows_its_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "t.jsonl", MODELS)
    with table.open("a") as file:
        file.write('\n{"prompt": "p", "model": "small", "score": null}')
    assert run("train", table, "--out", tmp_path / "new" / "deep") == 0
    printed = capsys.readouterr()
    assert "120 prompts x 2 models, 240 of 240 scored; 1 rows without a score" in printed.err
    assert "training: 100 %" in printed.err
    assert "Policy(quality=0.95)" in printed.out


def test_a_stated_scale_gives_the_same_artefact(trained: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "t.jsonl", MODELS, top=10)
    assert run("train", table, "--out", tmp_path / "ten", "--scale", 0, 10) == 0
    weights = {name for name in content(trained / "artefact") if name.endswith("safetensors")}
    assert weights <= set(content(tmp_path / "ten"))


@pytest.mark.parametrize("rows", ["", '{"prompt": "p", "model": "m", "score": 7}', "{"])
def test_a_bad_table_is_one_line_on_stderr_and_leaves_the_old_artefact(
    rows: str, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "bad.jsonl"
    table.write_text(rows)
    before = content(tmp_path)
    commands: list[list[Any]] = [
        ["train", table, "--out", artefact],
        ["calibrate", table, "--artefact", artefact],
        ["evaluate", table, "--artefact", artefact, "--report", tmp_path / "r", "--json", "j"],
        ["probe", table, "--artefact", artefact, "--model", "m"],
    ]
    for command in commands:
        assert run(*command) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("router-llm: ")
        assert len(printed.err.splitlines()) == 1
        assert "bad.jsonl" in printed.err
    assert content(tmp_path) == before


def test_training_needs_enough_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.jsonl", MODELS, prompts=6)
    assert run("train", table, "--out", tmp_path / "a") == 2
    assert "needs at least" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_train_refuses_a_folder_of_other_files_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_core.cli, "read_table", lambda *_, **__: pytest.fail("worked"))
    (tmp_path / "thesis.txt").write_text("precious")
    assert run("train", "t.jsonl", "--out", tmp_path) == 2
    assert "among other files" in capsys.readouterr().err
    assert run("train", "t.jsonl", "--out", tmp_path / "thesis.txt") == 2
    assert "name a folder" in capsys.readouterr().err
    assert run("train", "t.jsonl", "--out", tmp_path / "thesis.txt" / "a" / "b") == 2
    assert "thesis.txt is a file" in capsys.readouterr().err


def test_a_calibration_that_cannot_keep_the_promise_leaves_the_old_artefact(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "t.jsonl", {"small": 0.4}, seed=1)
    before = content(trained / "artefact")
    assert run("calibrate", table, "--artefact", trained / "artefact", "--strong-share", 0.3) == 2
    printed = capsys.readouterr()
    assert "has no candidate 'large'" in printed.err
    assert printed.out == ""
    assert content(trained / "artefact") == before


@pytest.mark.parametrize("seed", ["-1", "1.5", "x"])
def test_a_seed_that_is_none_is_said(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("train", "t.jsonl", "--out", "a", "--seed", seed)
    assert f"a whole number from 0 up, not {seed}" in capsys.readouterr().err


def test_a_disk_that_fails_leaves_the_old_artefact(
    artefact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, before = write(tmp_path / "t.jsonl", MODELS, seed=1), content(artefact)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert run("train", table, "--out", artefact) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert content(artefact) == before


def test_control_c_leaves_the_old_artefact(artefact: Path, tmp_path: Path) -> None:
    table, before = write(tmp_path / "t.jsonl", MODELS, seed=1), content(artefact)
    code = """
import signal, sys, time, shared_core.cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it

def endless(*_, **__):
    print("training", file=sys.stderr, flush=True)
    time.sleep(60)

shared_core.cli.fit = endless
sys.exit(shared_core.cli.main())
"""
    command = [sys.executable, "-c", code, "train", str(table), "--out", str(artefact)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while process.stderr.readline() != "training\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) == (130, "router-llm: interrupted\n")
    assert content(artefact) == before


def test_calibrate_keeps_a_new_sample_and_no_weights_change(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = LearnedPredictor.load(artefact)
    table = write(tmp_path / "t.jsonl", MODELS, prompts=400, seed=5)
    assert run("calibrate", table, "--artefact", artefact, "--quality", 0.8) == 0
    assert "Policy(quality=0.8): δ" in capsys.readouterr().out
    new = LearnedPredictor.load(artefact)
    assert new.sample is not None
    assert len(new.sample.predicted) == 400
    np.testing.assert_allclose(new.sample.predicted, new.qualities(prompts_of(table)), atol=1e-6)
    np.testing.assert_array_equal(old.weights.by_term, new.weights.by_term)


def prompts_of(table: Path) -> list[str]:
    rows = map(json.loads, table.read_text().splitlines())
    return list(dict.fromkeys(row["prompt"] for row in rows))


def test_calibrating_on_the_training_table_changes_nothing(
    trained: Path, artefact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(artefact)
    assert run("calibrate", trained / "table.jsonl", "--artefact", artefact) == 0
    assert "judged by what was predicted before\n" in capsys.readouterr().out
    assert content(artefact) == before


def test_prompts_that_were_trained_on_calibrate_by_what_was_predicted_before(
    trained: Path, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = LearnedPredictor.load(artefact).sample
    assert old is not None
    both = (trained / "table.jsonl").read_text()
    new = write(tmp_path / "new.jsonl", MODELS, prompts=80, seed=5)
    (tmp_path / "both.jsonl").write_text(f"{both}\n{new.read_text()}")
    assert run("calibrate", tmp_path / "both.jsonl", "--artefact", artefact) == 0
    mixed = LearnedPredictor.load(artefact)
    assert mixed.sample is not None
    np.testing.assert_array_equal(mixed.sample.predicted[:120], old.predicted)
    np.testing.assert_allclose(
        mixed.sample.predicted[120:], mixed.qualities(prompts_of(new)), atol=1e-6
    )
    # From here on nobody knows what was predicted for the prompts trained on before they were.
    assert run("calibrate", new, "--artefact", artefact) == 0
    assert run("evaluate", trained / "table.jsonl", "--artefact", artefact) == 2
    assert "give prompts that training has not seen" in capsys.readouterr().err
    assert run("evaluate", tmp_path / "both.jsonl", "--artefact", artefact, "--draws", 5) == 0
    assert "120 of which nobody knows that are left out" in capsys.readouterr().out


def test_a_share_may_be_asked_for(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "t.jsonl", MODELS, seed=5)
    assert run("calibrate", table, "--artefact", artefact, "--strong-share", 0.3) == 0
    assert "leave the cheapest" in capsys.readouterr().out
    assert run("calibrate", table, "--artefact", artefact, "--strong-share", 3) == 2


def test_evaluate_prints_baselines_and_writes_json_and_plots(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "t.jsonl", MODELS, prompts=300, seed=7)
    command = ["evaluate", table, "--artefact", trained / "artefact", "--draws", 50]
    assert run(*command, "--json", tmp_path / "f.json", "--report", tmp_path / "r") == 0
    printed = capsys.readouterr().out
    for line in ("router", "prompt length", "random", "oracle", "cheapest", "best single", "ECE"):
        assert line in printed
    report = json.loads((tmp_path / "f.json").read_text())
    assert report == json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["order"]["router"]["apgr"]["low"] > 0.5
    assert sorted(content(tmp_path / "r")) == ["calibration.png", "cost_quality.png", "report.json"]


def test_the_training_table_is_evaluated_on_predictions_that_had_not_seen_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = LearnedPredictor.load(trained / "artefact")
    assert predictor.sample is not None
    assert predictor.sample.scores is not None
    assert (
        run(
            *("evaluate", trained / "table.jsonl", "--artefact", trained / "artefact"),
            *("--draws", 5, "--json", tmp_path / "f.json"),
        )
        == 0
    )
    assert (
        "120 prompts were trained on: judged by what was predicted before"
        in capsys.readouterr().out
    )
    found = json.loads((tmp_path / "f.json").read_text())["predicted_quality"]["small"]["brier"]
    squares = (predictor.sample.predicted[:, 0] - predictor.sample.scores[:, 0]) ** 2
    assert found["value"] == pytest.approx(squares.mean(), abs=1e-4)


def test_probe_adds_a_model(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "t.jsonl", {"new": 0.7}, prompts=60, seed=9)
    assert run("probe", table, "--artefact", artefact, "--model", "new") == 0
    assert "now knows small, large, new" in capsys.readouterr().out
    assert LearnedPredictor.load(artefact).models == ("small", "large", "new")
    assert run("explain", "give the sum of 1 and 2", "--artefact", artefact) == 0
    assert "new" in capsys.readouterr().out
    before = content(artefact)
    assert run("probe", table, "--artefact", artefact, "--model", "newer") == 2
    assert run("probe", table, "--artefact", artefact, "--model", "new") == 2
    assert content(artefact) == before


def test_explain_prints_estimates_reason_and_what_moved_them(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "Task 9-1: give the proof of 3 and 4"
    command = ["explain", prompt, "--artefact", trained / "artefact", "--quality", 0.9]
    assert run(*command) == 0
    brief = capsys.readouterr().out
    assert brief.startswith("large: ")
    small, large = LearnedPredictor.load(trained / "artefact").qualities([prompt])[0]
    assert f"small: quality {small:.2f} (" in brief
    assert f"large: quality {large:.2f} (" in brief
    assert run(*command, "--detail") == 0
    detail = capsys.readouterr().out
    assert detail.startswith(brief.rstrip())
    assert f"small would answer with a δ of {large - small:.3f} or more" in detail
    assert "'proof'" in detail


def test_explain_takes_candidates_with_prices_and_needs_no_artefact(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["explain", "Hello", "--candidate", "little=1,2", "--candidate", "big=2,4"]
    assert run(*asked) == 0
    alone = capsys.readouterr().out
    assert alone.startswith("little: little has the lowest estimated cost, 0.0004 USD")
    # Models that the artefact knows are told by their names, others by their place.
    assert run(*asked, "--candidate", "large", "--artefact", trained / "artefact") == 0
    known = capsys.readouterr().out
    [large] = [line for line in known.splitlines() if line.startswith("  large")]
    assert (
        f"quality {LearnedPredictor.load(trained / 'artefact').qualities(['Hello'])[0, 1]:.2f}"
        in large
    )


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ([], "give --artefact, or each --candidate"),
        (["--candidate", "a=1"], "--candidate a=1: write NAME=IN,OUT"),
        (["--candidate", "a=1,2,3"], "--candidate a=1,2,3: write NAME=IN,OUT"),
        (["--candidate", "a=-1,2"], "price"),
        (["--candidate", "a", "--candidate", "a"], "two candidates are named 'a'"),
    ],
)
def test_explain_says_what_is_wrong_with_its_candidates(
    given: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", "Hello", *given) == 2
    assert fault in capsys.readouterr().err


def test_explain_reads_standard_input(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = []
    for prompt, given in (("give the sum of 1", ""), ("-", "give the sum of 1")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        assert run("explain", prompt, "--artefact", trained / "artefact") == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_explain_refuses_an_empty_prompt(
    prompt: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", prompt, "--artefact", trained / "artefact") == 2
    assert "empty" in capsys.readouterr().err


def test_any_text_can_be_explained(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for prompt in ("\udcff half", "证明这个定理", "🤖" * 500, "a\0b"):
        assert run("explain", prompt, "--artefact", trained / "artefact", "--detail") == 0
        assert capsys.readouterr().err == ""


def test_an_artefact_that_is_none_is_one_line_on_stderr(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(artefact.glob("*.safetensors")).write_bytes(b"garbage")
    for folder in (tmp_path / "gone", artefact):
        assert run("explain", "hello", "--artefact", folder) == 2
        said = capsys.readouterr().err
        assert said.startswith("router-llm: the artefact")
        assert len(said.splitlines()) == 1


def test_a_reader_that_has_read_enough_is_no_error(trained: Path) -> None:
    code = "import sys; from shared_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "explain", "hello", "--detail", "--artefact"]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*command, str(trained / "artefact")],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_no_command_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run("trian")
    assert left.value.code == 2
    assert "train" in capsys.readouterr().err


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the encoders that the command makes, each of them a fake."""
    made: list[str] = []

    def make(name: str) -> FakeEncoder:
        made.append(name)
        return parity_encoder("prefill:tiny?layer=4&pooling=last")

    monkeypatch.setattr(shared_core.cli, "encoder_from", make)
    return made


def test_an_artefact_finds_its_encoder_again(
    encoders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, artefact = write(tmp_path / "t.jsonl", MODELS), tmp_path / "artefact"
    assert run("train", table, "--encoder", "prefill:tiny", "--out", artefact) == 0
    fresh = write(tmp_path / "f.jsonl", {**MODELS, "new": 0.6}, seed=1)
    assert run("calibrate", fresh, "--artefact", artefact) == 0
    assert run("evaluate", fresh, "--artefact", artefact, "--draws", 5) == 0
    assert run("probe", fresh, "--artefact", artefact, "--model", "new") == 0
    assert run("explain", "give the sum", "--artefact", artefact, "--detail") == 0
    assert encoders == ["prefill:tiny", *["prefill:tiny?layer=4&pooling=last"] * 4]


def test_encodings_can_be_kept(
    encoders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, kept = write(tmp_path / "t.jsonl", MODELS), tmp_path / "kept.db"
    command = ["train", table, "--out", tmp_path / "a", "--keep", kept]
    assert run(*command) == 2
    assert "give --encoder too" in capsys.readouterr().err
    assert not kept.exists()
    assert run(*command, "--encoder", "prefill:tiny") == 0
    assert kept.stat().st_size > 0
    assert encoders == ["prefill:tiny"]


@pytest.mark.parametrize("encoder", ["prefill:m", "sentence-transformers:m", "bert"])
def test_an_encoder_that_cannot_be_made_is_one_line_before_any_work(
    encoder: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("torch", "transformers", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(shared_core.cli, "read_table", lambda *_, **__: pytest.fail("worked"))
    assert run("train", "t.jsonl", "--encoder", encoder, "--out", tmp_path / "a") == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert ("[local]" in said) == (encoder != "bert")


# Reports


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with Ledger(path) as kept:
        for number in range(4):
            kept.add(entry(number, attempts=(attempt(usd=0.5),), started_at=number * 86_400.0))
    return path


def test_report_prints_and_writes_page_calls_and_figures(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ledger.read_bytes()
    files = {name: tmp_path / f"report.{name}" for name in ("html", "csv", "json")}
    options = [part for name, file in files.items() for part in (f"--{name}", file)]
    assert run("report", ledger, *options) == 0
    assert "always-best" in capsys.readouterr().out
    assert json.loads(files["json"].read_text())["spent"]["usd"] == 2
    assert files["html"].read_text().startswith("<!DOCTYPE html>")
    assert len(files["csv"].read_text().splitlines()) == 5
    assert ledger.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ((), 4),
        (("--since", "1970-01-02"), 3),
        (("--until", "1970-01-02"), 1),
        (("--since", "1970-01-02T00:00:01", "--until", "1970-01-04"), 1),
        (("--since", "1970-01-02T01:00:00+02:00"), 3),
    ],
)
def test_report_covers_the_period_that_is_asked_for(
    options: tuple[str, ...], calls: int, ledger: Path, tmp_path: Path
) -> None:
    assert run("report", ledger, "--json", tmp_path / "r.json", *options) == 0
    assert json.loads((tmp_path / "r.json").read_text())["calls"]["all"] == calls


def test_report_of_no_ledger_is_one_line_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.db").write_text("no database " * 99)
    for name, fault in (("none.db", "does not exist"), ("text.db", "not a database")):
        assert run("report", tmp_path / name, "--html", tmp_path / "p.html") == 2
        told = capsys.readouterr().err
        assert fault in told
        assert len(told.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["text.db"]


@pytest.mark.parametrize("option", ["--html", "--csv", "--json"])
def test_report_never_replaces_the_ledger(
    option: str, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ledger.read_bytes()
    assert run("report", ledger, option, ledger) == 2
    assert "is the ledger" in capsys.readouterr().err
    assert ledger.read_bytes() == before


def test_report_wants_a_date(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("report", ledger, "--since", "yesterday")
    assert "write 2026-01-31" in capsys.readouterr().err


def test_report_wants_its_end_after_its_beginning(
    ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", ledger, "--since", "1970-01-03", "--until", "1970-01-02") == 2
    assert "--until must be later" in capsys.readouterr().err


def test_report_writes_its_files_though_nobody_reads_on(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError("nobody reads")

    files = [tmp_path / f"r.{kind}" for kind in ("html", "csv", "json")]
    options = [part for file in files for part in (f"--{file.suffix[1:]}", file)]
    monkeypatch.setattr(shared_core.cli, "print", gone, raising=False)
    with pytest.raises(OSError, match="nobody reads"):  # its own line cannot be printed either
        run("report", ledger, *options)
    assert all(file.exists() for file in files)


def test_train_and_calibrate_learn_from_a_ledger_as_from_a_table(tmp_path: Path) -> None:
    table = write(tmp_path / "table.jsonl", MODELS)
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    with Ledger(tmp_path / "calls", keep_text=True) as kept:
        for number, row in enumerate(rows):
            usage = Usage(10, row["output_tokens"])
            answer = attempt(row["model"], row["cost"], usage=usage)
            failed = attempt("other", outcome="failed")
            kept.add(
                entry(number, row["model"], prompt_text=row["prompt"], attempts=(failed, answer))
            )
            kept.feedback(f"d{number}", row["score"])
    assert run("train", table, "--out", tmp_path / "a") == 0
    assert run("train", tmp_path / "calls", "--out", tmp_path / "b") == 0
    first, second = content(tmp_path / "a"), content(tmp_path / "b")
    assert {n: first[n] for n in first if n.endswith("safetensors")} == {
        n: second[n] for n in second if n.endswith("safetensors")
    }
    assert run("calibrate", tmp_path / "calls", "--artefact", tmp_path / "b") == 0


def judged(path: Path, n: int) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in judged_answers(n)))
    return path


def test_train_learns_to_verify_from_thirty_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = judged(tmp_path / "t.jsonl", 30)
    with table.open("a") as file:
        file.write('{"prompt": "p", "model": "weak", "answer": "a", "score": null}\n')
    assert run("train", "--answers", table, "--out", tmp_path / "verifier") == 0
    printed = capsys.readouterr()
    assert "30 judged answers; 1 rows without a score left out" in printed.err
    assert "training: 100 %" in printed.err
    assert "learned from 30 answers of weak" in printed.out
    assert "on prompts left out: AUC 0." in printed.out
    assert LearnedVerifier.load(tmp_path / "verifier").head.models == ("weak",)


def test_no_artefact_is_replaced_by_one_of_the_other_kind(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, verifier = judged(tmp_path / "answers.jsonl", 30), tmp_path / "verifier"
    assert run("train", "--answers", table, "--out", verifier) == 0
    before = content(artefact), content(verifier)
    capsys.readouterr()
    for arguments, fault in (
        (("train", "--answers", table, "--out", artefact), "would replace a predictor"),
        (("train", table, "--out", verifier), "would replace a verifier"),
        (("explain", "hello", "--artefact", verifier), "is a verifier's"),
    ):
        assert run(*arguments) == 2
        assert fault in capsys.readouterr().err
    assert (content(artefact), content(verifier)) == before
    assert run("train", "--answers", table, "--out", verifier) == 0


def test_train_learns_to_verify_with_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lengths:
        def __init__(self, model: str) -> None:
            self.name = f"lengths:{model}"

        def read(self, question: str, drafts: Sequence[str]) -> np.ndarray[Any, Any]:
            return np.array([[len(draft), len(question)] for draft in drafts], float)

    monkeypatch.setattr(shared_core.cli, "Reader", Lengths)
    table = judged(tmp_path / "t.jsonl", 30)
    command = ["train", "--answers", table, "--out", tmp_path / "verifier", "--reader", "tiny"]
    assert run(*command) == 0
    verifier = LearnedVerifier.load(tmp_path / "verifier", Lengths("tiny"))
    assert verifier.head.reading.shape == (2,)
    with pytest.raises(ArtefactError, match="needs the reader 'lengths:tiny', not None"):
        LearnedVerifier.load(tmp_path / "verifier")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["train", "--out", "OUT"], "give a table of outcomes, or --answers"),
        (["train", "TABLE", "--answers", "TABLE", "--out", "OUT"], "give a table of outcomes, or"),
        (["train", "--answers", "TABLE", "--out", "OUT", "--keep", "f"], "--encoder and --keep"),
        (["train", "TABLE", "--out", "OUT", "--reader", "m"], "--reader reads answers: give"),
        (["train", "--answers", "TABLE", "--out", "OUT"], "9 judged answers; training needs at"),
        (["train", "--answers", "nowhere.csv", "--out", "OUT"], "nowhere.csv does not exist"),
    ],
)
def test_what_is_wrong_with_answers_is_one_line(
    arguments: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"TABLE": str(judged(tmp_path / "t.jsonl", 9)), "OUT": str(tmp_path / "out")}
    assert run(*(places.get(one, one) for one in arguments)) == 2
    error = capsys.readouterr().err
    assert fault in error
    assert error.splitlines()[-1].startswith("router-llm: ")
    assert not (tmp_path / "out").exists()
