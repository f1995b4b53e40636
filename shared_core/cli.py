"""The command `router-llm`: learn from outcomes, measure it, ask it why, report what was saved.

In: command-line arguments. Out: text on standard output, an exit code: 0, or 2 with one line on
standard error where the input is wrong. Whatever fails, an artefact that was there stays as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from shared_core.accounting.ledger.ledger import LedgerFile
from shared_core.accounting.report.savings import make_report as report_savings
from shared_core.accounting.report.sheet import written
from shared_core.decision.candidates import prepare_candidates
from shared_core.decision.policy import Policy
from shared_core.errors import ArtefactError, ConfigurationError, RouterError, TableError
from shared_core.lab import plots
from shared_core.lab.answers import fit_answers
from shared_core.lab.fit import fit, probe, sample_of, unseen
from shared_core.lab.judged import read_answers
from shared_core.lab.kept import Kept
from shared_core.lab.progress import shown
from shared_core.lab.report import as_text, ladder, make_report
from shared_core.lab.table import Outcomes, read_table
from shared_core.prediction.artefact import read_artefact
from shared_core.prediction.encoders import encoder_from
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.prediction.features import fingerprints
from shared_core.prediction.learned import LearnedPredictor
from shared_core.router import Router
from shared_core.strategies.verifiers.reader import Reader
from shared_core.tokens import estimate_tokens
from shared_core.types import Candidate, Prompt, Turn
from shared_core.weights import CARD

__all__ = ["main"]

_INTERRUPTED = 130  # what shells use: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that lacks δ prints its code
            stream.reconfigure(errors="backslashreplace")
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (RouterError, OSError) as error:
        print(f"router-llm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("router-llm: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="router-llm", description="Learn which model is enough.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str, *, table: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        if table:
            added.add_argument(
                "table",
                type=Path,
                nargs="?" if name == "train" else None,
                help="outcomes: .jsonl, .ndjson, .csv, .parquet, or a ledger's file",
            )
            added.add_argument(
                "--scale",
                nargs=2,
                type=float,
                metavar=("LOW", "HIGH"),
                help="scores that mean 0 and 1 (default: they are 0 to 1)",
            )
        if name != "train":
            added.add_argument(
                "--artefact", type=Path, required=table, help="folder of the artefact"
            )
        return added

    train = command("train", _train, "Learn from a table of outcomes, or of judged answers.")
    train.add_argument(
        "--answers",
        type=Path,
        metavar="TABLE",
        help="learn to verify instead: a table that has a column `answer` too",
    )
    train.add_argument(
        "--reader",
        metavar="MODEL",
        help="with --answers, a small causal language model that reads each: a GGUF file, a folder "
        "or a name on the Hugging Face hub (default: none)",
    )
    train.add_argument("--seed", type=_seed, default=0, help="of the folds")
    train.add_argument(
        "--encoder",
        help="a model that reads each prompt: sentence-transformers:NAME or prefill:NAME, where "
        "NAME is on the Hugging Face hub or a folder (default: none)",
    )
    train.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="keep what the encoder makes in this file: a run that was stopped goes on from there",
    )
    train.add_argument("--out", type=Path, required=True, help="folder to write the artefact to")
    calibrate = command(
        "calibrate", _calibrate, "Set the thresholds by scored prompts that training has not seen."
    )
    calibrate.add_argument(
        "--quality", type=float, help="share of the best model's quality to keep (default: 0.95)"
    )
    calibrate.add_argument(
        "--strong-share", type=float, help="most prompts that leave the cheapest"
    )
    measure = command("evaluate", _evaluate, "Measure the artefact beside what it has to beat.")
    measure.add_argument("--seed", type=_seed, default=0, help="of the bootstrap samples")
    measure.add_argument(
        "--quality", type=float, help="share of the best model's quality to keep (default: 0.95)"
    )
    measure.add_argument("--json", type=Path, help="file to write the figures to")
    measure.add_argument("--report", type=Path, help="folder to write figures and plots to")
    measure.add_argument("--draws", type=int, default=1000, help="bootstrap samples per interval")
    probing = command(
        "probe",
        _probe,
        "Add a model from 30 to 200 scored prompts of it, best ones that training has not seen.",
    )
    probing.add_argument("--model", required=True, help="its name in the table")
    explain = command("explain", _explain, "Say which model would answer, and why.", table=False)
    explain.add_argument("prompt", help="the prompt; - reads standard input")
    explain.add_argument(
        "--candidate",
        action="append",
        default=[],
        metavar="NAME[=IN,OUT]",
        help="who may answer, weakest first, and its price in USD per million tokens "
        "(default: every model of the artefact)",
    )
    explain.add_argument(
        "--quality", type=float, help="share of the best model's quality to keep (default: 0.95)"
    )
    explain.add_argument("--detail", action="store_true", help="also say what moved the estimates")
    _add_report(commands)
    return parser


def _add_report(commands: Any) -> None:
    about = "Say what was spent, and what was saved against three baselines."
    report = commands.add_parser("report", help=about, description=about)
    report.set_defaults(run=_report)
    report.add_argument("ledger", type=Path, help="file of the ledger")
    report.add_argument("--html", type=Path, help="file to write a page with plots to")
    report.add_argument("--csv", type=Path, help="file to write the calls to, one per row")
    report.add_argument("--json", type=Path, help="file to write the figures to")
    for end, meaning in (("--since", "from this day on"), ("--until", "up to before this day")):
        report.add_argument(
            end, type=_moment, metavar="DATE", help=f"only calls {meaning}: 2026-01-31 (UTC)"
        )
    report.add_argument("--seed", type=_seed, default=0, help="of the draws behind the intervals")


def _moment(text: str) -> float:
    """Return Unix time in seconds of a day or moment, UTC where it does not say otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"write 2026-01-31 or 2026-01-31T12:00, not {text}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"it must be a whole number from 0 up, not {text}")
    return int(text)


def _train(given: argparse.Namespace) -> None:
    if (given.table is None) == (given.answers is None):
        raise ConfigurationError("give a table of outcomes, or --answers with one of answers")
    if given.answers:
        _train_verifier(given)
        return
    if given.reader:
        raise ConfigurationError("--reader reads answers: give --answers too")
    _check_target(given.out)
    if given.keep and not given.encoder:
        raise ConfigurationError("--keep keeps what an encoder makes: give --encoder too")
    encoder = encoder_from(given.encoder) if given.encoder else None
    if encoder and given.keep:
        encoder = Kept(encoder, given.keep)
    outcomes = _read(given)
    with shown("training") as progress:
        predictor = fit(outcomes, encoder=encoder, seed=given.seed, progress=progress)
    predictor.save(given.out)
    print(f"learned about {', '.join(predictor.models)}; written to {given.out}")
    print(_threshold(predictor, Policy()))


def _train_verifier(given: argparse.Namespace) -> None:
    if given.encoder or given.keep:
        raise ConfigurationError("--encoder and --keep go with a table of outcomes")
    _check_target(given.out, verifier=True)
    reader = Reader(given.reader) if given.reader else None
    scale = None if given.scale is None else tuple(given.scale)
    answers = read_answers(given.answers, scale=scale)
    left_out = f"; {answers.unscored} rows without a score left out" if answers.unscored else ""
    print(f"{given.answers}: {len(answers.scores)} judged answers{left_out}", file=sys.stderr)
    with shown("training") as progress:
        fitted = fit_answers(answers, reader=reader, seed=given.seed, progress=progress)
    fitted.head.save(given.out)
    models = ", ".join(fitted.head.models)
    print(f"learned from {len(answers.scores)} answers of {models}; written to {given.out}")
    print(f"on prompts left out: AUC {fitted.auc:.3f}, calibration error {fitted.ece:.3f}")


def _calibrate(given: argparse.Namespace) -> None:
    policy = Policy(quality=given.quality, strong_share=given.strong_share)
    predictor, outcomes = _load(given.artefact), _read(given)
    outcomes, replaced = _judged(predictor, outcomes), predictor.sample
    predictor = replace(predictor, sample=sample_of(predictor, outcomes))
    found = _threshold(predictor, policy)
    predictor.save(given.artefact)
    old = "" if replaced is None else f", instead of {len(replaced.predicted)}"
    print(f"{given.artefact} is calibrated on {len(outcomes.prompts)} prompts{old}\n{found}")


def _evaluate(given: argparse.Namespace) -> None:
    if given.draws < 1:
        raise ConfigurationError(f"--draws must be 1 or more, not {given.draws}")
    policy = Policy(quality=given.quality)
    predictor, outcomes = _load(given.artefact), _read(given)
    outcomes = _judged(predictor, outcomes)
    sample = sample_of(predictor, outcomes)
    with shown("evaluating") as progress:
        report = make_report(
            sample,
            outcomes,
            _delta(predictor, policy),
            draws=given.draws,
            seed=given.seed,
            progress=progress,
        )
    print(as_text(report))
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    if given.json:
        _write({given.json: text.encode()})
    if given.report:
        pictures = {given.report / "calibration.png": plots.calibration_diagram(sample, outcomes)}
        if report["order"]:
            rungs = ladder(outcomes.subset(slice(None), sample.names))
            pictures[given.report / "cost_quality.png"] = plots.cost_quality_curve(
                sample, outcomes, rungs
            )
        _write({given.report / "report.json": text.encode(), **pictures})


def _probe(given: argparse.Namespace) -> None:
    predictor, outcomes = _load(given.artefact), _read(given)
    wider = probe(predictor, outcomes, given.model)
    wider.save(given.artefact)
    print(f"{given.artefact} now knows {', '.join(wider.models)}")
    print(_threshold(wider, Policy()))


def _explain(given: argparse.Namespace) -> None:
    policy = Policy(quality=given.quality)
    text = given.prompt
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        raise ConfigurationError("the prompt is empty")
    learned = None if given.artefact is None else _load(given.artefact)
    if given.candidate:
        candidates = _asked(given.candidate)
    elif learned:
        candidates = _candidates(learned)
    else:
        raise ConfigurationError("give --artefact, or each --candidate, weakest first")
    router = Router(candidates, policy, learned or FallbackPredictor())
    prompt = Prompt((Turn("user", text),), tokens=estimate_tokens(text))
    print(router.explain(prompt, detail=given.detail))


def _report(given: argparse.Namespace) -> None:
    for target in filter(None, (given.html, given.csv, given.json)):
        if target.exists() and given.ledger.exists() and target.samefile(given.ledger):
            raise ConfigurationError(f"{target} is the ledger: name another file")
    if None not in (given.since, given.until) and given.since >= given.until:
        raise ConfigurationError("--until must be later than --since")
    report = report_savings(
        LedgerFile(given.ledger), since=given.since, until=given.until, seed=given.seed
    )
    if given.json:
        text = json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n"
        _write({given.json: text.encode()})
    if given.html:
        report.to_html(given.html)
    if given.csv:
        report.to_csv(given.csv)
    print(report)  # last: whoever reads it may read only its beginning


def _asked(texts: Sequence[str]) -> tuple[Candidate, ...]:
    """Make candidates of NAME or NAME=IN,OUT."""
    made = []
    for text in texts:
        name, equals, price = text.partition("=")
        try:
            asked, answered = map(float, price.split(",")) if equals else (0.0, 0.0)
        except ValueError:
            raise ConfigurationError(f"--candidate {text}: write NAME=IN,OUT in USD") from None
        made.append(Candidate(name, None, price=(asked, answered) if equals else None))
    return prepare_candidates(made, lambda candidate: (None, {}))


def _load(folder: Path) -> LearnedPredictor:
    *_, card = read_artefact(folder)
    name = card.get("encoder")
    return LearnedPredictor.load(folder, None if name is None else encoder_from(str(name)))


def _read(given: argparse.Namespace) -> Outcomes:
    outcomes = read_table(given.table, scale=None if given.scale is None else tuple(given.scale))
    known = int((~np.isnan(outcomes.scores)).sum())
    left_out = f"; {outcomes.unscored} rows without a score left out" if outcomes.unscored else ""
    print(
        f"{given.table}: {len(outcomes.prompts)} prompts x {len(outcomes.models)} models, "
        f"{known} of {outcomes.scores.size} scored{left_out}",
        file=sys.stderr,
    )
    return outcomes


def _candidates(predictor: LearnedPredictor) -> tuple[Candidate, ...]:
    strengths = zip(predictor.models, predictor.weights.strengths.tolist(), strict=True)
    given = [Candidate(name, None, strength=strength) for name, strength in strengths]
    return prepare_candidates(given, lambda candidate: (None, {}))


def _delta(predictor: LearnedPredictor, policy: Policy) -> float:
    return Router(_candidates(predictor), policy, predictor).threshold.delta


def _threshold(predictor: LearnedPredictor, policy: Policy) -> str:
    found = Router(_candidates(predictor), policy, predictor).threshold
    asked = f"quality={policy.quality}" if policy.quality else f"strong_share={policy.strong_share}"
    return f"Policy({asked}): {'' if found.calibrated else 'not calibrated: '}{found.note}"


def _judged(predictor: LearnedPredictor, outcomes: Outcomes) -> Outcomes:
    """Leave out the prompts that tell nothing because they were trained on."""
    trained_on = int(np.isin(fingerprints(outcomes.prompts), predictor.trained_on).sum())
    fair = unseen(predictor, outcomes)
    if not fair.any():
        raise TableError("all its prompts were trained on: give prompts that training has not seen")
    if trained_on:
        left_out = int((~fair).sum())
        rest = f"; {left_out} of which nobody knows that are left out" if left_out else ""
        print(f"{trained_on} prompts were trained on: judged by what was predicted before{rest}")
    return outcomes.subset(fair)


def _check_target(folder: Path, *, verifier: bool = False) -> None:
    """Refuse, before any work, a folder that an artefact must not or cannot be written to."""
    if folder.exists() and not folder.is_dir():
        raise ArtefactError(folder, "would replace a file: name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).exists():
        raise ArtefactError(folder, "would go among other files: name a new or empty folder")
    if _holds_verifier(folder) is (not verifier):
        other = "predictor" if verifier else "verifier"
        raise ArtefactError(folder, f"would replace a {other}: name another folder")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise ArtefactError(folder, f"cannot be written: {there} is a file")
    if not os.access(there, os.W_OK):
        raise ArtefactError(folder, f"cannot be written: {there} is read-only")


def _holds_verifier(folder: Path) -> bool | None:
    """Tell whether an artefact is a verifier's; None where there is none that can be read."""
    try:
        return bool(
            json.loads((folder / CARD).read_text(encoding="utf-8")).get("kind") == "verifier"
        )
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _write(files: dict[Path, bytes]) -> None:
    """Write files, each of them whole or not at all."""
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written(path, binary=True) as file:
            file.write(content)
