"""The setup, one verb a notebook cell: config -> mesh -> tokenizer -> data -> model -> loaders -> Run.

Each builder is a short list of calls into the rooms that do the work; a reader who wants another order, or another part, calls
those rooms directly.
"""

import copy
import gc
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_rules import policy_notes
from cookbook_lib.config.schema import Config
from cookbook_lib.config.show import config_dict, save_resolved
from cookbook_lib.data.loader import Batches, Loader
from cookbook_lib.data.packing import pack, pad
from cookbook_lib.data.reward.candidates import CandidateSet
from cookbook_lib.data.reward.packing import pack_candidates, pad_candidates
from cookbook_lib.data.templates import use_template
from cookbook_lib.data.tokenized import tokenize
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.flops import Flops, peak_flops
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, load_tokenizer, load_weights
from cookbook_lib.models.score_head import ScoreModel
from cookbook_lib.parallel.fsdp import rest, shard_model
from cookbook_lib.parallel.gradient_checkpointing import recompute_layers
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.parallel.ulysses import check_heads, take_shard, ulysses
from cookbook_lib.tracking.jsonl import read_metrics
from cookbook_lib.tracking.tracker import Tracker, Trackers, start_trackers
from cookbook_lib.training.adapters import add_adapters, export_adapter, fill_adapters, merged_weights
from cookbook_lib.training.beginning import beginning, refuse_another
from cookbook_lib.training.checkpoint import Checkpoints, Merge
from cookbook_lib.training.embedded import cache_folder, resolve_model
from cookbook_lib.training.meter import Meter
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.optim import make_optimizer, make_rate
from cookbook_lib.training.plan import Plan, make_plan
from cookbook_lib.training.run import Measured, Progress, Run
from cookbook_lib.training.self_test import compute_dtype

log = logging.getLogger(__name__)
AnyModel = TypeVar("AnyModel", bound=PackedModel)
ROWS = {"sft": "conversation", "bradley_terry": "pair", "dpo": "pair", "pointwise": "response"}  # else a prompt


def open_mesh(config: Config) -> Mesh:
    return make_mesh(config.ulysses_sequence_parallel_size, config.model.fsdp_config.fsdp_size, config.trainer.device)


@dataclass(frozen=True)
class Base:
    """The model to start from: its folder and its tokenizer."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase


def open_base(config: Config, mesh: Mesh) -> Base:
    """Find (download, build) the model on the first rank, then open its tokenizer on all."""
    folder = mesh.first(lambda: resolve_model(config.model.partial_pretrain))
    tokenizer = load_tokenizer(folder, trust_remote_code=config.model.trust_remote_code)
    return Base(folder, use_template(tokenizer, config.data.chat_template))


@dataclass(frozen=True)
class Data:
    """Tokenised rows: of conversations (TokenSet), of pairs or of scored responses (CandidateSet)."""

    train: Any
    val: Any


def open_data(config: Config, base: Base, mesh: Mesh) -> Data:
    """Tokenise and mask both files, or open the cache of an earlier run."""
    d = config.data
    bar = tqdm(unit=" rows", desc="tokenise", delay=3, mininterval=2, disable=not mesh.is_main)
    work = partial(
        tokenize,
        progress=bar.update,
        tokenizer=base.tokenizer,
        max_length=d.max_length,
        truncation=d.truncation,
        train_on=d.train_on,
        messages_key=d.multiturn.messages_key,
        tools_key=d.multiturn.tools_key,
        cache_dir=d.cache_dir or cache_folder() / "tokens",
        workers=d.num_workers,
    )
    train = mesh.first(lambda: work(d.train_files, limit=d.train_max_samples))
    if (held_out := d.val_files) is None:
        return Data(train, None)
    return Data(train, mesh.first(lambda: work(held_out, limit=d.val_max_samples)))


def open_model(config: Config, base: Base, mesh: Mesh) -> PackedModel:
    """Structure, then each technique in turn, then the weights straight into their shards."""
    attend = ulysses(varlen_attention, mesh.sp_group)
    model = build_model(base.folder, attend, trust_remote_code=config.model.trust_remote_code)
    return finish_model(model, config, base, mesh)


def finish_model(model: AnyModel, config: Config, base: Base, mesh: Mesh) -> AnyModel:
    """A structure on the meta device: adapted, recomputed, sharded and filled from the base's files."""
    gc.collect()  # FSDP2's hooks and their module know each other: the model of an earlier run goes before this one comes
    check_heads(model.hf.config.get_text_config().num_attention_heads, mesh.sp)
    if config.model.use_liger:
        _use_liger(model, mesh)
    add_adapters(model, config, base.folder)
    if config.model.enable_gradient_checkpointing:
        recompute_layers(model.layers)
    memory = config.model.fsdp_config
    offload = memory.param_offload or memory.cpu_offload
    shard_model(
        model, mesh, layers=model.layers, exact=model.exact_modules, compute_dtype=compute_dtype(config), param_offload=offload
    )  # fmt: skip
    trust = config.model.trust_remote_code
    load_weights(model, base.folder, mesh.device, offload=offload, trust_remote_code=trust)
    fill_adapters(model, config)
    return model


def open_loader(
    config: Config, examples: Any, base: Base, mesh: Mesh, model: PackedModel, *, training: bool = True
) -> Loader:
    """Batches of tokenised conversations (TokenSet) or of answers to be scored (CandidateSet)."""
    d, padded, answers = config.data, not config.use_remove_padding, getattr(examples, "answers", 1)
    vocabulary = model.hf.get_input_embeddings().weight.shape[0]
    _check_vocabulary(examples, base, vocabulary)
    pad_id = getattr(base.tokenizer, "pad_token_id", None) or 0
    return Loader(
        examples,
        batch_size=d.train_batch_size,
        max_tokens=d.micro_batch_size * d.max_length,
        max_rows=max(d.micro_batch_size // answers, 1) if padded else None,  # of the padded form a row is an answer
        ranks=mesh.dp,
        rank=mesh.dp_rank,
        multiple=mesh.sp,
        seed=config.trainer.seed,
        shuffle=d.shuffle and training,
        padded=padded,
        collate=(pack_candidates, pad_candidates) if isinstance(examples, CandidateSet) else (pack, pad),
        pad_id=pad_id if pad_id < vocabulary else 0,  # some tokenizers add a pad token that their model has no row for
        quadratic=Flops.of(model).quadratic,
        place=lambda batch: take_shard(batch.to(mesh.device), mesh),
    )


def open_plan(config: Config, loader: Batches, data: Data, mesh: Mesh) -> Plan:
    d, o, t = config.data, config.optim, config.trainer
    return make_plan(
        batch_size=d.train_batch_size,
        micro_batch_size=d.micro_batch_size,
        total_epochs=t.total_epochs,
        total_training_steps=t.total_training_steps,
        warmup_steps=o.warmup_steps,
        warmup_ratio=o.warmup_steps_ratio,
        mesh=mesh,
        loader=loader,
        val=data.val,
        row=ROWS.get(config.recipe, "prompt"),
        notes=policy_notes(config),
    )


def open_run(
    config: Config, mesh: Mesh, base: Base, data: Data, model: PackedModel, objective: Objective, loader: Batches, plan: Plan,
    watch: Sequence[Tracker] = (), val_loader: Batches | None = None,
) -> Run:  # fmt: skip
    """Optimizer, schedule, checkpoints, meters; when an earlier run left a checkpoint, its state; then the trackers, those of
    the config and those that `watch`. val_loader: of a recipe whose validation makes its own batches; else the rows of data.val."""
    offload = config.model.fsdp_config.optimizer_offload or config.model.fsdp_config.cpu_offload
    rest(model)  # a forward before this one may have left weights whole
    optimizer = make_optimizer(model, config.optim, offload=offload)
    torch.manual_seed(config.trainer.seed + mesh.rank)  # dropout, where a model has it: each rank has its own tokens
    flops = Flops.of(model)
    peak = _peak_of_rank(mesh, compute_dtype(config))
    if val_loader is None and data.val is not None:
        val_loader = open_loader(config, data.val, base, mesh, model, training=False)
    run = Run(
        config=config,
        plan=plan,
        mesh=mesh,
        model=model,
        objective=objective,
        optimizer=optimizer,
        rate=make_rate(config.optim, warmup_steps=plan.warmup_steps, total_steps=plan.total_steps),
        loader=loader,
        val_loader=val_loader,
        checkpoints=Checkpoints(
            Path(config.trainer.default_local_dir),
            keep=config.trainer.max_ckpt_to_keep,
            mesh=mesh,
            asynchronous=config.trainer.async_save,
        ),
        meter=Meter(mesh, flops, peak),
        val_meter=Meter(mesh, flops, peak),
        export=partial(_export, config=config, base=base, model=model),
        began=mesh.on_main(lambda: beginning(config.recipe, base.folder)),
        merge=_merge(config, base, model, mesh),
    )
    resumed = run.progress.step if resume(run) else None
    run.tracker = Trackers([_trackers(config, mesh, plan, resumed), *watch])
    _replay(run.checkpoints.folder, resumed, watch)
    if mesh.is_main:
        save_resolved(config, run.checkpoints.folder / "config.yaml")
    return run


def resume(run: Run) -> bool:
    """Take up the latest good checkpoint, or the one named, as trainer.resume_mode says. True if there was one."""
    mode, path = run.config.trainer.resume_mode, run.config.trainer.resume_from_path
    if mode == "disable":
        return False
    state = run.checkpoints.load(run.model, run.optimizer, path if mode == "resume_path" else "auto")
    if state is None:
        return False
    if mode == "auto":
        refuse_another(state.get("began", {}), run.began, run.checkpoints.folder)
    run.progress = Progress(**state["progress"])
    run.model.recall(state.get("model", {}))
    run.loader.recall(state.get("loader", {}))
    return True


def _trackers(config: Config, mesh: Mesh, plan: Plan, resumed_step: int | None) -> Tracker:
    t = config.trainer
    return start_trackers(
        t.logger, t.default_local_dir, t.project_name, t.experiment_name, config_dict(config), mesh.is_main, plan.total_steps,
        resumed_step=resumed_step,
    )  # fmt: skip


def _replay(folder: Path, resumed_step: int | None, watch: Sequence[Tracker]) -> None:
    """Those that watch see what an earlier kernel logged, so that a curve begins where the run did."""
    for row in read_metrics(folder / "metrics.jsonl") if resumed_step is not None else []:
        known = {name: value for name, value in row.items() if name != "step" and value is not None}
        for tracker in watch:
            tracker.log(int(row["step"] or 0), known)


def _export(folder: Path, measured: Measured, *, config: Config, base: Base, model: PackedModel) -> None:
    """What makes a folder of weights a model that anyone can load, and where it came from."""
    model.hf.config.save_pretrained(folder)
    export_adapter(model, folder)
    origin: dict[str, Any] = {"base": str(base.folder.resolve()), "recipe": config.recipe}
    if isinstance(model, ScoreModel):
        _save_padding_tokenizer(base.tokenizer, model.hf.config.pad_token_id, folder)
        known = measured.figures
        origin["scores"] = {"mean": known.get("score"), "std": known.get("score_std"), "of": measured.of}
    else:
        if (stops := base.folder / GENERATION_CONFIG_NAME).is_file():
            shutil.copyfile(
                stops, folder / stops.name
            )  # as it is: end tokens and sampling that config.json does not know
        base.tokenizer.save_pretrained(folder)
    (folder / "cookbook.json").write_text(json.dumps(origin, indent=2) + "\n")


def _merge(config: Config, base: Base, model: PackedModel, mesh: Mesh) -> Merge | None:
    if config.model.lora_rank == 0 or config.model.lora_save == "adapter":
        return None
    return lambda folder: merged_weights(
        folder, model, base.tokenizer, mesh, trust_remote_code=config.model.trust_remote_code
    )


def _save_padding_tokenizer(tokenizer: PreTrainedTokenizerBase, pad: int, folder: Path) -> None:
    """The tokenizer, padding with the token that the model takes for padding, on the right."""
    own = copy.deepcopy(tokenizer)
    own.pad_token, own.padding_side = own.convert_ids_to_tokens(pad), "right"
    own.save_pretrained(folder)


def _check_vocabulary(examples: Any, base: Base, vocabulary: int) -> None:
    """On a GPU, an id without an embedding is an assertion of the device, with no word about the cause."""
    if examples.largest_id >= vocabulary:
        raise CookbookError(
            f"{base.folder}: its tokenizer gives token {examples.largest_id} ({base.tokenizer.decode([examples.largest_id])!r}), the model "
            f"has {vocabulary} embeddings: put the model's own tokenizer beside it, or resize its embeddings."
        )


def _use_liger(model: PackedModel, mesh: Mesh) -> None:
    if mesh.device.type != "cuda":
        raise CookbookError(
            "model.use_liger=true needs CUDA: its kernels are Triton's. Set it to false on this machine."
        )
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError as error:
        raise CookbookError("model.use_liger=true needs the package liger-kernel: pip install liger-kernel.") from error
    _apply_liger_kernel_to_instance(model=model.hf, cross_entropy=False, fused_linear_cross_entropy=False)


def _peak_of_rank(mesh: Mesh, dtype: torch.dtype) -> float:
    """Flop/s that one rank can have. Ranks that share a CPU measure while the others do, so each finds its share."""
    mesh.barrier()
    return peak_flops(mesh.device, dtype)
