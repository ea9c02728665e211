"""One step of a model with adapters, SFT or Bradley-Terry: as we cut it over ranks, and as peft in transformers takes it."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from cookbook_lib.config.schema import BradleyTerryConfig
from cookbook_lib.data.packing import shift
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, load_tokenizer, load_weights
from cookbook_lib.models.lora import adapt, adapter_weights, initialise_adapters, save_adapter_config
from cookbook_lib.models.score_head import ScoreHead, build_score_model
from cookbook_lib.models.shards import own_part
from cookbook_lib.parallel.fsdp import clip_grad_norm, shard_model
from cookbook_lib.parallel.gradient_checkpointing import recompute_layers
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.parallel.ulysses import ulysses
from cookbook_lib.training.objectives.bradley_terry import BradleyTerry
from cookbook_lib.training.objectives.sft import SFT
from cookbook_lib.training.parity import by_the_step, sharded_step
from cookbook_lib.training.parity_reward import BRADLEY_TERRY_STEP, pairs
from cookbook_lib.training.parity_step import SFT_STEP, deal, unequal_examples

Tensors = dict[str, torch.Tensor]
RANK, ALPHA, SEED = 3, 5, 11


@dataclass(frozen=True)
class Case:
    """A layout and a cut of the step."""

    name: str
    reward: bool = False
    world: int = 1
    sp: int = 1
    fsdp_size: int = -1
    packed: bool = True
    recompute: bool = False
    accumulation: int = 1
    offload: bool = False
    targets: Any = "all-linear"
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Step:
    loss: float
    norm: float
    grads: Tensors  # whole, by the names of peft's files
    weights: Tensors  # the same, of what learns
    resting: dict[str, torch.dtype]  # of every weight, by its name inside


def adapted(folder: Path, case: Case, mesh: Mesh) -> PackedModel:
    """Sharded and loaded, A by the seed and B (and a score head) drawn as well: at zero, A would have no gradient."""
    attend = ulysses(varlen_attention, mesh.sp_group)
    if case.reward:
        model: PackedModel = build_score_model(folder, attend, load_tokenizer(folder), ScoreHead())
    else:
        model = build_model(folder, attend)
    adapt(model, rank=RANK, alpha=ALPHA, targets=case.targets, frozen_dtype=case.dtype, base=str(folder))
    if case.recompute:
        recompute_layers(model.layers)
    shard_model(
        model, mesh, layers=model.layers, exact=model.exact_modules, compute_dtype=case.dtype, param_offload=case.offload
    )  # fmt: skip
    load_weights(model, folder, mesh.device, offload=case.offload)
    initialise_adapters(model, SEED)
    draw_zeros(model)
    return model


@torch.no_grad()
def draw_zeros(model: PackedModel) -> None:
    """Alike on every layout: drawn whole, then cut."""
    for name, weight in adapter_weights(model).items():
        if ".lora_A." not in name:
            generator = torch.Generator().manual_seed(sum(name.encode()))
            local, region = own_part(weight)
            local.copy_(0.1 * torch.randn(weight.shape, generator=generator)[region])


def dealt(folder: Path, case: Case, mesh: Mesh) -> list[Any]:
    """This rank's micro-batches."""
    step = BRADLEY_TERRY_STEP if case.reward else SFT_STEP
    form = "padded" if not case.packed else step.forms[0]
    return deal(step, step.examples(folder), mesh, form=form, accumulation=case.accumulation)


def our_steps(folder: Path, cases: list[Case], save: Path | None = None) -> list[Step]:
    """Runs on every rank of a world; rank 0's result counts. save: where the first case's adapter is written."""
    return [our_step(folder, case, save if i == 0 else None) for i, case in enumerate(cases)]


def our_step(folder: Path, case: Case, save: Path | None = None) -> Step:
    mesh = make_mesh(case.sp, case.fsdp_size, "cpu")
    model = adapted(folder, case, mesh)
    weights = {name: w.full_tensor().detach().clone() for name, w in adapter_weights(model).items()}
    if save is not None:
        write_adapter(model, weights, save)
    objective: Any = BradleyTerry(mesh, BradleyTerryConfig()) if case.reward else SFT()
    loss, inside = sharded_step(model, mesh, objective, dealt(folder, case, mesh), by_the_step)
    norm = clip_grad_norm(model.parameters(), None)
    grads = {name: w.grad.full_tensor().double() for name, w in adapter_weights(model).items()}
    assert len(inside) == len(grads)  # and none of a frozen weight
    return Step(loss, norm, grads, weights, {name: p.dtype for name, p in model.hf.named_parameters()})


def write_adapter(model: PackedModel, weights: Tensors, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.hf.config.save_pretrained(folder)
    save_adapter_config(model, folder)
    save_file(weights, folder / "adapter_model.safetensors")


def peft_model(base: Path, adapter: Path, *, reward: bool, trainable: bool = True) -> Any:
    """peft's own reading of the two folders, float64."""
    from peft import PeftModel

    auto = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    options: Any = {
        "config": AutoConfig.from_pretrained(adapter),
        "dtype": torch.float64,
        "attn_implementation": "eager",
    }
    plain = auto.from_pretrained(base, **options)
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5 by a deprecated name
        warnings.filterwarnings("ignore", category=FutureWarning, message="`is_gradient_checkpointing`")
        return PeftModel.from_pretrained(plain, adapter, is_trainable=trainable).double()


def peft_step(base: Path, adapter: Path, *, reward: bool) -> tuple[float, Tensors]:
    """The step as peft takes it, each document alone; gradients by the names of its files."""
    model = peft_model(base, adapter, reward=reward)
    total = _pairs(model, base) if reward else _conversations(model, base)
    total.backward()
    names = {n: n.replace(".default.", ".").replace(".modules_to_save.", ".") for n, _ in model.named_parameters()}
    return total.item(), {names[n]: p.grad for n, p in model.named_parameters() if p.grad is not None}


def _conversations(model: Any, base: Path) -> torch.Tensor:
    total, units = torch.zeros((), dtype=torch.float64), 0.0
    for example in unequal_examples(base):
        labels, weights = shift(np.asarray(example.input_ids), np.asarray(example.weights))
        logits = model(torch.from_numpy(example.input_ids.astype(np.int64))[None]).logits[0]
        nll = F.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
        total, units = total + (nll * torch.from_numpy(weights)).sum(), units + float(example.weights.sum())
    return total / units


def _pairs(model: Any, base: Path) -> torch.Tensor:
    losses = []
    for pair in pairs(base):
        answers = (np.concatenate([pair.shared, rest]).astype(np.int64) for rest in pair.rests)
        chosen, rejected = (model(torch.from_numpy(ids)[None]).logits[0, 0] for ids in answers)
        p = float(pair.targets[1])
        losses.append(-p * F.logsigmoid(chosen - rejected) - (1 - p) * F.logsigmoid(rejected - chosen))
    return torch.stack(losses).mean()
