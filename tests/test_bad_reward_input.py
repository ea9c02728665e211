"""Kinds of bad input for reward models, each through the builder that meets it: one sentence, and a way out.

Those of command lines are in test_bad_reward_commands.py, of each row in data/reward/, of requests in evaluation/test_server.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.score_model import ScoringModel
from tests.reward_setup import ANSWERED, ASKED, PAIR, SCORED, Setup, World, open_world

LONG = {**PAIR, "prompt": "x " * 400}
FIVE = {"id2label": {str(n): f"level {n}" for n in range(5)}, "label2id": {f"level {n}": n for n in range(5)}}

# The data of a run: how it comes about, and what a person reads of it.
DATA: dict[str, tuple[Callable[[Setup], Any], str]] = {
    "identical answers": (
        lambda s: s.pairs(s.file({**PAIR, "rejected": "yes"})),
        "row 1: rejected is 'yes', but the two answers of a pair differ; drop the pair",
    ),
    "empty chosen": (
        lambda s: s.pairs(s.file({**PAIR, "chosen": " "})),
        "row 1: chosen is ' ', but an answer is not empty; drop",
    ),
    "null chosen": (
        lambda s: s.pairs(s.file({**PAIR, "chosen": None})),
        "row 1: chosen is None, but an answer is text.*; drop",
    ),
    "contexts that differ": (
        lambda s: s.pairs(s.file({"chosen": [ASKED, ANSWERED], "rejected": [{**ASKED, "content": "z"}, ANSWERED]})),
        "context of rejected is 'turn 1', but both answers must continue the same conversation; drop the pair",
    ),
    "a prompt that is answered": (
        lambda s: s.pairs(s.file({**PAIR, "prompt": [ASKED, ANSWERED]})),
        r"prompt\[1\].role is 'assistant', but a prompt ends with what is to be answered.*move the assistant's",
    ),
    "negative margin": (
        lambda s: s.pairs(s.file({**PAIR, "margin": -1})),
        "margin is -1.0, but a margin is 0 or more, and finite; swap the answers",
    ),
    "a tie that is neither": (
        lambda s: s.pairs(s.file({**PAIR, "tie": "maybe"})),
        "tie is 'maybe', but it is true or false; correct the column",
    ),
    "no such columns": (
        lambda s: s.pairs(s.table()),
        r"row 1: chosen is missing, .*\(columns here: text\); name the column in chosen_key",
    ),
    "wrong chosen_key": (
        lambda s: s.pairs(s.file(PAIR), "data.chosen_key=best"),
        r"best is missing, .*\(columns here: chosen, prompt, rejected\); name the column in chosen_key",
    ),
    "pairs for scores": (lambda s: s.scores(s.file(PAIR)), "response is missing, .*name the column in response_key"),
    "empty file": (lambda s: s.pairs(s.file()), "jsonl has no rows; give a file with at least one"),
    "no file": (lambda s: s.pairs(s.folder / "gone.parquet"), "no file or folder .*gone.parquet; check the path"),
    "too long, error": (
        lambda s: s.pairs(s.file(LONG), "data.max_length=64", "data.truncation=error"),
        "row 1: the prompt with its longest answer has .* tokens, max_length is 64, and truncation is error; raise data.max_length",
    ),
    "all too long, drop": (
        lambda s: s.pairs(s.file(LONG), "data.max_length=64", "data.truncation=drop"),
        "no row of .* can be learned from .*max_length is 64, and truncation is drop; raise data.max_length",
    ),
    "all too long, turns": (
        lambda s: s.pairs(s.file(LONG), "data.max_length=64"),
        "no row of .* can be learned from .*its last turn alone does not fit; raise data.max_length",
    ),
    "margins that are not there": (
        lambda s: s.pairs(s.file(PAIR), "bradley_terry.use_margin=true"),
        "no pair says how much better .*use_margin is true: set it to false, or give pairs with a margin",
    ),
    "scores out of range": (
        lambda s: s.scores(s.file(SCORED, {**SCORED, "score": 7})),
        "'score' is outside 0 to 4 in 1 of 2 rows, 7 for one: set pointwise.lowest and pointwise.highest",
    ),
    "scores between levels": (
        lambda s: s.scores(s.file(SCORED, {**SCORED, "score": 2.5}), "pointwise.loss=ordinal"),
        "'score' is no whole number in 1 of 2 rows, 2.5 for one, .*: use mse or huber, or round the scores",
    ),
    "a score that is text": (
        lambda s: s.scores(s.file({**SCORED, "score": "good"})),
        "score is 'good', .*number; write 3 or 3.0",
    ),
    "unknown attribute": (
        lambda s: s.scores(s.file(SCORED), "pointwise.attributes=[charm]"),
        r"charm is missing, .*named as an attribute \(columns here: prompt, response, score\); correct the attributes",
    ),
    "an attribute without values": (
        lambda s: s.scores(s.file({**SCORED, "tone": None}), "pointwise.attributes=[score,tone]"),
        "no row has a value of 'tone': name other pointwise.attributes",
    ),
}

# Its values, its model, its place:
RUNS: dict[str, tuple[Callable[[Setup], Any], str]] = {
    "micro batch of one": (
        lambda s: s.config("bradley_terry", "data.micro_batch_size=1"),
        "micro_batch_size is 1, but must be at least 2 in recipe bradley_terry: both answers",
    ),
    "shared prompts in padded rows": (
        lambda s: s.config("bradley_terry", "data.share_prompts=true", "use_remove_padding=false"),
        "share_prompts is true, but use_remove_padding is false, .*change one of the two",
    ),
    "accuracy of scores": (
        lambda s: s.config("pointwise", "trainer.best_metric=val/accuracy"),
        "best_metric is val/accuracy, but only bradley_terry .* accuracy; set val/loss",
    ),
    "accuracy of nothing": (
        lambda s: s.config("bradley_terry", "trainer.best_metric=val/accuracy"),
        "best_metric is val/accuracy, but there is no validation data .*; set data.val_files",
    ),
    "an answer cut": (
        lambda s: s.config("bradley_terry", "data.truncation=right"),
        "truncation is right, but must be one of turns, drop, error in recipe bradley_terry, which never cuts an answer",
    ),
    "smoothed over": (
        lambda s: s.config("bradley_terry", "bradley_terry.label_smoothing=0.6"),
        "label_smoothing is 0.6, but must be from 0 up to, not including, 0.5",
    ),
    "a margin's scale without margins": (
        lambda s: s.config("bradley_terry", "bradley_terry.margin_scale=2"),
        "margin_scale has no effect while bradley_terry.use_margin is false; set it true, or remove",
    ),
    "a scale upside down": (
        lambda s: s.config("pointwise", "pointwise.lowest=5"),
        "pointwise.highest is 4, but must be above pointwise.lowest, which is 5",
    ),
    "unknown loss": (
        lambda s: s.config("pointwise", "pointwise.loss=bce"),
        "loss is 'bce', but must be one of mse, huber,",
    ),
    "no such model": (
        lambda s: s.model("bradley_terry", s.folder / "gone"),
        "gone, which is no folder; name one, a hub name",
    ),
    "a reward model for SFT": (
        lambda s: s.model("sft", s.rewarding),
        r"bt-final is a reward model \(\w+\), not a language model: give the SFT or base model",
    ),
    "another head": (
        lambda s: s.model("pointwise", s.rewarding),
        "has the head scalar with outputs score, the recipe wants the head regression .*: start from a language model",
    ),
    "num_labels that differ": (
        lambda s: s.model("bradley_terry", s.copy(**FIVE)),
        "config.json has 5 labels, and its score_head has 1: restore the config.json",
    ),
    "num_labels of other weights": (
        lambda s: ScoringModel(s.copy(**FIVE, score_head=None)),
        r"weight score.weight has shape \(1, \d+\), the model's config.json says \(5, \d+\): weights and config are of different",
    ),
    "a model without tokenizer": (
        lambda s: ScoringModel(s.copy("token*")),
        "holds no tokenizer, or one without words: save the tokenizer beside the model",
    ),
    "a model without weights": (
        lambda s: ScoringModel(s.copy("*.safetensors")),
        "holds no weights .*: give the whole model",
    ),
    "a causal checkpoint": (
        lambda s: ScoringModel(s.base.folder),
        "is no reward model .*: give a trained one, or train one from it with the recipe bradley_terry or pointwise",
    ),
    "a config.json that is no JSON": (
        lambda s: ScoringModel(s.broken('{"architectures": [')),
        r"config.json is no JSON \(.*\): copy it anew from where the model is from",
    ),
    "a config.json that is no object": (
        lambda s: ScoringModel(s.broken("[1, 2]")),
        r"config.json is \[1, 2\], not a JSON object: copy it anew",
    ),
    "a base whose config.json is no JSON": (
        lambda s: s.model("bradley_terry", s.broken("{")),
        r"config.json is no JSON \(.*\): copy it anew",
    ),
    "a base of an unknown kind": (
        lambda s: s.model("bradley_terry", s.copy(model_type="qwen99")),
        "transformers opens no model of type 'qwen99' .*: use another",
    ),
    "unknown device": (
        lambda s: ScoringModel(s.rewarding, device="tpu"),
        "device is 'tpu'; it must be auto, cpu, cuda",
    ),
    "unknown dtype": (
        lambda s: ScoringModel(s.rewarding, dtype="fp8"),
        "dtype is 'fp8'; it must be auto, fp32 or bf16",
    ),
    "nothing to score": (
        lambda s: ScoringModel(s.rewarding).score([[ASKED]]),
        "conversation 0: .*'user', but what is scored is the assistant's answer; end the conversation with it",
    ),
    "save path that cannot be written": (
        lambda s: s.run(f"trainer.default_local_dir={s.file()}"),
        "jsonl cannot be written .*: give a folder that you may write to",
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("reward")) as opened:
        yield opened


@pytest.fixture
def setup(world: World, tmp_path: Path) -> Setup:
    return Setup(*world, tmp_path)


@pytest.mark.parametrize("kind", [*DATA, *RUNS])
def test_bad_input_is_refused_in_one_sentence(kind: str, setup: Setup) -> None:
    provoke, sentence = (DATA | RUNS)[kind]
    with pytest.raises(CookbookError, match=sentence) as error:
        provoke(setup)
    assert "\n" not in str(error.value)


def test_a_gpu_that_is_not_there(setup: Setup) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CookbookError, match="device is cuda, but torch sees no CUDA devices; use cpu"):
        ScoringModel(setup.rewarding, device="cuda")


def test_a_bad_row_does_not_stop_the_rest(setup: Setup) -> None:
    same = {**PAIR, "rejected": "yes"}
    data = setup.pairs(setup.file(PAIR, "{nope", same, {**PAIR, "prompt": "who?"}))
    assert len(data.train) == 2
    assert sum(data.train.dropped.values()) == 2
