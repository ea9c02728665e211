"""Every key a recipe can set, its type, its default, and under it the line that explains it.

    trainer.yaml            Config                                       read by
    recipe: sft         ->  config.recipe         which keys have an effect, and which notebook the launcher runs
    model: ...          ->  config.model          ModelConfig           models/, parallel/fsdp
    data: ...           ->  config.data           DataConfig            data/
    optim: ...          ->  config.optim          OptimConfig           training/optim
    trainer: ...        ->  config.trainer        TrainerConfig         training/, tracking/
    bradley_terry: ...  ->  config.bradley_terry  BradleyTerryConfig    training/objectives
    pointwise: ...      ->  config.pointwise      PointwiseConfig       training/objectives
    algorithm, rollout, reward, judge, dpo: ...                         policy_schema.py

One schema serves all recipes. A field that only some of them read says so (`only`), and so does one whose default
differs between them (`but`); setting a key that the recipe does not read is an error.

The names are those of verl's SFT trainer, so that its users' scripts run here. The dataclasses are frozen: arithmetic
on these values (accumulation steps, warmup steps) lives in `training/plan.py` and never flows back.

Each field is followed by a docstring: `docs/reference/config.md` is rendered from them (scripts/render_config_docs.py).
OmegaConf reads the annotations at run time, so this module has no `from __future__ import annotations`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from cookbook_lib.config.policy_schema import AlgorithmConfig, DpoConfig, JudgeConfig, RewardConfig, RolloutConfig
from cookbook_lib.config.recipes import GENERATIVE, PAIRS, Recipe, but, only

Tracker = Literal["console", "jsonl", "swanlab", "tensorboard", "wandb"]


@dataclass(frozen=True)
class FsdpConfig:
    """How the model lies in memory."""

    model_dtype: Literal["bf16", "fp32"] = "bf16"
    """Type of the arithmetic in forward and backward. The weights that learn and their optimizer state are fp32
    always: at lr 2e-6 a bf16 weight of typical size cannot move."""
    cpu_offload: bool = False
    """Keep parameters, gradients and optimizer state in host memory; each layer visits the GPU. Same as setting both
    offloads below."""
    param_offload: bool = False
    """Keep parameters and gradients in host memory between uses."""
    optimizer_offload: bool = False
    """Keep the optimizer state in host memory; it visits the device, a bucket at a time, for its update."""
    fsdp_size: int = -1
    """Ranks that share one copy of the weights; -1 = all of them. Smaller than the world: replicated groups (HSDP)."""


@dataclass(frozen=True)
class ModelConfig:
    """What is trained."""

    partial_pretrain: str = "tiny"
    """A Hugging Face folder, a hub name, or `tiny`: the embedded model, built on first use, which needs no download;
    `tiny-judge` is that model after SFT on hasty judgements of embedded answers, made on first use as well, in some minutes."""
    trust_remote_code: bool = False
    """Run Python that comes with the model. Only for models whose code you have read."""
    enable_gradient_checkpointing: bool = True
    """Recompute each layer's activations in the backward pass: about a third more arithmetic, for memory that
    hardly grows with depth."""
    strategy: Literal["fsdp2"] = "fsdp2"
    """How weights are sharded. `fsdp` (FSDP1, being retired by torch) is accepted and means fsdp2."""
    use_liger: bool = False
    """liger-kernel's fused RMSNorm, RoPE and SwiGLU; needs CUDA and `pip install liger-kernel`."""
    lora_rank: int = 0
    """Rank r of LoRA adapters; 0 = train all weights. Above 0 the weights are frozen, in model_dtype, and adapters (a reward
    model's score head too) learn: it wants about ten times the learning rate, and `pip install peft`."""
    lora_alpha: int = 16
    """LoRA's scale: alpha / r times the adapters' product is added to a weight."""
    target_modules: Any = "all-linear"
    """Linear maps in the decoder layers that get LoRA adapters: a name such as q_proj, a list of names, or all-linear."""
    lora_save: Literal["merged", "adapter"] = "merged"
    """Final model of a LoRA run: merged, a plain Hugging Face folder; adapter, a folder for peft, some megabytes, that needs
    its base. Checkpoints hold adapters."""
    fsdp_config: FsdpConfig = field(default_factory=FsdpConfig)


@dataclass(frozen=True)
class MultiturnConfig:
    """How a row of a file becomes a conversation."""

    enable: bool = True
    """Rows hold whole conversations. Always true here: a single turn is a conversation of two messages."""
    messages_key: str = "messages"
    """Column with the list of {role, content}."""
    tools_key: str | None = None
    """Column with the tool schemas shown to the model; null = the conversations have no tools column."""


@dataclass(frozen=True)
class DataConfig:
    """What it is trained on, and how much of it at once."""

    train_files: str | list[str] = "./data/train.parquet"
    """Parquet, json or jsonl (.gz too), a folder of them, or a list: what scripts/prepare_sft_data.py writes, for
    reward models and judges scripts/prepare_reward_data.py."""
    val_files: str | list[str] | None = "./data/test.parquet"
    """The same, for validation; null = no validation."""
    train_batch_size: int = 96
    """Conversations (sft), pairs (bradley_terry, dpo) or responses (pointwise) per optimizer step, over all ranks; for a
    generative judge the prompts of a round, of which rollout.updates steps are made. The seed alone decides which ones,
    never the layout."""
    micro_batch_size: int = 12
    """With max_length, the token budget of one forward of one data-parallel group: micro_batch_size x max_length
    tokens, packed. Lower it when memory runs out; the result stays the same. bradley_terry and dpo keep the two answers of
    a pair in one forward and need at least 2."""
    max_length: int = 8192
    """Longest conversation, tokens; for reward models and dpo, a prompt with one of its answers; for a generative judge,
    a prompt with its completion (rollout.max_new_tokens): a prompt that leaves less room is left out and counted."""
    truncation: Literal["right", "left", "error", "turns", "drop"] = field(
        default="right",
        metadata=only("sft", "pointwise", *PAIRS) | but(bradley_terry="turns", pointwise="turns", dpo="turns"),
    )
    """What happens to a longer one: right cuts its end, left its beginning, turns drops its oldest turns whole, drop
    leaves the row out and counts it, error stops the run. A reward model never sees a cut answer: it takes turns, drop
    or error."""
    train_on: Literal["assistant", "last_assistant", "all"] = field(default="assistant", metadata=only("sft"))
    """Whose tokens are learned: every assistant turn, the last one, or everything."""
    multiturn: MultiturnConfig = field(default_factory=MultiturnConfig, metadata=only("sft"))
    prompt_key: str = field(default="prompt", metadata=only("pointwise", *PAIRS))
    """Column with what is answered: text, or a list of {role, content}."""
    chosen_key: str = field(default="chosen", metadata=only(*PAIRS))
    """Column with the better answer: text, or a list of {role, content}."""
    rejected_key: str = field(default="rejected", metadata=only(*PAIRS))
    """Column with the worse answer: text, or a list of {role, content}."""
    response_key: str = field(default="response", metadata=only("pointwise"))
    """Column with the answer that is scored: text, or a list of {role, content}."""
    share_prompts: bool = field(default=True, metadata=only(*PAIRS))
    """Compute the beginning that a pair's answers have in common once; scores and gradients stay the same. Off where
    use_remove_padding is false: padded rows share nothing."""
    chat_template: str | None = None
    """A .jinja file, or chatml, qwen3, llama3, mistral, gemma, deepseek; null = the tokenizer's own."""
    shuffle: bool = True
    """Draw each epoch's order from trainer.seed; false = the order of the files."""
    train_max_samples: int = -1
    """Use only this many rows for training; -1 = all. Of a pair that a judge is asked in both orders, no half."""
    val_max_samples: int = -1
    """Use only this many rows for validation; -1 = all. Of a pair that a judge is asked in both orders, no half."""
    num_workers: int = field(default=0, metadata=only("sft", "pointwise", *PAIRS))
    """Processes that tokenize; 0 = one per core."""
    cache_dir: str | None = field(default=None, metadata=only("sft", "pointwise", *PAIRS))
    """Folder that keeps tokenized data between runs; null = tokens/ in $COOKBOOK_CACHE, by default
    ~/.cache/reward-model-cookbook."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    lr: float = 2e-5
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the running mean and of the running square of the gradient, per step."""
    eps: float = 1e-8
    """Added to the root of the running square."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices, times lr per step; norms and biases have none."""
    clip_grad: float = 1.0
    """Largest norm of the whole gradient; a longer one is scaled down to it."""
    lr_scheduler: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """Shape after warmup: a cosine, a line, none, or warmup-stable-decay."""
    warmup_steps_ratio: float = 0.03
    """Share of all steps over which lr rises, from lr / warmup steps in the first to lr."""
    warmup_steps: int | None = None
    """The same in optimizer steps. Whichever of the two is set in the later layer counts."""
    min_lr_ratio: float = 0.0
    """Where the schedule ends, as a share of lr; without effect on `constant`."""
    stable_ratio: float = 0.9
    """wsd only: share of the steps after warmup that stay at lr before the decay begins."""


@dataclass(frozen=True)
class TrainerConfig:
    """How long, how often, and where to."""

    default_local_dir: str = "./checkpoints"
    """The run's folder: config.yaml, metrics.jsonl, run.ipynb, step_*, latest, best and the final model."""
    final_name: str = field(
        default="sft-final",
        metadata=but(
            bradley_terry="bt-final",
            pointwise="pointwise-final",
            dpo="dpo-final",
            generative_pointwise="judge-final",
            generative_pairwise="judge-final",
        ),
    )
    """Name in that folder of the final model, a plain Hugging Face folder."""
    project_name: str = "reward-model-cookbook"
    """Project under which swanlab, wandb and tensorboard file the run."""
    experiment_name: str = field(
        default="sft",
        metadata=but(
            bradley_terry="bt",
            pointwise="pointwise",
            dpo="dpo",
            generative_pointwise="judge-pointwise",
            generative_pairwise="judge-pairwise",
        ),
    )
    """Name of the run there."""
    logger: list[Tracker] = field(default_factory=lambda: ["console"])
    """Where metrics go besides metrics.jsonl: console, jsonl, swanlab, tensorboard, wandb."""
    log_freq: int = 1
    """Optimizer steps between two logged ones."""
    total_epochs: int = 1
    """Passes over the training data."""
    total_training_steps: int | None = None
    """Optimizer steps; given, it decides and total_epochs does not. null = total_epochs decides."""
    save_freq: int = 500
    """Optimizer steps between checkpoints; -1 = only the final one. A validation better than all before it is saved as well."""
    test_freq: int = 500
    """Optimizer steps between validations; -1 = only at the end."""
    best_metric: Literal["val/loss", "val/accuracy", "val/reward"] = field(
        default="val/loss", metadata=but(**dict.fromkeys(GENERATIVE, "val/reward"))
    )
    """What makes a validation better than another: a lower loss; for bradley_terry and dpo also a higher accuracy, the
    share of pairs whose better answer has the higher score; for a generative judge its mean reward, which alone says
    something there. It decides `best` and early stopping."""
    val_at_start: bool = True
    """Validate before the first step: what the training is measured against."""
    seed: int = 1
    """Of data order and of any random weights."""
    resume_mode: Literal["auto", "disable", "resume_path"] = "auto"
    """auto: go on from the latest good checkpoint in default_local_dir, if any; disable: start anew; resume_path:
    go on from resume_from_path."""
    resume_from_path: str | None = None
    """A checkpoint folder (.../step_00000500); needs resume_mode=resume_path."""
    max_ckpt_to_keep: int | None = None
    """Older checkpoints beyond this number are removed once a newer one is complete; `best` stays. null = keep all."""
    async_save: bool = True
    """Write checkpoints while training goes on."""
    export_dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of the weights in the final model's files."""
    early_stopping_patience: int | None = None
    """Stop after this many validations in a row without a better best_metric, and publish the best model; null = never."""
    max_nonfinite_steps: int = 3
    """Stop after this many steps in a row with a NaN or infinite loss or gradient; each is skipped and counted."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto = cuda where there is one."""
    default_hdfs_dir: str | None = None
    """verl's copy to HDFS; not built, null only."""


@dataclass(frozen=True)
class BradleyTerryConfig:
    """The loss of a pair: -log sigmoid(score of chosen - score of rejected), and what may be added to it."""

    use_margin: bool = False
    """Ask for a distance: the pair's margin times margin_scale is subtracted from the difference of its scores. A pair
    without a margin has 0."""
    margin_scale: float = 1.0
    """Score that one step of a pair's margin is worth; needs use_margin."""
    label_smoothing: float = 0.0
    """Probability that the label of a pair is wrong, from 0 up to 0.5: what keeps its scores from running apart."""
    center_coefficient: float = 0.0
    """Weight of (score of chosen + score of rejected)^2: the loss of a pair sees differences alone, this keeps their
    middle at 0."""


@dataclass(frozen=True)
class PointwiseConfig:
    """The loss of a scored answer, and the scale of its scores."""

    loss: Literal["mse", "huber", "ordinal", "classification"] = "mse"
    """mse and huber: regression on the score; ordinal: one threshold between every two neighbouring whole scores;
    classification: one class per whole score, whose order does not count."""
    attributes: list[str] = field(default_factory=lambda: ["score"])
    """Columns with the scores, one or several; one head gives them all, in this order. What a row lacks is left out."""
    lowest: int = 0
    """Lowest score of the scale; data with a lower one are refused."""
    highest: int = 4
    """Highest score of the scale; data with a higher one are refused."""
    huber_delta: float = 1.0
    """huber only: the error up to which the loss is a square and beyond which it is a line, in standard deviations of the
    training data's scores."""


@dataclass(frozen=True)
class Config:
    """A whole recipe, frozen. `origins` is not a key: it says where each value came from."""

    recipe: Recipe = "sft"
    """What is trained: sft, a model that answers; bradley_terry, a score from pairs of answers; pointwise, scores on a
    scale; generative_pointwise and generative_pairwise, a judge that explains its verdict, by reinforcement; dpo, a model
    that answers, from pairs. It stands in the trainer.yaml alone, and says which of these keys have an effect."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    bradley_terry: BradleyTerryConfig = field(default_factory=BradleyTerryConfig, metadata=only("bradley_terry"))
    pointwise: PointwiseConfig = field(default_factory=PointwiseConfig, metadata=only("pointwise"))
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig, metadata=only(*GENERATIVE))
    rollout: RolloutConfig = field(default_factory=RolloutConfig, metadata=only(*GENERATIVE))
    reward: RewardConfig = field(default_factory=RewardConfig, metadata=only(*GENERATIVE))
    judge: JudgeConfig = field(default_factory=JudgeConfig, metadata=only(*GENERATIVE))
    dpo: DpoConfig = field(default_factory=DpoConfig, metadata=only("dpo"))
    ulysses_sequence_parallel_size: int = 1
    """Ranks that share one sequence (Ulysses). It divides the ranks and the attention heads; 1 = each has its own."""
    use_remove_padding: bool = True
    """Pack rows without padding; false pads each micro-batch to its longest row, for comparison."""
    origins: dict[str, str] = field(default_factory=dict, metadata={"key": False})
