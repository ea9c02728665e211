"""What the builders of reinforcement learning refuse before the first step."""

import pytest
import torch

from cookbook_lib.config import CookbookError, load_config
from cookbook_lib.data.judge.files import write_tasks
from cookbook_lib.data.judge.prompts import score_prompt
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import load_rubric
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.loading import build_model, load_weights
from cookbook_lib.models.token_logps import token_logps
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.training.builders import open_base
from cookbook_lib.training.policy_builders import open_reference, open_tasks
from cookbook_lib.training.recipes import open_recipe

ASKED = ({"role": "user", "content": "Who keeps an owl?"}, {"role": "assistant", "content": "Ada does."})


def config_of(folder, rubric_of_prompts, *overrides):
    task = JudgeTask(score_prompt(ASKED, load_rubric(rubric_of_prompts)), "score", 4, "here", "judge")
    write_tasks(folder / "tasks.parquet", [task])
    return load_config(
        "generative/pointwise", ["smoke"], ["model.partial_pretrain=tiny", *overrides],
        environ={}, train_file=str(folder / "tasks.parquet"), val_file=str(folder / "tasks.parquet"), save_path=str(folder / "run"),
    )  # fmt: skip


def opened(folder, rubric_of_prompts, *overrides):
    config, mesh = config_of(folder, rubric_of_prompts, *overrides), make_mesh(device="cpu")
    return open_tasks(config, open_base(config, mesh), mesh)


def test_a_rubric_that_no_prompt_asks_by_is_refused(tmp_path):
    with pytest.raises(
        CookbookError, match=r"judge\.rubric is correctness, but no prompt of .*tasks\.parquet asks by it"
    ):
        opened(tmp_path, "helpfulness", "judge.rubric=correctness")


def test_the_rubric_of_the_prompts_is_taken(tmp_path):
    assert len(opened(tmp_path, "correctness", "judge.rubric=correctness").train) == 1
    assert len(opened(tmp_path, "correctness").train) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_reference_rests_in_what_it_computes_in(tmp_path, dtype):
    named = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
    own = ["algorithm.use_kl_loss=true", f"model.fsdp_config.model_dtype={named}"]
    config, mesh = config_of(tmp_path, "helpfulness", *own), make_mesh(device="cpu")
    base = open_base(config, mesh)
    reference, plain = open_reference(config, base, mesh), build_model(base.folder, varlen_attention)
    assert {parameter.dtype for parameter in reference.parameters()} == {dtype}
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    shard_model(plain, mesh, layers=plain.layers, compute_dtype=dtype)
    load_weights(plain, base.folder, mesh.device)
    ids, at = torch.arange(5, 25)[None], torch.arange(20)[None]
    with torch.no_grad():
        told, wanted = (
            model(ids, at, (0, 20), lambda h, w: token_logps(h[0], w, ids[0])[0]) for model in (reference, plain)
        )
    assert torch.equal(told, wanted), "as from master weights"


def test_rounds_are_known_by_the_text_of_the_reward_that_paid_them(tmp_path):
    """Edited between two starts, `reward.custom` names the same file; the rounds of the first start are not the second's."""
    file = tmp_path / "mine.py"
    own = ["reward.functions=[custom]", f"reward.custom={file}:paid", "rollout.updates=1"]
    known = []
    for paid in ("0.5", "0.5", "0.25"):
        file.write_text(f"def paid(samples):\n    return [{paid} for sample in samples]\n")
        known.append(open_recipe(config_of(tmp_path, "helpfulness", *own), make_mesh(device="cpu")).loader.settings)
    assert known[0] == known[1] != known[2]


def test_the_own_engine_gets_its_budget_which_no_round_is_known_by(tmp_path):
    few, many = (
        open_recipe(config_of(tmp_path, "helpfulness", *own), make_mesh(device="cpu")).loader
        for own in (["rollout.max_batch_tokens=900"], [])
    )
    assert (few.policy.engine.max_batch_tokens, many.policy.engine.max_batch_tokens) == (900, 65536)
    assert few.settings == many.settings


@pytest.mark.parametrize(("estimator", "by_group"), [("rloo", True), ("gae", False), ("remax", False)])
def test_groups_without_spread_are_counted_where_they_teach_nothing(tmp_path, estimator, by_group):
    run = open_recipe(
        config_of(tmp_path, "helpfulness", f"algorithm.adv_estimator={estimator}"), make_mesh(device="cpu")
    )
    assert run.loader.policy.by_group is by_group


def test_a_thinking_judge_is_prompted_to_think(tmp_path):
    """By a template that knows enable_thinking: else it would always find an empty thought that is closed."""
    ends = [
        first_prompt(tmp_path, "data.chat_template=qwen3", f"rollout.thinking={thinking}")
        for thinking in ("false", "true")
    ]
    assert ends[0].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert ends[1].endswith("<|im_start|>assistant\n")


def first_prompt(folder, *overrides):
    """The first prompt of the run, as text."""
    config, mesh = config_of(folder, "helpfulness", *overrides), make_mesh(device="cpu")
    base = open_base(config, mesh)
    return base.tokenizer.decode(open_tasks(config, base, mesh).train[0].ids)
