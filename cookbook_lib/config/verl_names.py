"""verl's names of reinforcement learning: what each is called here, and what is said about those that have no key.

    NAMES      actor_rollout_ref.rollout.n=5                      rollout.n=5
    SEVERAL    actor_rollout_ref.actor.clip_ratio=0.2             those of algorithm.clip_ratio_low and _high that are not set beside it
    COMPUTED   data.max_prompt_length=1024                        data.max_length, with rollout.max_new_tokens added
    FIXED      actor_rollout_ref.actor.ppo_epochs=1               nothing to set: it is so here; another value is refused
    TAUGHT     reward_model.reward_manager=dapo                   refused, with what to set in its place

A name is taken where it means exactly what the key means, and only there. `verl.py` puts these tables to work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NAMES = {
    "actor_rollout_ref.model.path": "model.partial_pretrain",
    "actor_rollout_ref.model.trust_remote_code": "model.trust_remote_code",
    "actor_rollout_ref.model.enable_gradient_checkpointing": "model.enable_gradient_checkpointing",
    "actor_rollout_ref.model.use_remove_padding": "use_remove_padding",
    "actor_rollout_ref.model.use_liger": "model.use_liger",
    "actor_rollout_ref.model.lora_rank": "model.lora_rank",
    "actor_rollout_ref.model.lora_alpha": "model.lora_alpha",
    "actor_rollout_ref.model.target_modules": "model.target_modules",
    "actor_rollout_ref.actor.strategy": "model.strategy",
    "actor_rollout_ref.actor.fsdp_config.fsdp_size": "model.fsdp_config.fsdp_size",
    "actor_rollout_ref.actor.fsdp_config.param_offload": "model.fsdp_config.param_offload",
    "actor_rollout_ref.actor.fsdp_config.optimizer_offload": "model.fsdp_config.optimizer_offload",
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size": "ulysses_sequence_parallel_size",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": "data.micro_batch_size",
    "actor_rollout_ref.actor.optim.lr": "optim.lr",
    "actor_rollout_ref.actor.optim.betas": "optim.betas",
    "actor_rollout_ref.actor.optim.weight_decay": "optim.weight_decay",
    "actor_rollout_ref.actor.optim.lr_warmup_steps": "optim.warmup_steps",
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": "optim.warmup_steps_ratio",
    "actor_rollout_ref.actor.optim.lr_scheduler_type": "optim.lr_scheduler",
    "actor_rollout_ref.actor.optim.warmup_style": "optim.lr_scheduler",
    "actor_rollout_ref.actor.optim.min_lr_ratio": "optim.min_lr_ratio",
    "actor_rollout_ref.actor.optim.clip_grad": "optim.clip_grad",
    "actor_rollout_ref.actor.grad_clip": "optim.clip_grad",
    "actor_rollout_ref.actor.policy_loss.loss_mode": "algorithm.policy_loss",
    "actor_rollout_ref.actor.clip_ratio_low": "algorithm.clip_ratio_low",
    "actor_rollout_ref.actor.clip_ratio_high": "algorithm.clip_ratio_high",
    "actor_rollout_ref.actor.clip_ratio_c": "algorithm.clip_ratio_c",
    "actor_rollout_ref.actor.loss_agg_mode": "algorithm.loss_agg_mode",
    "actor_rollout_ref.actor.use_kl_loss": "algorithm.use_kl_loss",
    "actor_rollout_ref.actor.kl_loss_coef": "algorithm.kl_loss_coef",
    "actor_rollout_ref.actor.kl_loss_type": "algorithm.kl_loss_type",
    "actor_rollout_ref.actor.entropy_coeff": "algorithm.entropy_coeff",
    "actor_rollout_ref.actor.tis_imp_ratio_cap": "algorithm.tis_cap",
    "actor_rollout_ref.rollout.n": "rollout.n",
    "actor_rollout_ref.rollout.name": "rollout.engine",
    "actor_rollout_ref.rollout.gpu_memory_utilization": "rollout.gpu_memory_utilization",
    "actor_rollout_ref.rollout.temperature": "rollout.temperature",
    "actor_rollout_ref.rollout.top_p": "rollout.top_p",
    "actor_rollout_ref.rollout.top_k": "rollout.top_k",
    "actor_rollout_ref.rollout.response_length": "rollout.max_new_tokens",
    "actor_rollout_ref.rollout.val_kwargs.n": "rollout.val_n",
    "actor_rollout_ref.rollout.val_kwargs.temperature": "rollout.val_temperature",
    "algorithm.kl_ctrl.kl_coef": "algorithm.kl_coef",
    "algorithm.filter_groups.enable": "algorithm.filter_groups",
    "algorithm.filter_groups.max_num_gen_batches": "algorithm.max_num_gen_batches",
    "critic.cliprange_value": "algorithm.cliprange_value",
    "data.max_response_length": "rollout.max_new_tokens",
    "reward_model.overlong_buffer.len": "reward.overlong_buffer",
    "reward_model.overlong_buffer.penalty_factor": "reward.overlong_penalty",
    "loss_agg_mode": "algorithm.loss_agg_mode",
    "use_kl_loss": "algorithm.use_kl_loss",
}

SEVERAL = {"actor_rollout_ref.actor.clip_ratio": ("algorithm.clip_ratio_low", "algorithm.clip_ratio_high")}


@dataclass(frozen=True)
class Computed:
    """A name whose key follows by arithmetic from its value and from another key's."""

    key: str
    other: str
    compute: Callable[[int, int], int | None]  # (value, the other's value) -> the key's; None = impossible
    rule: str


_UPDATES = Computed(
    "rollout.updates",
    "data.train_batch_size",
    lambda mini, batch: batch // mini if mini > 0 and batch % mini == 0 else None,
    "must divide data.train_batch_size: a round's prompts are shared out among its optimizer steps",
)
COMPUTED = {
    "data.max_prompt_length": Computed(
        "data.max_length",
        "rollout.max_new_tokens",
        lambda prompt, answer: prompt + answer if prompt > 0 else None,
        "must be at least 1",
    ),
    "actor_rollout_ref.actor.ppo_mini_batch_size": _UPDATES,
    "ppo_mini_batch_size": _UPDATES,
}

# name -> (the value that is so here anyway, why)
FIXED: dict[str, tuple[Any, str]] = {
    "actor_rollout_ref.hybrid_engine": (True, "the model generates where it learns"),
    "actor_rollout_ref.actor.ppo_epochs": (1, "each completion is learned from once, in rollout.updates steps a round"),
    "actor_rollout_ref.actor.use_dynamic_bsz": (True, "forwards are filled by tokens: data.micro_batch_size x data.max_length"),
    "actor_rollout_ref.rollout.do_sample": (True, "what is learned from is sampled; a greedy group is one answer n times"),
    "actor_rollout_ref.rollout.tensor_model_parallel_size": (1, "one GPU generates for one rank"),
    "algorithm.kl_penalty": ("kl", "the distance in the reward is k1"),
    "algorithm.kl_ctrl.type": ("fixed", "algorithm.kl_coef stays as it is"),
    "data.filter_overlong_prompts": (True, "a prompt that is too long is left out and counted, never cut"),
    "data.return_raw_chat": (True, "prompts are messages until the chat template renders them"),
    "reward_model.enable": (False, "rewards are functions: reward.functions, or your own in reward.custom"),
    "reward_model.overlong_buffer.enable": (True, "reward.overlong_buffer=0 is how to be without"),
    "trainer.balance_batch": (True, "ranks share the tokens of a step evenly"),
    "trainer.critic_warmup": (0, "the critic and the policy learn together"),
}  # fmt: skip

_BUDGET = "is not needed: every forward takes at most data.micro_batch_size x data.max_length tokens"
_CUSTOM = "is reward.custom=FILE.py:FUNCTION here, with custom among reward.functions"
_DTYPE = "is model.fsdp_config.model_dtype here"
_KEPT = "is not needed: rollout.save=true writes them into the run's folder"
_LOGITS = "is not needed: logits are computed a piece at a time, never as a whole"
_ONE_TURN = "has no place: a completion is one turn of the model's"
_PAID = "has no place: rewards are functions: reward.functions, or your own in reward.custom"
_VLLM = "has no place: vllm gets rollout.gpu_memory_utilization, and has its own defaults besides"

# The beginning of a name -> what to do in its place; the first that fits counts.
TAUGHT = {
    "actor_rollout_ref.actor.checkpoint.": "has no place: a checkpoint holds all that a run goes on from",
    "actor_rollout_ref.actor.entropy_": _LOGITS,
    "actor_rollout_ref.actor.fsdp_config.dtype": _DTYPE,
    "actor_rollout_ref.actor.fsdp_config.forward_prefetch": "is not needed: FSDP2 fetches the next layer by itself",
    "actor_rollout_ref.actor.fsdp_config.model_dtype": _DTYPE,
    "actor_rollout_ref.actor.fsdp_config.offload_policy": "is model.fsdp_config.cpu_offload here",
    "actor_rollout_ref.actor.fsdp_config.reshard_after_forward": "has no place: a layer is whole only while it computes",
    "actor_rollout_ref.actor.fsdp_config.wrap_policy.": "is not needed: every decoder layer is one FSDP2 unit",
    "actor_rollout_ref.actor.optim.total_training_steps": "is trainer.total_training_steps here",
    "actor_rollout_ref.actor.policy_loss.": "has no place: algorithm.policy_loss is vanilla, gspo or cispo",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": _BUDGET,
    "actor_rollout_ref.actor.ppo_micro_batch_size": "is data.micro_batch_size here: times data.max_length, the tokens of one forward",
    "actor_rollout_ref.actor.shuffle": "has no place: each completion is learned from once, in its round's order",
    "actor_rollout_ref.actor.use_fused_kernels": _LOGITS,
    "actor_rollout_ref.actor.use_remove_padding": "is use_remove_padding here",
    "actor_rollout_ref.actor.use_torch_compile": "has no place: nothing is compiled here",
    "actor_rollout_ref.model.custom_chat_template": "is data.chat_template here, a .jinja file or one of those it names",
    "actor_rollout_ref.model.enable_activation_offload": "has no place: model.enable_gradient_checkpointing saves that memory",
    "actor_rollout_ref.model.exclude_modules": "has no place: model.target_modules names those that get adapters",
    "actor_rollout_ref.model.external_lib": "has no place: model.trust_remote_code=true runs the Python that comes with a model",
    "actor_rollout_ref.model.fused_kernel_options.": _LOGITS,
    "actor_rollout_ref.model.override_config.": "has no place: the model is what the config.json in its folder says",
    "actor_rollout_ref.model.use_fused_kernels": _LOGITS,
    "actor_rollout_ref.ref.log_prob_": _BUDGET,
    "actor_rollout_ref.ref.": "is not apart here: the model that the run started from lies as model.fsdp_config says",
    "actor_rollout_ref.rollout.agent.": _ONE_TURN,
    "actor_rollout_ref.rollout.calculate_log_probs": "is not needed: algorithm.tis_cap, which wants them, gets them",
    "actor_rollout_ref.rollout.cudagraph_capture_sizes": _VLLM,
    "actor_rollout_ref.rollout.disable_log_stats": _VLLM,
    "actor_rollout_ref.rollout.dtype": _DTYPE,
    "actor_rollout_ref.rollout.enable_chunked_prefill": _VLLM,
    "actor_rollout_ref.rollout.enforce_eager": _VLLM,
    "actor_rollout_ref.rollout.engine_kwargs.": _VLLM,
    "actor_rollout_ref.rollout.free_cache_engine": _VLLM,
    "actor_rollout_ref.rollout.ignore_eos": "has no place: a completion ends where the model ends it",
    "actor_rollout_ref.rollout.layered_summon": _VLLM,
    "actor_rollout_ref.rollout.load_format": _VLLM,
    "actor_rollout_ref.rollout.log_prob_": _BUDGET,
    "actor_rollout_ref.rollout.max_model_len": "is not needed: it is data.max_length",
    "actor_rollout_ref.rollout.max_num_": _VLLM,
    "actor_rollout_ref.rollout.mode": "has no place: all completions of a round are there before it is learned from",
    "actor_rollout_ref.rollout.multi_turn.": _ONE_TURN,
    "actor_rollout_ref.rollout.prompt_length": "is data.max_prompt_length",
    "actor_rollout_ref.rollout.val_kwargs.do_sample": "is rollout.val_temperature here: 0 is greedy",
    "actor_rollout_ref.rollout.val_kwargs.top_k": "is rollout.top_k here, which validation shares",
    "actor_rollout_ref.rollout.val_kwargs.top_p": "is rollout.top_p here, which validation shares",
    "algorithm.filter_groups.metric": "is not needed: a group is left out when its completions all earned the same",
    "algorithm.kl_ctrl.": "has no place: the weight of the distance stays as algorithm.kl_coef says",
    "algorithm.pf_ppo.": "has no place: every completion of a round is learned from once",
    "algorithm.rollout_": "is algorithm.tis_cap here: truncated weights per token",
    "algorithm.use_pf_ppo": "has no place: every completion of a round is learned from once",
    "critic.": "has no place: the critic (algorithm.adv_estimator=gae) learns with optim, weighed by algorithm.vf_coef",
    "custom_reward_function.": _CUSTOM,
    "data.reward_fn_key": "has no place: reward.functions pay for every row alike, whatever its data_source",
    "data.val_batch_size": "is not needed: validation takes forwards of the same size as training",
    "reward_model.reward_manager": "is reward.functions here, such as [distance,format] or [gsm8k]; overlong: reward.overlong_buffer",
    "reward_model.": _PAID,
    "trainer.log_val_generations": _KEPT,
    "trainer.rollout_data_dir": _KEPT,
    "trainer.validation_data_dir": _KEPT,
}  # fmt: skip

_SECTIONS = {"actor_rollout_ref", "critic", "reward_model", "custom_reward_function"}


def is_verl(name: str) -> bool:
    """A name of verl's reinforcement learning, be it one that is known here or not."""
    known = name in NAMES or name in SEVERAL or name in COMPUTED or name in FIXED
    return known or name.split(".")[0] in _SECTIONS or name.startswith(tuple(TAUGHT))
