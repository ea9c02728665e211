"""The data that the project prepares is paid by the reward that is made for it, and only where it is right."""

import re

import pytest

from cookbook_lib.data.char_count import char_count_rows
from cookbook_lib.data.converters import Options
from cookbook_lib.data.converters.registry import converter_named
from cookbook_lib.data.judge.questions import answer_task
from cookbook_lib.training.rewards import Sample
from cookbook_lib.training.rewards.answers import char_count, gsm8k

SOLVED = {"question": "How many?", "answer": "She has 1,200 / 2 = <<1200/2=600>>600.\nIn all 1,800.\n#### 1,800"}


def references(name, rows):
    """Samples whose text is what SFT learns as the answer."""
    conversations = [converter_named(name).convert(row, Options()) for row in rows]
    return [Sample(c.messages[-1]["content"], answer_task(c)) for c in conversations]


def with_other_number(sample):
    text = re.sub(r"\d+(?=\D*$)", lambda last: str(int(last[0]) + 1), sample.text)
    assert text != sample.text
    return Sample(text, sample.task)


@pytest.mark.parametrize(
    ("reward", "name", "rows"),
    [(char_count, "char_count", list(char_count_rows(200))), (gsm8k, "gsm8k", [SOLVED])],
)
def test_a_reference_answer_is_right_and_one_with_another_number_is_not(reward, name, rows):
    samples = references(name, rows)
    assert reward(samples) == [1.0] * len(rows)
    assert reward([with_other_number(sample) for sample in samples]) == [0.0] * len(rows)
