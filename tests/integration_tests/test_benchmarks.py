"""The benchmarks of learning run on a tiny made-up folder of data; real results stay untouched."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from examples.benchmarks import (
    _page,
    _splits,
    _tables,
    _votes,
    accounting_overhead,
    baselines,
    budget_race,
    calibration,
    cascade,
    encode,
    energy_savings,
    latency,
    mixture,
    n_models,
    oracle_gap,
    reasoning_effort,
    routellm,
    self_consistency,
)
from shared_core.lab import fit as fit_module
from shared_core.prediction import learned
from tests.fakes.judged import judged_answers
from tests.fakes.learning import parity_encoder
from tests.fakes.openai_server import OpenAIServer

WORDS = ("river", "apple", "seven", "stone", "cloud", "paper", "green", "music", "plain", "table")
PAGE = Path(_page.HERE / "README.md")
LADDERS = {
    "eval_zeroeval_gsm8k_mmluredux": (
        ("mmlu_redux", "gsm8k_test"),
        tuple(dict.fromkeys((*n_models.PRICED["zeroeval"][2], *calibration.LADDER))),
    ),
    "eval_mmlu_pro_ori_mmlu": (("mmlu_pro_cot",), n_models.PRICED["mmlu_pro"][2]),
}
PAIR_PRICES = (
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", (0.6, 0.6)),
    ("gpt-4-1106-preview", (10.0, 30.0)),
)
VOTERS = (*n_models.PRICED["zeroeval"][2][:3], "gpt-4o-2024-08-06", "nobody-lists-a-price")


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let go of the remembered features afterwards."""
    for module in (fit_module, learned):
        monkeypatch.setattr(module, "features", module.features)
        monkeypatch.setattr(module, "prompt_difficulty", module.prompt_difficulty)


def question(rng: random.Random, hard: bool) -> str:
    words = [*rng.choices(WORDS, k=rng.randint(5, 30)), *(["quark"] * hard)]
    rng.shuffle(words)
    return " ".join(words)


def outcomes(datasets: Sequence[str], models: Sequence[str], prompts: int) -> pd.DataFrame:
    """Answers of models of which each is better than the one before; few like quarks."""
    rng = random.Random(5)
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        for number in range(prompts):
            hard = rng.random() < 0.4
            text = question(rng, hard)
            for place, model in enumerate(models):
                chance = (0.2 if hard else 0.7) + (0.3 if not hard else 0.7) * place / len(models)
                rows.append(
                    {
                        "dataset": dataset,
                        "prompt_id": f"{dataset}-{number}",
                        "prompt": text,
                        "model": model,
                        "score": float(rng.random() < chance),
                        "input_tokens": len(text) // 4,
                        "output_tokens": None,
                        "cost": 0.001 * 2**place,
                        "contaminated_per_routellm": number == 0,
                    }
                )
    return pd.DataFrame(rows)


def write(folder: Path, table: pd.DataFrame) -> None:
    folder.mkdir(parents=True)
    table.to_parquet(folder / "data.parquet")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pair = ("mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview")
    both = outcomes([f"routellm_{name}" for name in routellm.BENCHMARKS], pair, 120)
    write(folder / "eval_routellm", both)
    answered = both[both.dataset == "routellm_gsm8k"]
    write(folder / "eval_routellm_gsm8k_answers", answered.assign(answer="It is 12, I think."))
    write(
        folder / "eval_routerbench_lite",
        outcomes(n_models.ROUTERBENCH, ("small", "middle", "large"), 50),
    )
    listed = [("eval_routellm", "routellm_gsm8k", model, *price) for model, price in PAIR_PRICES]
    for name, (datasets, models) in LADDERS.items():
        # Without costs: the list prices stand in.
        write(folder / name, outcomes(datasets, models, 120 // len(datasets)).assign(cost=np.nan))
        listed += [
            (name, dataset, model, 2.0**place, 2.0**place)
            for dataset in datasets
            for place, model in enumerate(models)
        ]
    write(folder / "eval_answers_gsm8k", pd.DataFrame(judged_answers(90, models=VOTERS, slips=0.7)))
    columns = ["set", "dataset", "model", "usd_per_m_in", "usd_per_m_out"]
    (folder / "model_info").mkdir()
    pd.DataFrame(listed, columns=columns).to_csv(folder / "model_info" / "models.csv")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with a page that has a place for every table, all of them empty."""
    names = (
        "routellm",
        "label_curve",
        "calibration",
        "believed",
        "n_models",
        "left_out",
        "oracle_gap",
        "latency",
        "energy_savings",
        "budget_race",
        "accounting",
        "cascade",
        "cascade_labels",
        "cascade_pairs",
        "verifier_transfer",
        "self consistency",
        "self consistency shares",
        "self consistency shuffled",
        "self consistency voters",
        "mixture_overlaps",
        "mixture_agreement",
        "reasoning effort",
    )
    places = [f"<!-- table: {name} -->\n<!-- end -->" for name in names]
    (tmp_path / "README.md").write_text("\n".join(["before", *places, "after"]))
    return tmp_path


def results(out: Path, name: str) -> dict[str, Any]:
    found = json.loads((out / "results" / f"{name}.json").read_text())
    script = found["command"].split(" -m ")[1].split()[0].removeprefix("examples.benchmarks.")
    assert name.startswith(script)
    for figure in figures(found):
        if figure["value"] is None:
            assert figure["low"] is None
        else:
            assert figure["low"] <= figure["high"]
    page = (out / "README.md").read_text()
    assert page.startswith("before")
    assert page.endswith("after")
    return found


def figures(found: Any) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        if "low" in found:
            yield found
        for one in found.values():
            yield from figures(one)


def table_of(out: Path, name: str) -> list[list[str]]:
    """The rows of a table in the page, titles first."""
    page = (out / "README.md").read_text()
    drawn = page.partition(f"<!-- table: {name} -->\n")[2].partition("<!-- end -->")[0]
    rows = [line.strip("| ").split(" | ") for line in drawn.splitlines()]
    assert len({len(row) for row in rows if not row[0].startswith("---")}) == 1
    return [row for row in rows if not row[0].startswith("---")]


def test_routellm(data: Path, out: Path) -> None:
    small = ["--seeds", "2", "--baseline-seeds", "1", "--draws", "10", "--labels", "60"]
    routellm.main(["--data", str(data), "--out", str(out), *small])
    found = results(out, "routellm")
    assert found["random"]["mmlu"]["apgr"]["value"] == 0.5
    assert found["zero_label"]["mt_bench"]["labels"] == 0
    assert found["zero_label"]["mmlu"]["prompts"] == 119  # one is contaminated
    assert found["adapted"]["mmlu"]["labels"] == 59
    assert found["adapted"]["mmlu"]["prompts"] == 60
    assert found["adapted"]["gsm8k"]["labels"] == 95
    assert found["adapted"]["gsm8k"]["prompts"] == 119
    for way in ("adapted", *baselines.BASELINES):
        assert 0 < found[way]["gsm8k"]["apgr"]["value"] < found["oracle"]["gsm8k"]["apgr"]["value"]
    assert set(found["label_curve"]["gsm8k"]["adapted"]) == {"0", "30", "60"}
    assert len(table_of(out, "routellm")) == 1 + 3 * 4 + 2 * 5
    assert len(table_of(out, "label_curve")) == 1 + 2 * 3
    picture = (out / "results" / "label_curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000


def test_encode_writes_what_routellm_reads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encode, "encoder_from", parity_encoder)
    command = ["--data", str(data), "--encoder", "prefill:tiny", "--as", "tiny"]
    encode.main([*command, "--out", str(tmp_path), "--most", "50"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny_gsm8k.npz", "tiny_mmlu.npz"]
    ids = _tables.prompts_by_id(data, "eval_routellm")
    vectors = routellm.read_vectors(tmp_path / "tiny_mmlu.npz", ids)
    assert len(vectors) == 50
    for text, vector in vectors.items():
        assert vector.tolist() == parity_encoder().encode([text])[0]
    assert "mmlu: 50 prompts, " in capsys.readouterr().out


def test_routellm_with_encodings(data: Path, out: Path) -> None:
    table = pd.read_parquet(data / "eval_routellm" / "data.parquet").drop_duplicates("prompt_id")
    folder = out / "encodings"
    folder.mkdir()
    for name in ("mmlu", "gsm8k"):
        rows = table[table.dataset == f"routellm_{name}"][10:]
        tells = np.array([[float("quark" in text), 1.0] for text in rows.prompt])
        np.savez(folder / f"smollm2_{name}.npz", prompt_id=list(rows.prompt_id), encoding=tells)
    (out / "results").mkdir()
    kept = {"command": "python -m examples.benchmarks.routellm", "label_curve": {}}
    (out / "results" / "routellm.json").write_text(json.dumps(kept))
    options = ["--encodings", str(folder), "--baseline-seeds", "2", "--draws", "10"]
    routellm.main(["--data", str(data), "--out", str(out), *options])
    found = results(out, "routellm")
    assert found["command"] == kept["command"]
    for way in ("adapted_prefill", "adapted_prefill_without"):
        assert found[way]["mmlu"]["labels"] == 55
        assert found[way]["gsm8k"]["prompts"] == 110
    for name in ("mmlu", "gsm8k"):
        with_, without = found["adapted_prefill"][name], found["adapted_prefill_without"][name]
        assert with_["apgr"]["value"] > without["apgr"]["value"] + 0.05
    assert len(table_of(out, "routellm")) == 1 + 2 * 2


def test_calibration(data: Path, out: Path) -> None:
    small = ["--splits", "3", "--believed", "2", "--labels", "40", "200"]
    calibration.main(["--data", str(data), "--out", str(out), *small])
    found = results(out, "calibration")
    for quality in calibration.QUALITIES:
        one = found["promises"]["mmlu"]["40"][f"quality_{quality}"]
        assert one["splits"] == 3
        groups = [one[kind] for kind in ("calibrated", "uncalibrated") if kind in one]
        assert sum(group["promises"] for group in groups) == 3
        assert sum(group["held"] for group in groups) == one["held"]
        assert found[f"quality_{quality}"]["splits"] == 3  # 200 labels are more than there are
    assert set(found["believed"]) == {
        *("mmlu", "gsm8k", "zeroeval_mmlu_redux", "zeroeval_gsm8k_test")
    }
    assert 0 < found["believed"]["mmlu"]["router"]["40"]["brier"]["value"] < 0.35
    assert len(table_of(out, "calibration")) > 3
    assert len(table_of(out, "believed")) > 4


def test_reasoning_effort(tmp_path: Path, out: Path) -> None:
    for names in reasoning_effort.MODELS.values():
        assert len(names) == len(reasoning_effort.EFFORTS)
    models = [name for names in reasoning_effort.MODELS.values() for name in names]
    folder = tmp_path / "data"
    write(folder / reasoning_effort.SET, outcomes([reasoning_effort.DATASET], models, 80))
    small = ["--data", str(folder), "--out", str(out), "--seeds", "1", "--draws", "10"]
    reasoning_effort.main(small)
    found = results(out, "reasoning_effort")
    assert found["mended"]["high"]["value"] > 0
    for deltas in found["models"].values():
        ways = deltas["0.05"]
        assert ways["always high"]["kept"]["value"] == 1
        assert ways["always low"]["low_share"]["value"] == 1
        assert ways["random"]["over_random"]["value"] == 0
        for effort in reasoning_effort.EFFORTS:
            share = f"{effort}_share"
            assert ways["routed"][share]["value"] == ways["random"][share]["value"]
        assert ways["oracle"]["kept"]["value"] >= ways["routed"]["kept"]["value"]
    assert len(table_of(out, "reasoning effort")) > 20


def test_n_models(data: Path, out: Path) -> None:
    small = ["--draws", "10", "--seeds", "1", "--left-out-seeds", "1"]
    n_models.main(["--data", str(data), "--out", str(out), *small])
    found = results(out, "n_models")
    assert set(found["sets"]) == {"routerbench_lite", "zeroeval", "mmlu_pro"}
    for one in found["sets"].values():
        ways = one["ways"]
        assert ways["random"]["area"]["value"] == pytest.approx(0.5, abs=0.01)
        assert ways["oracle"]["area"]["value"] > ways["router"]["area"]["value"]
        assert all(
            0 <= way["saving"]["value"] <= way["saving_at_0.95"]["value"] for way in ways.values()
        )
    models = found["sets"]["routerbench_lite"]["models"]
    assert models["large"]["usd_per_1000"] == 4 and models["small"]["usd_per_1000"] == 1  # noqa: PT018
    assert set(found["left_out"]["routerbench_lite"]["probe"]["by_model"]) == set(models)
    assert len(table_of(out, "n_models")) == 1 + 3 * 11
    assert len(table_of(out, "left_out")) == 1 + 3 * 2


def test_oracle_gap(data: Path, out: Path) -> None:
    small = ["--data", str(data), "--out", str(out), "--draws", "10", "--seeds", "1"]
    oracle_gap.main([*small, "--sets", "gsm8k"])
    oracle_gap.main([*small, "--sets", "routerbench_lite"])
    found = results(out, "oracle_gap")["sets"]
    assert list(found) == ["routerbench_lite", "gsm8k"]  # one is kept, both in the usual order
    for one in found.values():
        ways = one["ways"]
        assert ways["best_single"]["gap"]["value"] == 0
        assert ways["best_single"]["cost"]["value"] == 1
        assert ways["best_single"]["within"]
        assert ways["oracle"]["gap"]["value"] == 1
        assert ways["random"]["gap"]["value"] < 0
        assert all(way["gap"]["value"] <= 1 for way in ways.values())
        assert 0 <= one["rare"] <= 1
    assert found["gsm8k"]["models"] == 4  # one has no price
    assert found["gsm8k"]["labels"] == 45
    ways = found["gsm8k"]["ways"]
    assert ways["all answers"]["gap"]["value"] > ways["router"]["gap"]["value"]
    assert ways["all answers"]["cost"]["value"] > 1
    assert not ways["all answers"]["within"]
    assert len(table_of(out, "oracle_gap")) == 1 + 10 + 14


def test_oracle_gap_takes_models_with_a_price(data: Path) -> None:
    table = oracle_gap.table_of(data, "mmlu_redux")
    assert set(table.models) == set(LADDERS["eval_zeroeval_gsm8k_mmluredux"][1])
    assert np.isfinite(table.cost).all()
    pair = _votes.read(data, *oracle_gap.ANSWERS["gsm8k_pair"])
    assert len(pair.prompts) == 119  # one is contaminated
    assert set(pair.said.ravel()) == {0}  # all say 12
    assert (pair.usd[:, 0] > pair.usd[:, 1]).all()


def test_votes_stop_early_and_outvote_the_dear_one() -> None:
    """Two cheap models that agree are right, and the dear one is asked where they do not."""
    rng = np.random.default_rng(1)
    right = rng.random((400, 3)) < [0.8, 0.8, 0.85]
    wrong = rng.integers(1, 50, (400, 3))  # no two err alike
    finals = np.where(right, 0, wrong)
    answered = _votes.Answered(
        models=("a", "b", "dear"),
        prompts=tuple(map(str, range(400))),
        said=np.array([[row.tolist().index(one) for one in row] for row in finals]),
        scores=right.astype(float),
        usd=np.broadcast_to([0.1, 0.1, 1.0], (400, 3)),
        rows=None,  # type: ignore[arg-type]  # no verifier reads them
    )
    known, others = np.arange(200), np.arange(200, 400)
    nothing = np.zeros((400, 3))
    belief = _votes.believed(answered, nothing, known, others, seed=0)
    labelled, tested = (
        _votes.Answered(
            answered.models,
            tuple([answered.prompts[place] for place in places]),
            *(array[places] for array in (answered.said, answered.scores, answered.usd)),
            rows=None,  # type: ignore[arg-type]
        )
        for places in (known, others)
    )
    plan = _votes.planned(labelled, belief[known], 2, escalate=True)
    assert set(plan.order) == {0, 1, 2}
    assert plan.order[-1] == 2
    score, usd = _votes.routed(plan, tested, belief[others])
    assert score.mean() > tested.scores[:, 2].mean() + 0.05
    assert 0.2 <= usd.min() <= 0.21
    assert usd.mean() < 0.7
    alone = _votes.planned(labelled, belief[known], 2, escalate=True, longest=1)
    assert alone.order == (2,)
    same = _votes.routed(alone, tested, belief[others])
    assert same[0].tolist() == tested.scores[:, 2].tolist()


def test_latency(out: Path) -> None:
    latency.main(["--out", str(out), "--rounds", "5", "--prompts", "60", "--models", "2"])
    found = results(out, "latency")
    assert found["candidates"] == 2
    for name in ("fallback", "learned"):
        times = found["decision"][name]
        assert 0 < times["short"]["p50_ms"]["value"] < times["8k tokens"]["p50_ms"]["value"]
    assert len(table_of(out, "latency")) == 1 + 5


def test_energy_savings(data: Path, out: Path) -> None:
    energy_savings.main(
        [
            *("--data", str(data), "--out", str(out), "--draws", "20", "--seeds", "2"),
            *("--labels", "50", "--more-labels", "60"),
        ]
    )
    found = results(out, "energy_savings")
    mmlu = found["benchmarks"]["mmlu"]
    saved = {way: mmlu[way]["95"]["wh_saved"]["value"] for way in ("random", "adapted", "oracle")}
    assert saved["random"] < saved["adapted"] <= saved["oracle"]
    assert mmlu["oracle"]["95"]["usd_saved"]["value"] > mmlu["oracle"]["99"]["usd_saved"]["value"]
    low, high = (mmlu["oracle"]["95"][f"wh_saved_{end}"]["value"] for end in ("least", "most"))
    assert low <= saved["oracle"] <= high
    assert "EcoLogits" in found["energy"]
    assert "promised" in found["benchmarks"]["gsm8k"]


def test_budget_race_overshoot(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_race.shutil, "which", lambda program: None)
    monkeypatch.delitem(budget_race.CALLERS, "8 processes")  # half a minute; the stores' own do it
    budget_race.main(["--out", str(out), "--hold", "0.5"])
    found = results(out, "budget_race")["stores"]
    assert list(found) == ["memory", "SQLite"]
    for store in found.values():
        races = {case: one for case, one in store.items() if case != "killed"}
        assert {one["admitted"] for one in races.values()} == {budget_race.ROOM}
        assert {one["overshoot"] for one in races.values()} == {0}
    assert len(found["SQLite"]) == 5
    assert 0.3 < found["SQLite"]["killed"]["free_after_s"] < 30


def test_accounting_overhead(out: Path) -> None:
    accounting_overhead.main(
        ["--out", str(out), "--rounds", "5", "--draws", "20", "--entries", "300"]
    )
    found = results(out, "accounting_overhead")
    assert found["added_ms"]["memory"]["value"] > 0
    assert found["big_ledger"]["entries"] == 300
    assert "report on 300 entries" in [row[0] for row in table_of(out, "accounting")]


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    """Answers of weak models that slip, and of strong ones that rarely do."""
    folder = tmp_path / "answered"
    pairs = [(cascade.MIXTRAL, cascade.GPT4), *cascade.PAIRS]
    tables = []
    for place, models in enumerate(pairs):
        rows = pd.DataFrame(judged_answers(90, models=models, seed=1, slips=0.6))
        last = rows.model == models[1]
        rows.loc[last, "score"] = 1.0 * (rows[last].prompt_id.astype(int) % 9 > 0)
        tables.append(rows if place < 2 else rows[~last])
    mixtral = tables[0].assign(contaminated_per_routellm=tables[0].prompt_id == "3", gold="1")
    write(folder / cascade.GSM8K, mixtral)
    write(folder / cascade.ZEROEVAL, pd.concat(tables[1:]))
    strong = {models[1] for models in pairs}
    listed = [
        (name, model, *((10.0, 30.0) if model in strong else (0.2, 0.2)))
        for name, models in (
            ("eval_routellm", pairs[0]),
            ("eval_zeroeval_gsm8k_mmluredux", sorted({m for pair in pairs[1:] for m in pair})),
        )
        for model in models
    ]
    (folder / "model_info").mkdir()
    columns = ["set", "model", "usd_per_m_in", "usd_per_m_out"]
    pd.DataFrame(listed, columns=columns).to_csv(folder / "model_info" / "models.csv")
    return folder


def test_mixture(tmp_path: Path, out: Path) -> None:
    models = ("one", "two", "three", "four")
    for name, datasets in mixture.SCORES.items():
        write(tmp_path / name, outcomes(datasets, models, 300))
    for seed, name in enumerate(mixture.ANSWERS):
        answers = pd.DataFrame(judged_answers(120, models=models, seed=seed, slips=0.7))
        write(tmp_path / name, answers)
    mixture.main(["--data", str(tmp_path), "--out", str(out), "--teams", "5"])
    found = results(out, "mixture")
    for one in found["overlaps"].values():
        assert 0 < one["overlap"] < 1
        assert one["rms_common"] < 0.2
    for one in found["agreement"].values():
        assert 0.3 < one["settled"] < 1
        assert one["right"] > one["best_else"]  # slips differ, so what agrees is right
        assert one["any_else"] >= one["best_else"]
    assert len(table_of(out, "mixture_overlaps")) == 1 + 4 + 1
    assert len(table_of(out, "mixture_agreement")) == 1 + 2


def test_cascade(answered: Path, out: Path) -> None:
    small = ["--draws", "10", "--seeds", "2", "--fold-seeds", "1"]
    cascade.main(["--data", str(answered), "--out", str(out), *small])
    found = results(out, "cascade_gsm8k")
    assert found["cost_charged"] == "all"
    assert found["default_path"]["apgr"] == found["apgr"]
    assert found["prompts"] == 89  # one is contaminated
    beside = found["beside"]
    # Every draft is charged, so that a random order recovers less than half.
    assert 0.3 < beside["random"]["apgr"]["value"] < 0.5
    assert beside["random"]["cpt50"]["value"] > 0.5
    for one in (beside["zero_label"], found):
        value = one["apgr"]["value"]
        assert beside["random"]["apgr"]["value"] + 0.1 < value < beside["oracle"]["apgr"]["value"]
    assert found["cpt50"]["value"] < found["cpt80"]["value"]
    assert (
        beside["cheapest"]["usd_per_1000"]["value"] < beside["best_single"]["usd_per_1000"]["value"]
    )
    assert 0 < found["early_abort"]["draft_tokens_saved"]["value"] < 1
    labels = json.loads((out / "results" / "cascade_labels.json").read_text())
    assert labels["0"] == beside["zero_label"]["apgr"]
    assert set(labels) == {"command", "0", "30", "default_path"}
    for pair in found["pairs"].values():
        assert pair["cross_fitted"]["strong_calls"]["value"] < 1
        assert pair["weak_accuracy"] < pair["strong_accuracy"]
    transfer = json.loads((out / "results" / "verifier_transfer.json").read_text())
    assert set(transfer) == {model for pair in cascade.PAIRS for model in pair}
    assert transfer[cascade.PAIRS[1][0]]["auc"]["value"] > 0.6
    assert len(table_of(out, "cascade")) == 1 + 6
    assert len(table_of(out, "verifier_transfer")) == 1 + len(transfer)


def test_cascade_with_a_reader(answered: Path, out: Path) -> None:
    folder = out / "vectors"
    folder.mkdir()
    for name in (cascade.GSM8K, cascade.ZEROEVAL):
        table = pd.read_parquet(answered / name / "data.parquet")
        noise = np.random.default_rng(1).normal(size=(len(table), 2))
        vectors = np.column_stack([3.0 * table.score, noise])
        ids = {"prompt_id": list(table.prompt_id), "model": list(table.model)}
        np.savez(folder / f"{name}.npz", features=vectors, **ids)
    small = ["--draws", "10", "--seeds", "1", "--fold-seeds", "1", "--reader-features", str(folder)]
    cascade.main(["--data", str(answered), "--out", str(out), *small])
    found = results(out, "cascade_gsm8k")
    assert found["auc"]["value"] > found["default_path"]["auc"]["value"]
    assert found["apgr"]["value"] > found["default_path"]["apgr"]["value"]
    labels = json.loads((out / "results" / "cascade_labels.json").read_text())
    assert labels["30"]["value"] > labels["default_path"]["30"]["value"]


@pytest.fixture
def voted(tmp_path: Path) -> Path:
    """Questions whose answer is 1; models, and samples of one, that say so more or less often."""
    folder, rng = tmp_path / "voted", random.Random(2)
    ids = [str(number) for number in range(30)]

    def answer(chance: float) -> str:
        return f"The answer is {1 if rng.random() < chance else rng.randint(2, 6)}."

    gold = pd.DataFrame({"prompt_id": ids, "prompt": "Why?", "gold": "1.0"})
    write(folder / self_consistency.QUESTIONS, gold)
    models = {f"m{place}": 0.5 + place / 32 for place in range(16)}
    rows = [(one, "Why?", m, answer(chance)) for one in ids for m, chance in models.items()]
    table = pd.DataFrame(rows, columns=["prompt_id", "prompt", "model", "answer"])
    write(folder / self_consistency.ANSWERS, table.assign(score=table.answer.str.contains("1")))
    listed = [(self_consistency.LISTED, m, 2.0**i, 2.0**i) for i, m in enumerate(models)]
    (folder / "model_info").mkdir()
    columns = ["set", "model", "usd_per_m_in", "usd_per_m_out"]
    pd.DataFrame(listed, columns=columns).to_csv(folder / "model_info" / "models.csv")
    lines = [
        {"set": "test", "prompt_id": one, "sample": sample, "text": answer(chance), "tokens": 5}
        for one in ids
        for chance in [rng.choice([0.3, 0.95])]
        for sample in range(self_consistency.SAMPLES)
    ]
    drawn = "\n".join(json.dumps({**line, "finish_reason": "stop"}) for line in lines)
    (folder / "samples.jsonl").write_text(drawn)
    return folder


def test_self_consistency(voted: Path, out: Path) -> None:
    samples = str(voted / "samples.jsonl")
    small = ["--data", str(voted), "--out", str(out), "--draws", "20"]
    self_consistency.main([*small, "--samples", samples])
    found = results(out, "self_consistency")
    drawn = found["samples"]["ways"]
    means = [drawn[f"certainty {c}"]["drawn"]["value"] for c in self_consistency.CERTAINTIES]
    assert means == sorted(means)
    assert 1 < means[2] < means[-1] < 16
    assert drawn["oracle stop"]["drawn"]["value"] < means[2]
    assert drawn["uniform prior 0.95 (the paper's)"]["drawn"]["value"] > means[2]
    for way in ("certainty 1.0", "all samples", "oracle stop"):
        assert drawn[way]["agreement"]["value"] == 1.0
        assert drawn[way]["points_lost"]["value"] == 0.0
    assert drawn["first 1"]["accuracy"]["value"] < drawn["all samples"]["accuracy"]["value"]
    voters = found["models"]["ways"]
    assert found["models"]["models"] == [f"m{place}" for place in range(16)]
    assert voters["all, by weight"]["agreement"]["value"] == 1.0
    settled = voters["voters by price, certainty 0.95"]
    assert settled["usd_per_1000"]["value"] < voters["all, by weight"]["usd_per_1000"]["value"]
    assert len(table_of(out, "self consistency voters")) == 1 + len(voters)
    assert sum(one["questions"] for one in found["samples"]["by_share_of_majority"].values()) == 30


def test_samples_are_drawn_from_a_server(
    voted: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    drawn = out / "drawn.jsonl"
    with OpenAIServer((self_consistency.MODEL,)) as server:
        asked = ["--draw", str(drawn), "--questions", "2", "--base-url", server.base_url]
        self_consistency.main(["--data", str(voted), *asked])
    questions = self_consistency.read_samples(drawn, self_consistency.golds(voted))
    assert [len(question.replies) for question in questions] == [16, 16]


def test_the_page_of_the_repository_has_every_place(out: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for line in (out / "README.md").read_text().splitlines():
        if line.startswith("<!-- table"):
            assert line in page


def test_a_page_without_the_place_is_refused() -> None:
    with pytest.raises(ValueError, match="'believed'"):
        _page.with_table("<!-- table: other -->\n<!-- end -->", "believed", "| a |")


@pytest.mark.parametrize("way", [*baselines.BASELINES, "router"])
def test_a_learner_learns_what_is_hard(way: str) -> None:
    rng = random.Random(3)
    hard = [rng.random() < 0.5 for _ in range(300)]
    texts = [question(rng, one) for one in hard]
    easy = 1.0 - np.array(hard, float)
    scores = np.column_stack([easy, np.array([float(rng.random() < 0.8) for _ in texts])])
    learner = {**baselines.BASELINES, "router": baselines.router}[way]
    predicted = learner(texts[:200], scores[:200])(texts[200:])
    assert predicted.shape == (100, 2)
    assert predicted.min() >= 0
    assert predicted.max() <= 1
    good = easy[200:] == 1
    assert predicted[good, 0].mean() > predicted[~good, 0].mean() + 0.1


def test_prompt_length_learns_that_long_is_hard() -> None:
    texts = ["word " * n for n in range(1, 101)]
    scores = np.array([[float(n < 50)] for n in range(1, 101)])
    predicted = baselines.prompt_length(texts, scores)(["word", "word " * 200])
    assert predicted[0, 0] > 0.75 > 0.25 > predicted[1, 0]


def test_no_prompt_is_predicted_by_a_fit_that_saw_it() -> None:
    seen: list[set[str]] = []

    def learner(texts: Sequence[str], scores: np.ndarray) -> baselines.Predict:
        known = set(texts)
        seen.append(known)

        def predict(new: Sequence[str]) -> np.ndarray:
            assert not known & set(new)
            return np.zeros((len(new), 2))

        return predict

    made = baselines.as_outcomes([str(n) for n in range(50)], np.zeros((50, 2)))
    halves = _splits.held_out(learner, made, 20, 1)
    assert np.isnan(halves[:, 0]).sum() == 20
    assert not np.isnan(_splits.cross_fitted(learner, made, 5, 1)).any()
    assert [len(known) for known in seen] == [20, *[40] * 5]


def test_area_and_saving_of_known_curves() -> None:
    ends = ([0.0, 1.0], [1.0, 3.0])  # cheapest and best single model: scores, costs
    score, cost = np.array([0.0, 1.0, *ends[0]]), np.array([1.0, 3.0, *ends[1]])
    assert n_models.area(score, cost) == pytest.approx(0.5)
    free = np.array([1.0, 1.0, *ends[1]])
    assert n_models.area(np.array([1.0, 1.0, *ends[0]]), free) == pytest.approx(1.0)
    half = np.array([[0.5, 1.0, *ends[0]]]), np.array([[1.0, 1.5, *ends[1]]])
    assert n_models.trade_off(*half)[1] == pytest.approx(0.5)
