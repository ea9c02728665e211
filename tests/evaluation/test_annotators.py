"""Agreement of annotators, from a Label Studio export to the report of a preparation."""

import json
import runpy
from pathlib import Path

import pytest

from cookbook_lib.data.reward.prepare import RewardJob
from cookbook_lib.evaluation.annotators import annotator_agreement

pytest.importorskip("krippendorff", reason="the extra evaluation is not installed")
ROOT = Path(__file__).resolve().parents[2]


def task(number, **said):
    """said: annotator -> "left", "right", or a pair of ratings."""
    data = {"prompt": f"Question {number}?", "answer1": f"one {number}", "answer2": f"two {number}"}
    annotations = [
        {"id": n, "completed_by": who, "result": results(what), "was_cancelled": False}
        for n, (who, what) in enumerate(said.items())
    ]
    return {"id": number, "data": data, "annotations": annotations}


def results(what):
    if isinstance(what, str):
        return [{"type": "pairwise", "from_name": "pw", "to_name": "pw", "value": {"selected": what}}]
    return [
        {"type": "rating", "from_name": f"answer{n}_rating", "to_name": "x", "value": {"rating": stars}}
        for n, stars in enumerate(what, start=1)
    ]


def job(tmp_path, *tasks, kind=None):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    return RewardJob("label_studio", output=tmp_path / "out", inputs=(str(path),), kind=kind, progress=False)


def test_verdicts_of_two(tmp_path):
    """Eight of ten alike, four and two of them left: kappa by hand."""
    sides = [("left", "left")] * 4 + [("right", "right")] * 4 + [("left", "right")] * 2
    tasks = [task(n, ada=a, ben=b) for n, (a, b) in enumerate(sides)]
    found = annotator_agreement(job(tmp_path, *tasks))
    assert found["raw share"].value == 0.8
    chance = 0.6 * 0.4 + 0.4 * 0.6
    assert found["Cohen, ada and ben"].value == pytest.approx((0.8 - chance) / (1 - chance))
    assert found["Krippendorff"].rows == 10


def test_annotators_come_and_go(tmp_path):
    people = [f"p{n}" for n in range(6)]
    tasks = [task(n, **{people[n % 6]: "left", people[(n + 1) % 6]: "left" if n % 3 else "right"}) for n in range(12)]
    found = annotator_agreement(job(tmp_path, *tasks))
    assert list(found) == ["raw share", "Fleiss", "Krippendorff"], "fifteen pairs of people are too many to look at"
    assert found["raw share"].value == pytest.approx(8 / 12)
    assert found["Fleiss"].value is None and found["Krippendorff"].value is not None


def test_ratings_are_ordered(tmp_path):
    tasks = [task(n, ada=(n % 5, 1), ben=((n + n % 2) % 5, 1)) for n in range(10)]
    found = annotator_agreement(job(tmp_path, *tasks, kind="scores"))
    assert found["Krippendorff"].rows == 20
    assert found["Krippendorff"].value > 0.5


def test_answers_of_one_task_are_not_independent(tmp_path):
    """Two ratings a task, both agreed on or neither: as many draws as tasks."""
    tasks = [task(n, ada=(n % 5, n % 3), ben=((n + n % 2) % 5, (n + n % 2) % 3)) for n in range(12)]
    found = annotator_agreement(job(tmp_path, *tasks, kind="scores"))["raw share"]
    assert found.value == 0.5 and found.rows == 24
    assert found.interval.high - found.interval.low > 0.45, "24 answers of their own would claim 0.4"


def test_one_annotator_has_nobody_to_agree_with(tmp_path):
    assert annotator_agreement(job(tmp_path, task(1, ada="left"), task(2, ben="left"))) == {}


def test_tasks_that_nobody_finished_are_left_out(tmp_path):
    tasks = [task(1, ada="left", ben="left"), task(2, ada="left", ben="right"), task(3)]
    assert annotator_agreement(job(tmp_path, *tasks))["raw share"].rows == 2


def test_the_report_of_a_preparation_says_it(tmp_path, capsys):
    main = runpy.run_path(str(ROOT / "scripts" / "prepare_reward_data.py"))["main"]
    prepared = job(tmp_path, *(task(n, ada="left", ben="left" if n % 4 else "right") for n in range(12)))
    asked = ["--source", "label_studio", "--input", prepared.inputs[0], "--output", str(prepared.output)]
    assert main(asked) == 0
    report = json.loads((prepared.output / "report.json").read_text())
    assert report["agreement"]["raw share"]["value"] == 0.75
    assert report["kept"] == 9
    assert "raw share (12 items)" in capsys.readouterr().out
    plain = tmp_path / "plain"
    assert main(["--source", "embedded", "--limit", "20", "--output", str(plain)]) == 0
    assert "agreement" not in json.loads((plain / "report.json").read_text())
