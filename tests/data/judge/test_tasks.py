"""Tasks as tokens: rendered once, never cut, both orders together, and what is left out is counted."""

from dataclasses import replace

import numpy as np
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.files import write_tasks
from cookbook_lib.data.judge.questions import preference_tasks, score_task
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import load_rubric
from cookbook_lib.data.judge.tasks import both_orders, tokenize_tasks
from cookbook_lib.data.prompt import prompt_ids
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse

ASKED = ({"role": "user", "content": "Hi"},)


def scores(*lengths):
    return [score_task(ScoredResponse(ASKED, "x " * n, {"score": 3}), load_rubric()) for n in lengths]


def pairs(*lengths):
    made = [preference_tasks(PreferencePair(ASKED, "good " * n, "bad"), load_rubric()) for n in lengths]
    return [task for both in made for task in both]


@pytest.fixture
def tokenizer(shared_tokenizer):
    return shared_tokenizer("chatml")


def test_prompts_are_what_generation_starts_from(tokenizer):
    tasks = scores(1, 50) + pairs(3)
    made = tokenize_tasks(tasks, tokenizer, max_prompt_length=4096)
    assert [made[i].task for i in range(len(made))] == tasks
    for item in made.items:
        assert item.ids.dtype == np.int32
        assert item.ids.tolist() == prompt_ids(item.task.prompt, tokenizer)
        assert tokenizer.decode(item.ids).endswith("to 4>" + "<|im_end|>\n<|im_start|>assistant\n") or item.task.pair_id
    assert made.lengths.tolist() == [len(item.ids) for item in made.items]
    assert made.largest_id == max(item.ids.max() for item in made.items)
    assert made.partners == (None, None, 3, 2)
    assert made.dropped == {}


def test_what_is_too_long_when_rendered_is_left_out_and_counted(tokenizer):
    tasks = scores(1, 500) + pairs(3, 500)
    whole = tokenize_tasks(tasks, tokenizer, max_prompt_length=10**6)
    limit = int(whole.lengths[0])  # exactly as long as allowed
    limit = max(limit, int(whole.lengths[2:4].max()))
    made = tokenize_tasks(tasks, tokenizer, max_prompt_length=limit)
    assert [item.task for item in made.items] == [tasks[0], tasks[2], tasks[3]]
    assert made.dropped == {"too_long": 3}  # one score, both orders of one pair
    assert "3 dropped: too_long" in made.report()
    assert f"at most {limit:,} are allowed; raise data.max_prompt_length [too_long]" in made.report()
    with pytest.raises(
        CookbookError, match=r"no prompt of the tasks given can be used \(6 x too_long\); the first: the prompt has"
    ):
        tokenize_tasks(tasks, tokenizer, max_prompt_length=8)


def test_one_order_does_not_stay_without_the_other(tokenizer):
    """Orders differ by a token or so: where the limit falls between them, neither is kept."""
    forth, back = pairs(3)
    back = replace(back, prompt=({**back.prompt[0], "content": back.prompt[0]["content"] + " and more"},))
    lengths = tokenize_tasks([forth, back], tokenizer, max_prompt_length=10**6).lengths
    made = tokenize_tasks(
        [JudgeTask(ASKED, "answer", "x", "s"), forth, back], tokenizer, max_prompt_length=int(lengths[0])
    )
    assert made.dropped == {"too_long": 2}


def test_nor_where_the_file_was_shuffled(tokenizer):
    """Between the two orders of one pair stand others, and the order of the rows stays."""
    (forth, back), (one, other) = pairs(500), pairs(3)
    whole = tokenize_tasks([forth, one, back, other], tokenizer, max_prompt_length=10**6)
    assert [item.task for item in whole.items] == [forth, one, back, other] and whole.partners == (2, 3, 0, 1)
    longer = replace(back, prompt=({**back.prompt[0], "content": back.prompt[0]["content"] + " and more"},))
    between = tokenize_tasks([forth, one, longer, other], tokenizer, max_prompt_length=int(whole.lengths[0]))
    assert [item.task for item in between.items] == [one, other], "one token too many in one order"


def test_a_pair_that_is_there_twice_is_two_pairs(tokenizer):
    made = tokenize_tasks(pairs(3) * 2, tokenizer, max_prompt_length=10**6)
    assert made.partners == (1, 0, 3, 2)


def test_files_limits_progress_and_fingerprints(tokenizer, tmp_path):
    path = tmp_path / "a.parquet"
    write_tasks(path, scores(1, 2) + pairs(1))
    seen = []
    made = tokenize_tasks(path, tokenizer, max_prompt_length=4096, progress=seen.append)
    assert (len(made), sum(seen)) == (4, 4)
    again = tokenize_tasks([str(path)], tokenizer, max_prompt_length=4096)
    assert again.fingerprint == made.fingerprint
    fewer = tokenize_tasks(path, tokenizer, max_prompt_length=4096, limit=3)
    assert len(fewer) == 2, "half a pair is not asked"
    assert fewer.partners == (None, None)
    assert "half a pair at the limit" in fewer.report() and "the other order of its pair is beyond" in fewer.report()
    assert fewer.fingerprint != made.fingerprint
    assert tokenize_tasks(path, tokenizer, max_prompt_length=4095).fingerprint != made.fingerprint
    assert tokenize_tasks(scores(1, 2) + pairs(1), tokenizer, max_prompt_length=4096, limit=3).dropped == fewer.dropped
    with pytest.raises(
        CookbookError, match=r"can be used \(1 x half a pair at the limit\); .* make data.train_max_samples"
    ):
        tokenize_tasks(pairs(1), tokenizer, max_prompt_length=4096, limit=1)
    with pytest.raises(CookbookError, match="there is no task in the tasks given; give at least one"):
        tokenize_tasks([], tokenizer, max_prompt_length=8)


def test_rows_of_files_that_cannot_be_used_are_counted(tokenizer, tmp_path):
    path = tmp_path / "a.jsonl"
    write_tasks(path, scores(1, 2))
    path.write_text(path.read_text() + '{"prompt": "Hi"}\n')
    made = tokenize_tasks(path, tokenizer, max_prompt_length=4096)
    assert len(made) == 2
    assert list(made.dropped.values()) == [1]
    assert "a.jsonl row 3: reward_model is missing, but" in made.report()


def test_thinking_is_prompted_for_where_it_is_wanted(shared_tokenizer):
    thinker = shared_tokenizer("qwen3")
    plain, thinking = (
        tokenize_tasks(scores(1), thinker, max_prompt_length=4096, thinking=choice)[0].ids.tolist()
        for choice in (False, True)
    )
    assert plain == prompt_ids(scores(1)[0].prompt, thinker)
    assert thinking == prompt_ids(scores(1)[0].prompt, thinker, thinking=True)


def test_both_orders_stand_together():
    one, two = pairs(1), pairs(2)
    answer = JudgeTask(ASKED, "answer", "x", "s")
    grouped = list(both_orders([*one, *two, answer, answer, one[0]]))
    assert [len(members) for members in grouped] == [2, 2, 1, 1, 1]
