"""The setup of a model that learns from comparisons of its own answers (reinforcement learning), or of pairs (DPO).

    open_tasks          prompts with their truth, as tokens
    open_policy         the model that answers and learns; with a critic's head for algorithm.adv_estimator=gae
    open_reference      the model that it started from, frozen; None where no distance from it is asked for
    open_rewards        what an answer earns, checked against every prompt before the first is answered
    open_rollouts       rounds of answers behind the face of a loader
    open_policy_objective, open_referenced_pairs (DPO)

What differs from builders.py is here; `fit` and everything after it are the same.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import COMPARE_WITHIN_GROUPS
from cookbook_lib.config.schema import Config
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.judge.rubrics import Rubric, load_rubric
from cookbook_lib.data.judge.tasks import TaskSet, tokenize_tasks
from cookbook_lib.data.prompt import stop_ids
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.flops import Flops
from cookbook_lib.models.heads import PackedModel, freeze
from cookbook_lib.models.loading import build_model, load_weights
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.models.value_head import build_value_model
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.parallel.ulysses import take_shard, ulysses
from cookbook_lib.training.builders import Base, Data, finish_model, open_loader
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.dpo import DPO
from cookbook_lib.training.objectives.policy_gradient import PolicyGradient
from cookbook_lib.training.reference import with_reference
from cookbook_lib.training.reward_builders import open_pairs
from cookbook_lib.training.rewards.combine import Reward, open_reward
from cookbook_lib.training.rollouts.answering import Asking
from cookbook_lib.training.rollouts.columns import policy_columns, reference_columns
from cookbook_lib.training.rollouts.engine import Engine, OwnEngine
from cookbook_lib.training.rollouts.forwards import Forwards
from cookbook_lib.training.rollouts.rounds import Policy, Rules
from cookbook_lib.training.rollouts.settling import advantages_by
from cookbook_lib.training.rollouts.stream import RolloutStream
from cookbook_lib.training.rollouts.vllm import VllmEngine
from cookbook_lib.training.self_test import compute_dtype

OF_MEMORY = ("max_batch_tokens", "gpu_memory_utilization")  # of rollout: they decide nothing that is said


def open_tasks(config: Config, base: Base, mesh: Mesh) -> Data:
    """The prompts of both files. Those whose rendering leaves no room for rollout.max_new_tokens are left out and counted.

    Raises CookbookError for a judge.rubric that none of the prompts asks by.
    """
    d, most = config.data, config.data.max_length - config.rollout.max_new_tokens
    rubric = load_rubric(config.judge.rubric)

    def read(files: str | list[str], limit: int) -> TaskSet:
        tasks = tokenize_tasks(
            files, base.tokenizer, max_prompt_length=most, limit=limit, rubric=rubric, thinking=config.rollout.thinking
        )
        if config.judge.rubric is not None and not any(asks_by(rubric, item.task) for item in tasks.items):
            raise CookbookError(
                f"judge.rubric is {config.judge.rubric}, but no prompt of {files} asks by it: theirs was chosen when they were "
                "prepared (prepare_reward_data.py --rubric); remove the key, or prepare them again."
            )
        return tasks

    train = mesh.first(lambda: read(d.train_files, d.train_max_samples))
    if (held_out := d.val_files) is None:
        return Data(train, None)
    return Data(train, mesh.first(lambda: read(held_out, d.val_max_samples)))


def asks_by(rubric: Rubric, task: JudgeTask) -> bool:
    """Whether the task's prompt has the rubric's words."""
    return any(rubric.task.strip() in str(message.get("content")) for message in task.prompt)


def open_policy(config: Config, base: Base, mesh: Mesh) -> PackedModel:
    """As builders.open_model, with a critic's head where the advantages want one."""
    attend, trust = ulysses(varlen_attention, mesh.sp_group), config.model.trust_remote_code
    build = build_value_model if config.algorithm.adv_estimator == "gae" else build_model
    return finish_model(build(base.folder, attend, trust_remote_code=trust), config, base, mesh)


def open_reference(config: Config, base: Base, mesh: Mesh) -> PackedModel | None:
    """The base as it is, in shards like the policy, of compute dtype; only where algorithm.use_kl_loss or use_kl_in_reward asks for it."""
    if not (config.algorithm.use_kl_loss or config.algorithm.use_kl_in_reward):
        return None
    memory, trust = config.model.fsdp_config, config.model.trust_remote_code
    model = build_model(base.folder, ulysses(varlen_attention, mesh.sp_group), trust_remote_code=trust)
    for parameter in model.parameters():
        freeze(parameter, compute_dtype(config))
    offload = memory.param_offload or memory.cpu_offload
    shard_model(model, mesh, layers=model.layers, compute_dtype=compute_dtype(config), param_offload=offload)
    load_weights(model, base.folder, mesh.device, offload=offload, trust_remote_code=trust)
    return model.eval()


def open_rewards(config: Config, data: Data) -> Reward:
    """What a completion earns. Raises CookbookError, before the first step, for prompts that its parts cannot judge."""
    judge = config.judge
    reward = open_reward(
        config.reward, lowest=judge.lowest, highest=judge.highest, max_new_tokens=config.rollout.max_new_tokens
    )
    for tasks in filter(None, (data.train, data.val)):
        reward.check([item.task for item in tasks.items])
    return reward


def open_answers(config: Config, base: Base, mesh: Mesh, model: PackedModel, reference: PackedModel | None) -> Policy:
    """Who answers a round's prompts, and the forwards that training takes over the answers before it learns from them."""
    at, estimator = config.rollout.temperature, config.algorithm.adv_estimator
    tells = [policy_columns(model, mesh, temperature=at, values=estimator == "gae")]
    if reference is not None:
        tells.append(reference_columns(reference, mesh, temperature=at))
    engine, by_group = _engine(config, base, mesh, model), estimator in COMPARE_WITHIN_GROUPS
    return Policy(model, engine, tells, advantages_by(config.algorithm), at, by_group)


def open_rollouts(
    config: Config, tasks: TaskSet, base: Base, mesh: Mesh, policy: Policy, reward: Reward, *, training: bool = True
) -> RolloutStream:
    """Rounds of answers to `tasks`; training=False: of validation, every prompt once."""
    return RolloutStream(
        tasks,
        base.tokenizer,
        reward,
        policy,
        mesh,
        _rules(config, base, training),
        _forwards(config, base, mesh, policy.model),
        place=lambda batch: take_shard(batch.to(mesh.device), mesh),
        folder=Path(config.trainer.default_local_dir) if config.rollout.save else None,
        settings=_known_by(config, reward),
        reuse=config.trainer.resume_mode != "disable",
    )


def open_policy_objective(config: Config, mesh: Mesh) -> Objective:
    if config.recipe == "dpo":
        return DPO(mesh, config.dpo)
    horizon = config.rollout.max_new_tokens
    return PolicyGradient(mesh, config.algorithm, temperature=config.rollout.temperature, horizon=horizon)


def open_referenced_pairs(config: Config, base: Base, mesh: Mesh, model: PackedModel) -> Data:
    """Preference pairs with the log-probabilities of `model`, which has not learned yet: DPO's reference."""
    pairs = open_pairs(config, base, mesh)
    train, val = (
        examples
        and with_reference(examples, model, open_loader(config, examples, base, mesh, model, training=False), mesh)
        for examples in (pairs.train, pairs.val)
    )
    return Data(train, val)


def _known_by(config: Config, reward: Reward) -> list[Any]:
    """What a round is made by, beside its rules; a run that goes on with less memory keeps its rounds."""
    sections = [asdict(section) for section in (config.algorithm, config.rollout, config.reward, config.judge)]
    return [reward.version, *({k: v for k, v in section.items() if k not in OF_MEMORY} for section in sections)]


def _engine(config: Config, base: Base, mesh: Mesh, model: PackedModel) -> Engine:
    dtype, trust = compute_dtype(config), config.model.trust_remote_code
    if config.rollout.engine == "vllm":
        memory = config.rollout.gpu_memory_utilization
        return VllmEngine(
            base.folder, mesh, max_length=config.data.max_length, dtype=dtype, memory=memory, trust_remote_code=trust
        )
    most = config.rollout.max_batch_tokens
    return OwnEngine(
        model, mesh.device, dtype=dtype, max_batch_tokens=most, folder=base.folder, trust_remote_code=trust
    )


def _rules(config: Config, base: Base, training: bool) -> Rules:
    r, a = config.rollout, config.algorithm
    how = Sampling(r.temperature if training else r.val_temperature, r.top_p, max(r.top_k, 0))
    if not training and not r.val_temperature:
        how = Sampling()
    return Rules(
        batch_size=config.data.train_batch_size,
        n=r.n if training else r.val_n,
        asking=Asking(r.max_new_tokens, how, stop_ids(base.tokenizer)),
        updates=r.updates if training else 1,
        filter_groups=a.filter_groups and training,
        max_batches=a.max_num_gen_batches,
        greedy=a.adv_estimator == "remax" and training,
        seed=config.trainer.seed,
        shuffle=config.data.shuffle,
    )


def _forwards(config: Config, base: Base, mesh: Mesh, model: PackedModel) -> Forwards:
    d, pad_id = config.data, getattr(base.tokenizer, "pad_token_id", None) or 0
    return Forwards(
        ranks=mesh.dp,
        max_tokens=d.micro_batch_size * d.max_length,
        max_rows=d.micro_batch_size,
        quadratic=Flops.of(model).quadratic,
        padded=not config.use_remove_padding,
        multiple=mesh.sp,
        pad_id=pad_id if pad_id < model.hf.get_input_embeddings().weight.shape[0] else 0,
    )
