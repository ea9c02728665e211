"""Keys of the recipes that learn from comparisons of their own answers: reinforcement learning, and DPO.

    a round      data.train_batch_size prompts -> rollout.n completions of each -> reward -> advantage
    its updates  rollout.updates optimizer steps, each on its share of the round's prompts

    algorithm: ...   AlgorithmConfig   training/advantages, training/objectives/policy_gradient
    rollout: ...     RolloutConfig     training/rollouts
    reward: ...      RewardConfig      training/rewards
    judge: ...       JudgeConfig       data/judge
    dpo: ...         DpoConfig         training/objectives/dpo

The letters are those of the papers and the names those of verl, whose longer spellings are accepted as well
(`verl_names.py`). What contradicts what is in `policy_rules.py`.
"""

from dataclasses import dataclass, field
from typing import Literal

from cookbook_lib.config.recipes import but, only

Estimator = Literal[
    "grpo", "dr_grpo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "remax", "gae"
]  # fmt: skip
RewardName = Literal[
    "exact", "distance", "exponential", "correct", "swap_consistent", "format",
    "gsm8k", "exact_match", "tool_call", "char_count", "custom",
]  # fmt: skip

# Whose completion is measured against the others of its prompt: a group needs two, and a spread.
COMPARE_WITHIN_GROUPS = ("grpo", "dr_grpo", "rloo", "reinforce_plus_plus_baseline")


@dataclass(frozen=True)
class AlgorithmConfig:
    """From rewards to a gradient."""

    adv_estimator: Estimator = "grpo"
    """What a completion's reward is measured against. grpo: the mean of its group (the completions of its prompt), over
    the group's standard deviation; dr_grpo: the mean alone; rloo: the mean of the others; reinforce_plus_plus: the whole
    round's mean and deviation; reinforce_plus_plus_baseline: the group's mean, the round's deviation; remax: the reward
    of the greedy answer; gae: a critic (PPO)."""
    policy_loss: Literal["vanilla", "gspo", "cispo"] = "vanilla"
    """How far an update may go. vanilla: PPO's clip, per token; gspo: a clip of the whole completion's ratio; cispo: every
    token keeps its gradient, its weight is clipped."""
    clip_ratio_low: float = 0.2
    """A token's probability ratio new / old is clipped below at 1 - clip_ratio_low."""
    clip_ratio_high: float = 0.2
    """And above at 1 + clip_ratio_high; DAPO takes 0.28 (clip-higher)."""
    clip_ratio_c: float | None = 3.0
    """Dual clip: with a negative advantage A the loss of a token is at most -A times this; null = without."""
    loss_agg_mode: Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"] = (
        "token-mean"
    )
    """How tokens become one loss. token-mean: all tokens of the step count alike; seq-mean-token-sum: a completion's sum,
    all completions alike; seq-mean-token-mean: its mean; seq-mean-token-sum-norm: its sum over rollout.max_new_tokens.
    Follows from dr_grpo (the last) and from gspo (seq-mean-token-mean) where nobody sets it."""
    norm_adv_by_std_in_grpo: bool = True
    """grpo only: divide by the group's standard deviation; false is dr_grpo's advantage."""
    use_kl_loss: bool = False
    """Add kl_loss_coef times the distance from the model that the run started from to the loss."""
    kl_loss_coef: float = 0.001
    """Weight of that distance; needs use_kl_loss."""
    kl_loss_type: Literal["k1", "k2", "k3", "k1+", "k2+", "k3+"] = "k3"
    """Its estimator, from d = log p(start) - log p(now) of the sampled tokens: k1 = -d, k2 = d^2 / 2, k3 = e^d - d - 1;
    with a plus, that value with the gradient of k2."""
    use_kl_in_reward: bool = False
    """Subtract kl_coef times k1 from the reward of each token instead."""
    kl_coef: float = 0.001
    """Weight there; needs use_kl_in_reward."""
    entropy_coeff: float = 0.0
    """Weight of the mean entropy of the tokens' distributions, which is rewarded."""
    gamma: float = 1.0
    """gae and reinforce_plus_plus: what a reward is worth one token earlier."""
    lam: float = 1.0
    """gae only: lambda, from 0 (trust the critic's next value) to 1 (the rewards that came)."""
    cliprange_value: float = 0.5
    """gae only: the critic's new value is clipped to its old one plus or minus this."""
    vf_coef: float = 0.1
    """gae only: weight of the critic's loss beside the policy's."""
    filter_groups: bool = True
    """Leave groups out whose completions all earned the same: they have no advantage. They are counted. Only for
    estimators that compare within a group; becomes false by itself where another one is set."""
    max_num_gen_batches: int = 1
    """Generate at most this many times a round until filter_groups leaves enough groups; 1 = what it leaves out is not
    replaced."""
    tis_cap: float | None = None
    """Truncated importance sampling: each token's loss is weighted by p(training) / p(engine), at most this; null =
    without. For engines whose probabilities differ from the training's, such as vllm."""


@dataclass(frozen=True)
class RolloutConfig:
    """The completions that the model learns from, and those that validate it."""

    n: int = 8
    """Completions of each prompt: its group."""
    temperature: float = 1.0
    """Of sampling; the log-probabilities of training are taken at the same one."""
    top_p: float = 1.0
    """Sample from the most probable tokens that together have this probability; 1 = all."""
    top_k: int = -1
    """Sample from this many most probable tokens, 2 or more; -1 = all."""
    max_new_tokens: int = 512
    """Longest completion, tokens; prompts have data.max_length minus this."""
    thinking: bool = False
    """Leave the reasoning open, for models whose chat template knows enable_thinking: the completion thinks first, and the
    verdict counts after </think>. false: such a template closes an empty <think></think>, and the model answers at once. A
    template that does not know it prompts as it always does. Evaluation asks as the run did."""
    engine: Literal["own", "vllm"] = "own"
    """Who generates: own, the weights in training where they lie (CPU too); vllm, `pip install vllm`, CUDA."""
    max_batch_tokens: int = 65536
    """own only: tokens of the completions that are decoded at once, each counted with its prompt and at its longest; one
    completion always goes. The first to lower when generation runs out of memory."""
    gpu_memory_utilization: float = 0.4
    """vllm only: share of a GPU's memory that it may take, its copy of the weights and its cache together."""
    updates: int = 1
    """Optimizer steps made of one round; it divides data.train_batch_size. 1 = every completion comes from the weights
    that learn from it, and no clip is reached."""
    val_n: int = 1
    """Completions of each validation prompt."""
    val_temperature: float = 0.0
    """Temperature in validation; 0 = greedy."""
    save: bool = True
    """Keep each round's completions and rewards as a parquet file in the run's folder. A run that was stopped within a
    round goes on from it, and generates anew without."""


@dataclass(frozen=True)
class RewardConfig:
    """What a completion earns."""

    functions: list[RewardName] = field(
        default_factory=lambda: ["distance"], metadata=but(generative_pairwise=["correct"])
    )
    """Scores: exact, distance (1 - |error| / scale), exponential (e^(-2 |error| / scale)); preferences: correct,
    swap_consistent (right in both orders); format; verifiable answers: gsm8k, exact_match, tool_call, char_count;
    custom, your own. A completion without a readable verdict earns the lowest there is."""
    weights: list[float] = field(default_factory=list)
    """One for each function, in the same order; empty = 1 each."""
    combine: Literal["sum", "normalise"] = "sum"
    """sum: the weighted rewards add up; normalise: each is first normalised within its group on its own, so that one with
    a wide spread does not drown another (GDPO); it needs rollout.n of 2 or more, and gae's validation rollout.val_n likewise."""
    custom: str | None = None
    """path.py:function for custom: it takes a list of samples and returns one number each. Rounds that another text of the
    file paid are not taken up."""
    overlong_buffer: int = 0
    """The last this many tokens of rollout.max_new_tokens cost something, growing to overlong_penalty; 0 = nothing."""
    overlong_penalty: float = 1.0
    """What a completion that uses the whole buffer loses; needs overlong_buffer."""


@dataclass(frozen=True)
class JudgeConfig:
    """What the judge is asked."""

    rubric: str | None = None
    """What judgements go by: a YAML file with task, principles and levels, or the name of a built-in one (full,
    correctness, ...); null = helpfulness. Evaluation asks by it, and OpenJudge's rows become prompts by it; the prompts of
    verl's layout have had theirs since they were prepared."""
    lowest: int = field(default=0, metadata=only("generative_pointwise"))
    """Lowest score that a verdict can give; verifiable answers have none."""
    highest: int = field(default=4, metadata=only("generative_pointwise"))
    """Highest score that a verdict can give."""


@dataclass(frozen=True)
class DpoConfig:
    """Direct preference optimisation: a policy from pairs, without rewards and without rollouts."""

    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """With h = log-ratio of chosen - log-ratio of rejected against the model that the run started from. sigmoid: -log
    sigmoid(beta h); ipo: (h - 1 / (2 beta))^2, of log-ratios per token."""
    beta: float = 0.1
    """How strongly the policy is held to where it started."""
    label_smoothing: float = 0.0
    """sigmoid only: probability that the label of a pair is wrong, from 0 up to 0.5."""
