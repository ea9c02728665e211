"""Keys of reinforcement learning and of DPO: what follows from what, and what contradicts what."""

from pathlib import Path

import pytest

from cookbook_lib.config import Config, CookbookError, load_config
from cookbook_lib.config.policy_rules import policy_notes

POINTS, PAIRS = "generative_pointwise", "generative_pairwise"


@pytest.fixture
def load(tmp_path: Path):
    """A config of a recipe that says nothing but its name, under overrides."""

    def load(recipe: str, *overrides: str, text: str = "") -> Config:
        (tmp_path / "trainer.yaml").write_text(f"recipe: {recipe}\n{text}")
        return load_config(tmp_path, overrides=overrides, environ={})

    return load


def algorithm(**values) -> list[str]:
    return [f"algorithm.{name}={value}" for name, value in values.items()]


def test_values_of_every_section(load, tmp_path):
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "rubric.yaml").write_text("")
    text = """
    algorithm: {adv_estimator: gae, lam: 0.95, gamma: 0.99, clip_ratio_high: 0.28, clip_ratio_c: null, tis_cap: 2}
    rollout: {n: 1, top_k: 50, max_new_tokens: 100, updates: 4}
    reward: {functions: [exact, custom], weights: [1, 0.5], custom: ./mine.py:brief, overlong_buffer: 20}
    judge: {rubric: ./rubric.yaml, lowest: 1, highest: 10}
    """.replace("\n    ", "\n")
    config = load(POINTS, text=text)
    a, r = config.algorithm, config.reward
    assert (a.adv_estimator, a.lam, a.gamma, a.clip_ratio_high, a.clip_ratio_c, a.tis_cap) == (
        "gae",
        0.95,
        0.99,
        0.28,
        None,
        2,
    )
    assert (config.rollout.n, config.rollout.top_k, config.rollout.updates) == (1, 50, 4)
    assert (r.functions, r.weights, r.custom) == (["exact", "custom"], [1.0, 0.5], f"{tmp_path}/mine.py:brief")
    assert (config.judge.rubric, config.judge.lowest, config.judge.highest) == (f"{tmp_path}/rubric.yaml", 1, 10)


def test_a_rubric_is_a_file_or_a_name(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yml").write_text("")
    assert load(POINTS, "judge.rubric=full").judge.rubric == "full"
    assert load(POINTS, "judge.rubric=mine.yml").judge.rubric == f"{tmp_path}/mine.yml"


def test_what_dr_grpo_is_made_of_follows(load):
    config = load(POINTS, "algorithm.adv_estimator=dr_grpo")
    assert config.algorithm.loss_agg_mode == "seq-mean-token-sum-norm"
    assert config.algorithm.norm_adv_by_std_in_grpo is False
    assert config.origins["algorithm.loss_agg_mode"] == "follows from algorithm.adv_estimator=dr_grpo"


def test_what_gspo_is_made_of_follows(load):
    assert load(POINTS, "algorithm.policy_loss=gspo").algorithm.loss_agg_mode == "seq-mean-token-mean"
    assert load(POINTS, "algorithm.policy_loss=cispo").algorithm.loss_agg_mode == "token-mean"


@pytest.mark.parametrize("estimator", ["reinforce_plus_plus", "remax", "gae"])
def test_estimators_without_groups_filter_none(load, estimator):
    config = load(POINTS, f"algorithm.adv_estimator={estimator}", "rollout.n=1")
    assert config.algorithm.filter_groups is False


@pytest.mark.parametrize("estimator", ["grpo", "dr_grpo", "rloo", "reinforce_plus_plus_baseline"])
def test_estimators_with_groups_need_two_and_filter(load, estimator):
    assert load(POINTS, f"algorithm.adv_estimator={estimator}").algorithm.filter_groups is True
    with pytest.raises(
        CookbookError, match=rf"rollout\.n is 1, but {estimator} measures a completion against the others"
    ):
        load(POINTS, f"algorithm.adv_estimator={estimator}", "rollout.n=1")


def test_the_seed_s_way_to_spell_dr_grpo(load):
    loss = algorithm(norm_adv_by_std_in_grpo="false", loss_agg_mode="seq-mean-token-sum-norm", use_kl_loss="false")
    assert load(POINTS, *loss).algorithm.adv_estimator == "grpo"


@pytest.mark.parametrize(
    ("recipe", "overrides", "sentence"),
    [
        (POINTS, "algorithm.kl_loss_coef=0.1", "algorithm.kl_loss_coef has no effect while algorithm.use_kl_loss is false"),
        (POINTS, "algorithm.kl_loss_type=k1", "algorithm.kl_loss_type has no effect while algorithm.use_kl_loss is false"),
        (POINTS, "algorithm.kl_coef=0.1", "algorithm.kl_coef has no effect while algorithm.use_kl_in_reward is false"),
        (POINTS, "algorithm.use_kl_loss=true algorithm.use_kl_in_reward=true", "the distance counts once, keep one of the two"),
        (POINTS, "algorithm.kl_loss_type=k4", "must be one of k1, k2, k3, k1+, k2+, k3+"),
        (POINTS, "algorithm.adv_estimator=ppo", "must be one of grpo, dr_grpo, rloo"),
        (POINTS, "algorithm.lam=0.9", "has no effect with algorithm.adv_estimator=grpo, which has no critic"),
        (POINTS, "algorithm.vf_coef=0.5", "has no effect with algorithm.adv_estimator=grpo, which has no critic"),
        (POINTS, "algorithm.gamma=0.9", "algorithm.gamma has no effect with algorithm.adv_estimator=grpo"),
        (POINTS, "algorithm.adv_estimator=gae algorithm.vf_coef=0", "must be above 0 (without it the critic learns nothing)"),
        (POINTS, "algorithm.adv_estimator=gae algorithm.filter_groups=true", "gae learns from a group whose completions"),
        (POINTS, "algorithm.adv_estimator=rloo algorithm.norm_adv_by_std_in_grpo=false", "has no effect with algorithm.adv_estimator=rloo"),
        (POINTS, "algorithm.adv_estimator=dr_grpo algorithm.norm_adv_by_std_in_grpo=true", "but dr_grpo is grpo without it"),
        (POINTS, "algorithm.adv_estimator=dr_grpo algorithm.loss_agg_mode=token-mean", "=dr_grpo is defined with seq-mean-token-sum-norm"),
        (POINTS, "algorithm.policy_loss=gspo algorithm.loss_agg_mode=token-mean", "policy_loss=gspo is defined with seq-mean-token-mean"),
        (POINTS, "algorithm.policy_loss=gspo algorithm.adv_estimator=dr_grpo", "=dr_grpo is defined with seq-mean-token-sum-norm"),
        (POINTS, "algorithm.policy_loss=cispo algorithm.clip_ratio_c=10", "clip_ratio_c has no effect on the cispo loss"),
        (POINTS, "algorithm.clip_ratio_c=1", "must be above 1, and finite"),
        (POINTS, "algorithm.clip_ratio_low=1.5", "must be above 0 and at most 1"),
        (POINTS, "algorithm.filter_groups=false algorithm.max_num_gen_batches=4", "has no effect while algorithm.filter_groups is false"),
        (POINTS, "algorithm.tis_cap=0.5", "must be at least 1, and finite"),
        (POINTS, "rollout.temperature=0", "must be above 0 (a greedy group is one answer n times)"),
        (POINTS, "rollout.top_k=0", "must be -1 (all) or at least 2"),
        (POINTS, "rollout.top_k=1", "must be -1 (all) or at least 2 (a greedy group is one answer n times)"),
        (POINTS, "rollout.updates=7", "rollout.updates is 7, which does not divide data.train_batch_size=96 prompts"),
        (POINTS, "rollout.max_new_tokens=100 data.max_length=100", "of which rollout.max_new_tokens=100 leave no prompt"),
        (POINTS, "rollout.val_n=4", "greedy completions of one prompt are all the same"),
        (POINTS, "rollout.val_n=4 data.val_files=null", "rollout.val_n has no effect without validation data; set data.val_files"),
        (PAIRS, "rollout.val_temperature=0.7 data.val_files=null", "rollout.val_temperature has no effect without validation data"),
        (POINTS, "rollout.engine=vllm trainer.device=cpu", "is vllm, which needs CUDA, and trainer.device is cpu"),
        (POINTS, "rollout.engine=sglang", "must be one of own, vllm"),
        (POINTS, "rollout.max_batch_tokens=0", "rollout.max_batch_tokens is 0, but must be at least 1"),
        (POINTS, "rollout.gpu_memory_utilization=0.6", "has no effect while rollout.engine is own"),
        (POINTS, "rollout.n=0", "rollout.n is 0, but must be at least 1"),
        (POINTS, "reward.functions=[correct]", "names correct, which judges verdicts on two answers; generative_pointwise has none"),
        (PAIRS, "reward.functions=[distance]", "names distance, which judges verdicts on a score; generative_pairwise has none"),
        (POINTS, "reward.functions=[]", "must be at least one name, and each once"),
        (POINTS, "reward.functions=[exact,exact]", "must be at least one name, and each once"),
        (POINTS, "reward.functions=[exakt]", "must be a list of exact, distance, exponential"),
        (POINTS, "reward.weights=[1,2]", "has 2 numbers, and reward.functions 1 names (distance)"),
        (POINTS, "reward.weights=[0]", "must be numbers above 0, and finite"),
        (POINTS, "reward.weights=[.nan]", "must be numbers above 0, and finite"),
        (POINTS, "reward.weights=[much]", "must be a list of numbers"),
        (POINTS, "reward.functions=[custom]", "names custom, but reward.custom is null"),
        (POINTS, "reward.custom=./mine.py:f", "has no effect, because custom is not among reward.functions"),
        (POINTS, "reward.functions=[custom] reward.custom=./mine.py", "must be a file and a function in it: FILE.py:FUNCTION"),
        (POINTS, "reward.functions=[custom] reward.custom=/nowhere/mine.py:f", "there is no file /nowhere/mine.py"),
        (POINTS, "reward.combine=normalise", "which is between several rewards, and there is one"),
        (
            POINTS,
            "reward.functions=[distance,format] reward.combine=normalise algorithm.adv_estimator=remax",
            "remax measures against one greedy answer",
        ),
        (
            POINTS,
            "reward.functions=[distance,format] reward.combine=normalise algorithm.adv_estimator=reinforce_plus_plus rollout.n=1",
            "is normalise, but rollout.n=1 completion is no group to be normalised in; set sum, or at least n=2",
        ),
        (
            POINTS,
            "reward.functions=[distance,format] reward.combine=normalise algorithm.adv_estimator=gae",
            "the critic learns normalised rewards, and one answer (rollout.val_n=1) has none to be validated by; set sum",
        ),
        (POINTS, "reward.overlong_penalty=2", "has no effect while reward.overlong_buffer is 0"),
        (POINTS, "reward.overlong_buffer=600", "must be at most rollout.max_new_tokens, which is 512"),
        (POINTS, "judge.lowest=4", "judge.highest is 4, but must be above judge.lowest, which is 4"),
        (PAIRS, "judge.lowest=1", "judge.lowest has no effect in recipe generative_pairwise (its verdicts are no scores); remove it"),
        (PAIRS, "judge.highest=-1", "judge.highest has no effect in recipe generative_pairwise"),
        (POINTS, "judge.highest=9 reward.functions=[gsm8k]", "judge.highest has no effect with gsm8k among reward.functions"),
        (POINTS, "judge.lowest=1 reward.functions=[format,tool_call]", "has no effect with tool_call among reward.functions"),
        (POINTS, "judge.rubric=/nowhere.yaml", "there is no such file"),
        ("dpo", "dpo.loss=ipo dpo.label_smoothing=0.1", "dpo.label_smoothing has no effect on the ipo loss"),
        ("dpo", "dpo.beta=0", "dpo.beta is 0.0, but must be above 0"),
        ("dpo", "dpo.label_smoothing=0.5", "must be from 0 up to, not including, 0.5"),
    ],
)  # fmt: skip
def test_refused_in_a_sentence(load, recipe, overrides, sentence):
    with pytest.raises(CookbookError) as error:
        load(recipe, *overrides.split())
    assert sentence in str(error.value)
    assert "problems in the configuration" not in str(error.value), "more than one sentence for one mistake"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ("algorithm.clip_ratio_high=0.28", "(algorithm.clip_ratio_high)"),
        ("algorithm.adv_estimator=gae algorithm.cliprange_value=1", "(algorithm.cliprange_value)"),
        (
            "algorithm.clip_ratio_low=0.1 algorithm.clip_ratio_c=null",
            "(algorithm.clip_ratio_low, algorithm.clip_ratio_c)",
        ),
    ],
)
def test_a_clip_that_is_never_reached_is_noted(load, overrides, named):
    """And not refused: verl's scripts set it whatever their mini-batches are."""
    (note,) = policy_notes(load(POINTS, *overrides.split(), "rollout.updates=1"))
    assert note.endswith(named)
    assert not list(policy_notes(load(POINTS, *overrides.split(), "rollout.updates=2")))


def test_the_usual_clip_and_the_recipe_s_own_are_not_noted(load):
    """The recipe's is for the recipe's number of updates, which a rehearsal lowers."""
    assert not list(policy_notes(load(POINTS, "rollout.updates=1")))
    assert not list(policy_notes(load("sft")))
    own = "algorithm: {clip_ratio_high: 0.28}\n"
    assert not list(policy_notes(load(POINTS, "rollout.updates=1", text=own)))
    (note,) = policy_notes(load(POINTS, "rollout.updates=1", "algorithm.clip_ratio_low=0.1", text=own))
    assert note.endswith("(algorithm.clip_ratio_low)")


def test_vllm_must_be_installed(load, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CookbookError, match="is vllm, but vllm is not installed; pip install vllm, or set own"):
        load(POINTS, "rollout.engine=vllm")


def test_vllm_has_no_use_for_the_own_engine_s_budget(load, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    told = "rollout.max_batch_tokens has no effect while rollout.engine is vllm; remove it, or set rollout.engine=own"
    with pytest.raises(CookbookError, match=told):
        load(POINTS, "rollout.engine=vllm", "rollout.max_batch_tokens=9")


def test_two_rewards_may_be_normalised(load):
    assert load(POINTS, "reward.functions=[distance,format]", "reward.combine=normalise").reward.weights == []
    assert load(POINTS, "reward.combine=normalise", "reward.overlong_buffer=9").reward.combine == "normalise"


@pytest.mark.parametrize("seen", ["data.val_files=null", "rollout.val_n=4 rollout.val_temperature=1"])
def test_a_critic_may_learn_normalised_rewards_where_validation_has_groups_or_is_none(load, seen):
    own = ("reward.functions=[distance,format]", "reward.combine=normalise", "algorithm.adv_estimator=gae")
    assert load(POINTS, *own, *seen.split()).reward.combine == "normalise"


@pytest.mark.parametrize("names", ["exact", "distance", "exponential", "format", "distance,format"])
def test_a_scale_for_those_that_read_it(load, names):
    assert load(POINTS, f"reward.functions=[{names}]", "judge.highest=9").judge.highest == 9


@pytest.mark.parametrize("name", ["gsm8k", "exact_match", "tool_call", "char_count"])
def test_the_shipped_scale_beside_a_reward_that_reads_none(name):
    """cookbook/generative/pointwise/trainer.yaml writes the usual scale out; its README says reward.functions=[gsm8k]."""
    config = load_config("generative/pointwise", overrides=[f"reward.functions=[{name}]"], environ={})
    assert (config.judge.lowest, config.judge.highest) == (0, 4)


def test_a_custom_function_may_pay_scores_that_evaluation_reads(load, tmp_path):
    (tmp_path / "mine.py").write_text("")
    custom = ("reward.functions=[custom]", f"reward.custom={tmp_path}/mine.py:paid")
    assert load(POINTS, *custom, "judge.highest=9").judge.highest == 9
