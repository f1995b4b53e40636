"""The savings report: figures by hand, intervals that cover the truth, nothing unknown as zero."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_core.accounting.ledger.ledger import Ledger, LedgerFile
from shared_core.accounting.report.savings import Report, make_report
from shared_core.errors import ConfigurationError, StorageError
from shared_core.types import Alternative, Entry, Scope, Usage, Verdict
from tests.fakes.entries import attempt, energy, entry, other


def both(small: float | None = 1, large: float | None = 10) -> tuple[Alternative, ...]:
    """What the two models would have come to, in USD, and in Wh twice that."""
    return tuple(
        other(name, quality, usd, None if usd is None else 2 * usd)
        for name, quality, usd in (("small", 0.6, small), ("large", 0.9, large))
    )


def call(number: int, candidate: str, usd: float | None, **known: Any) -> Entry:
    """A call that cost this, and drew twice that in Wh."""
    drawn = None if usd is None else energy(2 * usd)
    attempts = (attempt(candidate, usd, energy=drawn, cost_usd_high=7),)
    return entry(number, candidate, **{"attempts": attempts, "alternatives": both(), **known})


def by_hand() -> Iterator[Entry]:
    """Small costs twice what was estimated, large half as much again."""
    for number in range(10):
        yield call(number, "small", 2)
        yield call(number + 10, "large", 15)
    yield call(20, "small", None)
    yield call(21, "small", 3, outcome="failed", attempts=(attempt("small", 3, outcome="failed"),))


def reported(*entries: Entry, **asked: Any) -> Report:
    ledger = Ledger()
    for one in entries:
        ledger.add(one)
    return make_report(ledger, **asked)


def row(found: list[dict[str, Any]], **keys: Any) -> dict[str, Any]:
    (one,) = [row for row in found if all(row[key] == value for key, value in keys.items())]
    return one


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, float):
        yield value


# Figures by hand


@pytest.mark.parametrize(
    ("baseline", "model", "comes_to"),
    [
        ("always-best", "large", 20 * 10 * 1.5),
        ("always-cheapest", "small", 20 * 1 * 2.0),
        ("random mix", None, 20 * (11 / 21 * 1 * 2 + 10 / 21 * 10 * 1.5)),
    ],
)
def test_a_baseline_is_what_hand_and_head_make_it(
    baseline: str, model: str | None, comes_to: float
) -> None:
    report = reported(*by_hand())
    found = row(report.saved, baseline=baseline, unit="USD")
    assert found["model"] == model
    assert found["other"]["value"] == pytest.approx(comes_to)
    assert found["spent"] == pytest.approx(10 * 2 + 10 * 15 + 3)  # the failed call is charged
    assert found["saved"]["value"] == pytest.approx(comes_to - 173)
    assert found["share"]["value"] == pytest.approx((comes_to - 173) / comes_to)
    assert (found["calls"], found["left_out"]) == (21, 1)
    assert (found["method_low"], found["method_high"]) == (None, None)


def test_energy_has_the_range_of_its_method_beside_the_interval() -> None:
    found = row(reported(*by_hand()).saved, baseline="always-best", unit="Wh")
    # The failed call drew what nobody knows, so it is left out here.
    assert found["saved"]["value"] == pytest.approx(2 * (300 - 170))
    assert found["method_low"] == pytest.approx(300 - 170)
    assert found["method_high"] == pytest.approx(4 * (300 - 170))
    assert (found["calls"], found["left_out"]) == (20, 2)


def test_nothing_is_saved_against_the_model_that_answered_every_call() -> None:
    report = reported(*[one for one in by_hand() if one.candidate == "small"][:5])
    for baseline in ("always-cheapest", "random mix"):
        for unit in ("USD", "Wh"):
            found = row(report.saved, baseline=baseline, unit=unit)
            assert found["other"]["value"] == found["spent"] > 0
            assert found["saved"]["value"] == 0


def test_nine_calls_alone_are_too_few_to_correct_by() -> None:
    found = row(reported(*list(by_hand())[:19]).saved, baseline="always-best", unit="USD")
    assert found["other"]["value"] == pytest.approx(9 * 15 + 10 * 10)  # large answered 9
    found = row(reported(*list(by_hand())[:20]).saved, baseline="always-best", unit="USD")
    assert found["other"]["value"] == pytest.approx(20 * 10 * 1.5)


def test_only_calls_that_a_model_ran_and_answered_alone_correct_its_estimates() -> None:
    helped = (attempt("large", 1, outcome="failed"), attempt("large", 15))
    cached = (attempt("large", 0, usage=Usage(1, 1, free=True)),)
    entries = [call(n, "large", None, attempts=helped, cost_usd=16) for n in range(20)]
    entries += [call(n, "large", None, attempts=cached, cost_usd=0) for n in range(20, 40)]
    found = row(reported(*entries).saved, baseline="always-best", unit="USD")
    assert found["other"]["value"] == pytest.approx(40 * 10)


def test_what_is_unknown_is_counted_and_never_zero() -> None:
    report = reported(*by_hand())
    assert report.spent["usd"] == pytest.approx(173)
    assert report.spent["usd_unknown_calls"] == 1
    assert report.spent["usd_unknown_at_most"] == 7
    assert report.spent["wh"] == {"low": 170, "mid": 340, "high": 680}
    assert report.spent["wh_unknown_calls"] == 2
    assert report.spent["wh_methods"] == ["declared"]
    assert row(report.models, name="small")["usd_unknown"] == 1
    limitless = replace(call(30, "small", None), attempts=(attempt("small", None),))
    assert reported(limitless).spent["usd_unknown_at_most"] is None


def test_a_model_without_a_price_leaves_the_other_baselines_alone() -> None:
    alternatives = (*both(), other("free", 0.1))
    entries = [call(n, "small", 1, alternatives=alternatives) for n in range(5)]
    report = reported(*entries)
    assert row(report.saved, baseline="always-best", unit="USD")["saved"]["value"] == 45
    unknown = [call(n, "small", 1, alternatives=both(large=None)) for n in range(5)]
    found = row(reported(*unknown).saved, baseline="always-best", unit="USD")
    assert found["model"] == "large"
    assert found["saved"] == {"value": None, "low": None, "high": None}
    assert found["left_out"] == 5


def test_calls_and_their_endings_are_counted() -> None:
    cancelled = call(30, "small", 1, outcome="cancelled", scope=Scope(thread="t"))
    report = reported(*by_hand(), cancelled, call(31, "large", 1, scope=Scope(thread="t")))
    assert report.calls == {
        **{"all": 24, "answered": 22, "failed": 1, "cancelled": 1, "shadow": 0},
        **{"conversations": 23, "first": 1_000_000, "last": 1_000_031, "local_share": 0.5},
    }


def test_what_bought_no_answer_stands_apart() -> None:
    attempts = (
        attempt("small", 1, energy=energy(3)),  # a draft that was not kept
        attempt("small", 0.5, outcome="dropped", usage=Usage(100, 7, estimated=True)),
        attempt("large", 3, purpose="check"),
        attempt("large", 4, purpose="check", outcome="dropped"),
        attempt("large", 1, purpose="check", outcome="failed"),
        attempt("large", None, outcome="failed"),
        attempt("large", 0, outcome="resting", usage=None),
        attempt("large", 5, energy=energy(4)),
    )
    kept = call(0, "large", None, attempts=attempts, cost_usd=None, lost_cache_usd=0.25)
    left = call(1, "small", 2, outcome="cancelled", attempts=(attempt(outcome="cancelled"),))
    report = reported(kept, left)
    figures = {one["what"]: one for one in report.apart}
    draft = figures["drafts that were not kept"]
    assert (draft["count"], draft["usd"], draft["wh"]) == (1, 1, 3)
    dropped = figures["drafts that were broken off"]
    assert (dropped["count"], dropped["usd"], dropped["wh_unknown"]) == (1, 0.5, 1)
    checks = figures["calls that checked drafts"]
    assert (checks["count"], checks["usd"]) == (2, 7)
    failed = figures["attempts that failed"]
    assert (failed["count"], failed["usd"], failed["usd_unknown"]) == (2, 1, 1)
    assert figures["attempts that were cancelled"]["usd"] == 0.001
    assert figures["warm prompt caches that were left"]["usd"] == 0.25
    own = figures["the router's own time"]
    assert (own["seconds"], own["mean_seconds"]) == (0.5, 0.25)


def test_tables_by_model_step_user_and_day() -> None:
    scope = Scope(user="ann", step="plan")
    later = {"started_at": 1_000_000 + 86_400.0}
    attempts = (attempt("small", 0.5, outcome="failed", usage=None), attempt("large", 2, seconds=4))
    report = reported(
        call(0, "small", 1, scope=scope),
        call(1, "large", None, attempts=attempts, cost_usd=2.5, scope=scope, **later),
        call(2, "small", 1),
    )
    small, large = (row(report.models, name=name) for name in ("small", "large"))
    assert (small["calls"], small["attempts"], small["usd"]) == (2, 3, 2.5)
    assert small["share"] == pytest.approx(2 / 3)
    assert (large["calls"], large["usd"], large["mean_seconds"]) == (1, 2, 4)
    assert large["input_tokens"], large["cached_tokens"] == (100, 40)
    assert (large["output_tokens"], large["reasoning_tokens"]) == (20, 5)
    for found, name in ((report.steps, "plan"), (report.users, "ann")):
        assert [(one["name"], one["calls"], one["usd"]) for one in found] == [
            (name, 2, 3.5),
            (None, 1, 1.0),
        ]
    assert [(one["day"], one["candidate"], one["calls"]) for one in report.days] == [
        ("1970-01-12", "small", 2),
        ("1970-01-13", "large", 1),
    ]


def test_users_beyond_the_longest_table_are_summed_in_one_row() -> None:
    report = reported(*(call(n, "small", 1, scope=Scope(user=f"u{n:03}")) for n in range(60)))
    assert len(report.users) == 51
    last = report.users[-1]
    assert (last["name"], last["others"], last["calls"], last["usd"]) == (None, True, 10, 10)


def test_a_period_holds_for_every_part() -> None:
    entries = [call(n, "small", 1, scope=Scope(user="u", step="s")) for n in range(10)]
    ledger = Ledger()
    for one in entries:
        ledger.add(one)
        ledger.feedback(one.decision_id, 1)
    report = ledger.report(since=1_000_002, until=1_000_005)
    assert report.calls["all"] == 3
    assert report.spent["usd"] == 3
    assert row(report.saved, baseline="always-best", unit="USD")["calls"] == 3
    assert row(report.models, name="small")["attempts"] == 3
    assert report.quality["scores"] == 3
    assert [one["calls"] for one in (*report.steps, *report.users, *report.days)] == [3, 3, 3]


def test_feedback_stands_beside_what_was_predicted() -> None:
    ledger = Ledger()
    for one in by_hand():
        ledger.add(one)
    for number in range(10):
        ledger.feedback(f"d{number}", 0.5)
        ledger.feedback(f"d{number + 10}", number % 2)
    report = ledger.report()
    small, large = (row(report.models, name=name) for name in ("small", "large"))
    assert (small["scores"], small["predicted"]) == (10, pytest.approx(0.6))
    assert small["score"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert large["score"]["low"] < large["score"]["value"] == 0.5 < large["score"]["high"]
    assert report.quality["scores"] == 20
    assert report.quality["predicted"] == pytest.approx(0.75)


# Drafts that were looked at


def looked_at(number: int, probability: float | None, *, kept: bool) -> Entry:
    """A call whose draft of small was looked at twice; large answers where it is not kept."""
    said = (
        Verdict("format", 0.99, "", "small"),
        Verdict("judge", probability, "", "small"),
        *(() if kept else (Verdict("judge", 0.9, "", "large"),)),
    )
    attempts = (attempt("small", 1), attempt("large", 2, purpose="check"))
    attempts += () if kept else (attempt("large", 10),)
    answered = "small" if kept else "large"
    return call(number, answered, None, attempts=attempts, verdicts=said)


def test_drafts_that_were_looked_at_stand_beside_their_scores(tmp_path: Path) -> None:
    ledger = Ledger()
    for number, (probability, kept) in enumerate(
        [(0.8, True), (0.7, True), (0.9, True), (0.2, False), (None, False)]
    ):
        ledger.add(looked_at(number, probability, kept=kept))
    for number, score in ((0, 1), (1, 0.5), (3, 0)):
        ledger.feedback(f"d{number}", score)
    report = ledger.report()
    small = row(report.drafts, name="small")
    assert (small["drafts"], small["accepted"]) == (5, 3)
    assert small["probability"] == pytest.approx((0.8 + 0.7 + 0.9 + 0.2 + 0.99) / 5)
    assert (small["scores"], small["score"]) == (2, 0.75)
    assert small["rated_probability"] == pytest.approx(0.75)
    large = row(report.drafts, name="large")
    assert (large["drafts"], large["accepted"], large["scores"], large["score"]) == (2, 2, 1, 0)
    assert "drafts looked at" in str(report)
    assert report.as_dict()["drafts"] == report.drafts
    report.to_html(tmp_path / "page.html")
    assert "drafts looked at" in (tmp_path / "page.html").read_text()
    report.to_csv(tmp_path / "calls.csv")
    with (tmp_path / "calls.csv").open(newline="") as file:
        lines = [(one["checks"], one["draft_probability"]) for one in csv.DictReader(file)]
    assert lines == [("1", "0.8"), ("1", "0.7"), ("1", "0.9"), ("1", "0.9"), ("1", "0.9")]
    later = ledger.report(since=1_000_003)
    assert row(later.drafts, name="small")["drafts"] == 2


def test_what_a_strategy_concluded_is_no_verdict_on_a_draft() -> None:
    said = (Verdict("vote", None, "2 of 2 say the same"),)
    attempts = (attempt("small", 1), attempt("small", 1))
    assert reported(call(1, "small", None, attempts=attempts, verdicts=said)).drafts == []


def test_a_draft_of_which_nobody_could_tell_anything_was_looked_at() -> None:
    said = (Verdict("structure", None, "nothing is broken", "small"),)
    attempts = (attempt("small", 1), attempt("large", 1))
    report = reported(call(1, "large", None, attempts=attempts, verdicts=said))
    assert row(report.drafts, name="small")["drafts"] == 1
    assert row(report.drafts, name="small")["probability"] is None


def test_where_no_draft_was_looked_at_nothing_is_said_of_any() -> None:
    report = reported(*by_hand())
    assert report.drafts == []
    assert "drafts looked at" not in str(report)


def test_checks_are_spent_and_never_the_answer() -> None:
    """Of the same candidate too: its check is neither what it answers at nor how fast."""
    attempts = (
        attempt("small", 1, energy=energy(1), seconds=2),
        attempt("small", 4, energy=energy(4), seconds=9, purpose="check"),
    )
    entries = [call(n, "small", None, attempts=attempts) for n in range(20)]
    report = reported(*entries)
    assert report.spent["usd"] == 100
    assert row(report.models, name="small")["mean_seconds"] == 2
    found = row(report.saved, baseline="always-cheapest", unit="USD")
    assert (found["spent"], found["other"]["value"]) == (100, 20)  # as estimated: never alone
    assert found["saved"]["value"] == -80


# Shadow mode


def test_shadow_calls_are_compared_apart() -> None:
    shadow = [
        call(n + 100, "large", 15, chosen="small" if n else "large", shadow=True) for n in range(10)
    ]
    alone = reported(*by_hand())
    report = reported(*by_hand(), *shadow)
    mixed = row(report.saved, baseline="always-best", unit="USD")
    assert mixed["saved"]["value"] == pytest.approx(
        row(alone.saved, baseline="always-best", unit="USD")["saved"]["value"]
    )
    assert report.calls["shadow"] == 10
    found = row(report.shadow, unit="USD")
    assert found["spent"] == pytest.approx(150)
    assert found["other"]["value"] == pytest.approx(9 * 1 * 2 + 10 * 1.5)
    assert found["saved"]["value"] == pytest.approx(150 - 33)
    assert found["share"]["value"] == pytest.approx(117 / 150)
    assert found["saved"]["low"] < 117 < found["saved"]["high"]
    drawn = row(report.shadow, unit="Wh")
    assert drawn["method_low"] < drawn["saved"]["value"] < drawn["method_high"]
    assert alone.shadow == []
    assert "what answered" not in str(alone)
    assert "always-best" not in str(reported(*shadow))


# Intervals


def conversations(rng: np.random.Generator, count: int, *, threads: bool = True) -> list[Entry]:
    """Each has a size of its own, on which what its calls cost depends."""
    made: list[Entry] = []
    for thread in range(count):
        size = rng.lognormal(0, 0.5)
        for _ in range(int(rng.integers(1, 8))):
            candidate = "large" if rng.random() < 0.3 else "small"
            estimated = size * rng.lognormal(0, 0.3)
            true = estimated * {"small": 1, "large": 10}[candidate] * 1.2 * rng.lognormal(0, 0.2)
            made.append(
                call(
                    len(made),
                    candidate,
                    true,
                    alternatives=both(estimated, 10 * estimated),
                    scope=Scope(thread=f"t{thread}") if threads else Scope(),
                )
            )
    return made


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    # What one call saves on average, when large would have answered it.
    noise = {"correction": 1.2 * math.exp(0.02), "calls": math.exp(0.125 + 0.045)}
    per_call = (10 - (0.3 * 10 + 0.7)) * noise["correction"] * noise["calls"]
    covered, runs = 0, 100
    for run in range(runs):
        entries = conversations(rng, 80)
        report = reported(*entries, draws=200, seed=run)
        saved = row(report.saved, baseline="always-best", unit="USD")["saved"]
        covered += saved["low"] <= per_call * len(entries) <= saved["high"]
    assert 0.89 * runs <= covered <= 0.99 * runs


def test_calls_of_one_conversation_move_together() -> None:
    widths = []
    for threads in (True, False):
        entries = conversations(np.random.default_rng(1), 300, threads=threads)
        saved = row(reported(*entries).saved, baseline="always-best", unit="USD")["saved"]
        widths.append(saved["high"] - saved["low"])
    assert widths[0] > 1.2 * widths[1]


def test_the_interval_covers_the_correction_too() -> None:
    """Large answered few calls, whose true costs differ a lot: its correction is uncertain."""
    rng = np.random.default_rng(3)
    entries = [call(n, "small", 1) for n in range(200)]
    for wide in (False, True):
        costs = 10 * rng.lognormal(0, 1, 12) if wide else [10] * 12
        few = [call(200 + n, "large", float(usd)) for n, usd in enumerate(costs)]
        other = row(reported(*entries, *few).saved, baseline="always-best", unit="USD")["other"]
        assert (other["high"] - other["low"] > 0.3 * other["value"]) is wide


def test_the_seed_decides_the_draws() -> None:
    entries = conversations(np.random.default_rng(0), 30)
    first, again, others = (reported(*entries, seed=seed).as_dict() for seed in (1, 1, 2))
    assert first == again
    assert first != others


# Little or nothing to report


def nothing_known() -> list[Entry]:
    alternatives = both(None, None)
    bare = (attempt("small", None, usage=None),)
    return [call(n, "small", None, attempts=bare, alternatives=alternatives) for n in range(3)]


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [call(0, "small", 1)],
        [call(0, "small", 1, alternatives=())],
        [call(0, "small", 0, alternatives=both(0, 0))],
        [call(0, "small", 1, outcome="failed", attempts=())],
        [call(0, "small", 1, shadow=True)],
        nothing_known(),
        [replace(one, energy=None) for one in by_hand()],
    ],
    ids=["empty", "one", "no others", "free", "failed", "shadow", "unknown", "no energy"],
)
def test_little_to_report_is_a_report_all_the_same(entries: list[Entry], tmp_path: Path) -> None:
    report = reported(*entries)
    text = json.dumps(report.as_dict(), allow_nan=False)
    assert json.loads(text) == report.as_dict()
    assert all(math.isfinite(number) for number in numbers(report.as_dict()))
    shown = str(report)
    assert "nan" not in shown
    assert "None" not in shown
    report.to_html(tmp_path / "page.html")
    report.to_csv(tmp_path / "calls.csv")
    lines = (tmp_path / "calls.csv").read_text().splitlines()
    assert len(lines) == len(entries) + 1


def test_one_call_has_no_interval_and_says_so() -> None:
    report = reported(call(0, "small", 1))
    saved = row(report.saved, baseline="always-best", unit="USD")["saved"]
    assert saved == {"value": 9, "low": None, "high": None}
    assert "9 (no interval)" in str(report)


def test_more_candidates_than_can_be_compared_are_no_failure() -> None:
    others = tuple(other(f"m{n:02}", 0.5, n + 1.0) for n in range(70))
    report = reported(*(call(n, "m69", 70, alternatives=others) for n in range(3)))
    cheapest = row(report.saved, baseline="always-cheapest", unit="USD")
    assert cheapest["saved"]["value"] == pytest.approx(3 * (1 - 70))


# As text, as CSV


def test_every_row_of_the_text_says_unit_method_and_baseline() -> None:
    text = str(reported(*by_hand()))
    for words in (
        "always-best: large      USD   300 (",
        "random mix              Wh ",
        "95 % bootstrap interval over 22 conversations, 1,000 draws",
        "1 (7 USD at most)",
        "price x tokens",
        "declared",
    ):
        assert words in text


def test_names_cannot_steer_a_terminal_or_break_a_table() -> None:
    text = str(reported(call(0, "small", 1, scope=Scope(user="a\x1b[2J\nb" + "x" * 100))))
    assert "\x1b" not in text
    assert r"a\x1b[2J\nb" in text
    assert "x" * 70 not in text


def test_csv_has_one_row_per_call_and_no_formula(tmp_path: Path) -> None:
    ledger = Ledger()
    evil = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", 'plain, "q"\n2']
    for number, user in enumerate(evil):
        ledger.add(call(number, "small", 2, scope=Scope(user=user)))
    ledger.feedback("d0", 0.5, comment="=evil()")
    ledger.report().to_csv(tmp_path / "calls.csv")
    with (tmp_path / "calls.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [one["user"] for one in rows] == [*(f"'{user}" for user in evil[:-1]), evil[-1]]
    first = rows[0]
    assert first["comment"] == "'=evil()"
    assert (first["cost_usd"], first["energy_wh"], first["input_tokens"]) == ("2.0", "4.0", "100")
    assert (first["predicted_quality"], first["score"]) == ("0.6", "0.5")
    assert first["started_at_utc"] == "1970-01-12 13:46:40"


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = reported(call(0, "small", 1))
    target = tmp_path / "calls.csv"
    target.write_text("old")
    monkeypatch.setattr(
        "shared_core.accounting.report.sheet._row", lambda _: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        report.to_csv(target)
    assert [file.name for file in tmp_path.iterdir()] == ["calls.csv"]
    assert target.read_text() == "old"


# Of a file


def test_a_file_is_reported_on_without_being_changed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        for one in by_hand():
            ledger.add(one)
        expected = ledger.report().as_dict()
    before = path.read_bytes()
    report = make_report(LedgerFile(path))
    assert report.as_dict() == expected
    report.to_csv(tmp_path / "calls.csv")
    (tmp_path / "calls.csv").unlink()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_reported_on_while_it_is_written(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(call(0, "small", 1))
        source = LedgerFile(tmp_path / "ledger.db")
        assert make_report(source).calls["all"] == 1
        ledger.add(call(1, "small", 1))
        assert make_report(source).calls["all"] == 2


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with pytest.raises(StorageError, match="does not exist"):
        make_report(LedgerFile(path))
    path.touch()
    with pytest.raises(StorageError, match="it is no ledger"):
        make_report(LedgerFile(path))
    assert path.read_bytes() == b""


@pytest.mark.parametrize("wrong", ["2026-11-26", True, [1], math.nan, math.inf, 10**400])
def test_a_period_that_is_no_time_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="since is a unix time"):
        Ledger().report(since=wrong)
