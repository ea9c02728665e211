"""The judge before and after: on the same prompts, figures side by side, and the texts whose verdict changed first."""

import weakref

import pytest

from cookbook_lib.data.judge.prompts import compare_prompt, score_prompt
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.evaluation import held_out_judgements
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.generators import Written
from cookbook_lib.evaluation.held_out_judgements import compare_judges

ASKED = [{"role": "user", "content": "What pet does Ada keep?"}]


class Writer:
    """Says one text to everything."""

    def __init__(self, text: str) -> None:
        self.name, self.text = "writer", text

    def write(self, prompts, seeds, *, temperature, progress=None):
        return [tuple(Written(self.text, finished=True) for _ in own) for own in seeds]


@pytest.fixture
def compared(monkeypatch, tmp_path):
    """compare_judges with judges that say one text each."""
    from cookbook_lib.config import load_config

    def compare(before: str, after: str, tasks, overrides=()):
        texts = {tmp_path / "a": before, tmp_path / "b": after}

        def opened(folder, *, name, keep, scale, **_):
            return GenerativeJudge(Writer(texts[folder]), name=name, keep=keep, scale=scale)

        monkeypatch.setattr(held_out_judgements, "open_generative", opened)
        config = load_config("generative/pointwise", ["smoke"], overrides, environ={})
        return compare_judges(config, tmp_path / "a", tmp_path / "b", tasks)

    return compare


def test_both_are_asked_as_the_run_asked(monkeypatch, tmp_path):
    """A judge that learned to think is not measured with its thinking closed, nor a base under another chat template."""
    from cookbook_lib.config import load_config

    seen = []

    def opened(folder, *, name, keep, thinking, chat_template, scale, **_):
        seen.append((thinking, chat_template, scale))
        return GenerativeJudge(Writer("Score: 4"), name=name, keep=keep)

    monkeypatch.setattr(held_out_judgements, "open_generative", opened)
    asked = {"pairwise": [], "pointwise": ["rollout.thinking=true", "data.chat_template=chatml"]}
    for recipe, overrides in asked.items():
        config = load_config(f"generative/{recipe}", ["smoke"], overrides, environ={})
        compare_judges(config, tmp_path / "a", tmp_path / "b", [scored("An owl.", 4)])
    assert seen == [(False, None, None)] * 2 + [(True, "chatml", (0, 4))] * 2


def test_one_model_at_a_time_is_in_memory(monkeypatch, tmp_path):
    """All that was trained lies beside it, on the same GPU."""
    from cookbook_lib.config import load_config

    writers = []

    def opened(folder, *, name, keep, **_):
        assert [writer for writer in writers if writer() is not None] == []
        writer = Writer("Score: 4")
        writers.append(weakref.ref(writer))
        return GenerativeJudge(writer, name=name, keep=keep)

    monkeypatch.setattr(held_out_judgements, "open_generative", opened)
    config = load_config("generative/pointwise", ["smoke"], [], environ={})
    compare_judges(config, tmp_path / "a", tmp_path / "b", [scored("An owl.", 4)])
    assert [writer() for writer in writers] == [None, None]


def scored(answer: str, truth: int) -> JudgeTask:
    return JudgeTask(score_prompt([*ASKED, {"role": "assistant", "content": answer}]), "score", truth, "test")


def test_scores_before_and_after(compared):
    tasks = [scored("An owl.", 4), scored("A fox.", 1)]
    found = compared("Right.\n\nScore: 4", "Wrong.\n\nScore: 1", tasks)
    rows = {row["measure"]: row for row in found.rows("scores")}
    assert rows["exact"]["before"].startswith("0.500")
    assert rows["exact"]["after"].startswith("0.500")
    assert found.samples(1) == [
        {
            "prompt": "user: What pet does Ada keep?\nresponse: An owl.",
            "before": "Right.\n\nScore: 4",
            "after": "Wrong.\n\nScore: 1",
            "truth": "4",
        }
    ]
    assert found.samples(0) == []


def test_preferences_before_and_after(compared):
    one = JudgeTask(compare_prompt(ASKED, "An owl.", "A fox."), "preference", "A", "test", pair_id="p", order="ab")
    two = JudgeTask(compare_prompt(ASKED, "A fox.", "An owl."), "preference", "B", "test", pair_id="p", order="ba")
    found = compared("Preference: A", "No idea.", [one, two])
    assert {row[""] for row in found.rows()} >= {"preferences", "writing"}
    first, second = found.samples(5)
    assert first["prompt"] == "user: What pet does Ada keep?\nA: An owl.\nB: A fox."
    assert (first["truth"], second["truth"]) == ("A", "B")


def test_scores_are_read_on_the_scale_of_the_run(compared):
    """Five stars of five, which training paid for: right here, too."""
    task = JudgeTask(({"role": "user", "content": "One to five stars. End with Score: N."},), "score", 5, "test")
    found = compared("Score: 6", "Score: 5", [task], ["judge.lowest=1", "judge.highest=5"])
    exact = next(row for row in found.rows("scores") if row["measure"] == "exact")
    assert exact["before"].startswith("0.000") and exact["after"].startswith("1.000")


def test_a_prompt_of_other_words_is_shown_whole(compared):
    task = JudgeTask(({"role": "user", "content": "Rate it. End with Score: N."},), "score", 3, "test")
    assert compared("Score: 3", "Score: 3", [task]).samples(1)[0]["prompt"] == "Rate it. End with Score: N."
