"""What a span says of drafts that were looked at."""

from __future__ import annotations

from shared_core.accounting.telemetry import attributes_of
from shared_core.types import Usage, Verdict
from tests.fakes.entries import attempt, entry


def test_a_span_says_who_looked_at_what_and_none_of_the_words() -> None:
    said = (
        Verdict("format", None, "could not tell: secret", "small"),
        Verdict("judge", 0.25, "secret", "small"),
    )
    found = attributes_of(entry(verdicts=said))
    assert {name: value for name, value in found.items() if "verdict" in name} == {
        "router.verdicts.0.candidate": "small",
        "router.verdicts.0.verifier": "format",
        "router.verdicts.1.candidate": "small",
        "router.verdicts.1.verifier": "judge",
        "router.verdicts.1.probability": 0.25,
    }
    assert "secret" not in str(found)


def test_a_call_whose_drafts_nobody_looked_at_says_nothing_of_it() -> None:
    assert "verdict" not in str(attributes_of(entry()))


def test_estimated_tokens_are_not_told_as_counted() -> None:
    counted, told = attempt("large"), attempt(usage=Usage(9, 9, estimated=True))
    assert attributes_of(entry(attempts=(counted,)))["gen_ai.usage.input_tokens"] == 100
    assert "usage" not in str(attributes_of(entry(attempts=(told, counted))))
    dropped = attempt(usage=Usage(9, 9, estimated=True), outcome="dropped")
    found = attributes_of(entry(attempts=(dropped, counted)))
    assert found["gen_ai.usage.input_tokens"] == 100
