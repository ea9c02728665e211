"""What a model answers when it is asked, and whether that is right.

    messages   system  user  assistant  user | assistant          the last answer is the one asked for,
               \\_________ prompt _________/   \\_ reference        everything before it is the prompt

Right is checkable where the data states the answer (Conversation.answer), or the reference ends as GSM8K's do, `#### 72`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.answers import thoughts
from cookbook_lib.data.prompt import prompt_ids, stop_ids
from cookbook_lib.data.records import Conversation
from cookbook_lib.data.truth import states_answer
from cookbook_lib.data.written import texts_of
from cookbook_lib.models.generate import generate

FINAL = re.compile(r"^#### *(\S.*?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Question:
    """One row as an exam: what is asked, what the data answers, what a right answer states (None: not checkable)."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] | None
    reference: str
    expected: str | None
    thinking: bool  # whether the data thinks before it answers


@dataclass(frozen=True)
class Answer:
    """`right` is None where nobody can tell; `finished` False when the answer was cut at max_new_tokens."""

    text: str
    right: bool | None
    finished: bool


def question_of(conversation: Conversation) -> Question | None:
    """The question that a conversation's last answer answers; None when there is none or nothing comes before it."""
    places = [i for i, message in enumerate(conversation.messages) if message["role"] == "assistant"]
    if not places or places[-1] == 0 or conversation.messages[places[-1] - 1]["role"] == "assistant":
        return None
    reference = conversation.messages[places[-1]].get("content") or ""
    stated = FINAL.findall(reference)
    expected = conversation.answer or (stated[-1].replace(",", "") if stated else None)
    thinking = bool(thoughts(conversation.messages[places[-1]]))
    return Question(conversation.messages[: places[-1]], conversation.tools, reference, expected, thinking)


def ask(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], object] | None = None,
) -> list[Answer]:
    """The model's answers, in the order of the questions; `generate` has the options."""
    completions = generate(
        model,
        [prompt_ids(q.messages, tokenizer, q.tools, thinking=q.thinking) for q in questions],
        stop_ids=stop_ids(tokenizer),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    texts = texts_of(tokenizer, (completion.ids for completion in completions))
    return [
        Answer(text, None if question.expected is None else states_answer(text, question.expected), completion.finished)
        for text, question, completion in zip(texts, questions, completions, strict=True)
    ]
