"""The same completions through TRL's GRPOTrainer, and the same pairs through its DPOTrainer: loss and gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cookbook_lib.config.policy_schema import AlgorithmConfig, DpoConfig
from cookbook_lib.data.completions import Group, pack_completions
from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.reward.packing import pack_candidates
from cookbook_lib.data.templates import preset
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import build_model, load_weights
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.training.advantages import grpo
from cookbook_lib.training.objectives.answer_tokens import pair_logps
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.completion_tokens import completion_logps
from cookbook_lib.training.objectives.dpo import DPO
from cookbook_lib.training.objectives.policy_gradient import PolicyGradient
from tests.training.policy_rollouts import ONE_RANK
from tests.training.score_batches import means

LIMIT, HORIZON, VOCABULARY = 1e-5, 11, 300
SIZES = [(9, (3, 8, 1)), (4, (5, 5, 11))]  # tokens of a prompt, of its completions

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what TRL and its friends warn of is theirs


@pytest.fixture(scope="module")
def trl() -> Any:
    return pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[bench]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("policy"), 0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference: other weights, the same tokenizer."""
    return tiny(tmp_path_factory.mktemp("reference"), 1)


def tiny(folder: Path, seed: int) -> Path:
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "head_dim": 12,
    }
    return build_tiny(folder / "tiny", ["some text to learn words from"], preset("qwen3"), seed=seed, **shape)


def ours_of(folder: Path) -> PackedModel:
    model = build_model(folder, varlen_attention)
    load_weights(model, folder, torch.device("cpu"))
    return model


def stepped(
    model: PackedModel, objective: Objective, batch: Any
) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """Loss, gradients and stats of one step over one batch."""
    loss = objective(model, batch)
    total = loss.total / objective.count(batch)
    total.backward()
    return total.item(), {name: p.grad for name, p in model.hf.named_parameters()}, means(loss)


def check(ours: tuple[float, dict[str, torch.Tensor], Any], loss: torch.Tensor, theirs: Any) -> None:
    loss.backward()
    assert ours[0] == pytest.approx(loss.item(), rel=LIMIT, abs=LIMIT)
    wanted = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert ours[1].keys() == wanted.keys()
    for name, grad in wanted.items():
        assert (ours[1][name] - grad).norm() <= LIMIT * grad.norm(), name


def options_of(scratch: Path) -> dict[str, Any]:
    return {
        "output_dir": str(scratch), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "disable_tqdm": True,
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- GRPO


def groups_of(model: PackedModel, temperature: float) -> list[Group]:
    """Advantages by grpo; log-probabilities of the drawing policy and of the reference near the model's own."""
    rng = np.random.default_rng(0)
    groups = []
    for number, (prompt, lengths) in enumerate(SIZES):
        completions = tuple(rng.integers(3, VOCABULARY - 40, n).astype(np.int32) for n in lengths)
        groups.append(
            Group(number, rng.integers(3, VOCABULARY - 40, prompt).astype(np.int32), completions, (True,) * 3, number)
        )
    with torch.no_grad():
        own = completion_logps(model, pack_completions(groups), ONE_RANK, temperature=temperature).logps.numpy()
    each = iter(np.split(own, np.cumsum([n for _, lengths in SIZES for n in lengths])[:-1]))
    made = []
    for group in groups:
        advantages = grpo(torch.from_numpy(rng.normal(size=3)), torch.zeros(3, dtype=torch.long)).numpy()
        logps = [next(each) for _ in group.completions]
        columns = {
            "advantages": tuple(np.full(len(x), a, np.float32) for x, a in zip(logps, advantages, strict=True)),
            **{
                name: tuple((x + 0.4 * rng.normal(size=len(x))).astype(np.float32) for x in logps)
                for name in ("old_logps", "ref_logps", "rollout_logps")
            },
        }
        made.append(Group(group.row, group.prompt, group.completions, group.finished, group.number, columns))
    return made


def their_inputs(groups: list[Group]) -> dict[str, torch.Tensor]:
    """Prompts padded on the left, completions on the right, as GRPOTrainer makes them."""
    rows = [(g, i) for g in groups for i in range(len(g.completions))]
    prompts, longest = max(len(g.prompt) for g in groups), max(max(g.lengths) for g in groups)

    def right(values: list[Any], dtype: torch.dtype) -> torch.Tensor:
        return torch.stack(
            [torch.nn.functional.pad(torch.as_tensor(x).to(dtype), (0, longest - len(x))) for x in values]
        )

    inputs = {
        "prompt_ids": torch.stack(
            [torch.nn.functional.pad(torch.from_numpy(g.prompt).long(), (prompts - len(g.prompt), 0)) for g, _ in rows]
        ),
        "prompt_mask": torch.stack(
            [torch.nn.functional.pad(torch.ones(len(g.prompt)).long(), (prompts - len(g.prompt), 0)) for g, _ in rows]
        ),
        "completion_ids": right([g.completions[i] for g, i in rows], torch.long),
        "completion_mask": right([np.ones(g.lengths[i]) for g, i in rows], torch.long),
        "advantages": torch.tensor([float(g.columns["advantages"][i][0]) for g, i in rows]),
        "num_items_in_batch": torch.tensor(sum(sum(g.lengths) for g in groups)),
    }
    names = {"old_logps": "old_per_token_logps", "ref_logps": "ref_per_token_logps"}
    return inputs | {
        theirs: right([g.columns[ours][i] for g, i in rows], torch.float32) for ours, theirs in names.items()
    }


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # name -> (TRL's options, ours)
    "grpo": ({"loss_type": "grpo", "beta": 0.05},
             {"loss_agg_mode": "seq-mean-token-mean", "use_kl_loss": True, "kl_loss_coef": 0.05, "clip_ratio_c": None}),
    "bnpo": ({"loss_type": "bnpo"}, {"clip_ratio_c": None}),
    "dr_grpo": ({"loss_type": "dr_grpo", "max_completion_length": HORIZON},
                {"loss_agg_mode": "seq-mean-token-sum-norm", "clip_ratio_c": None}),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, {"clip_ratio_high": 0.28, "clip_ratio_c": None}),
    "dual clip": ({"loss_type": "dapo", "delta": 1.4}, {"clip_ratio_c": 1.4}),
    "gspo": ({"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.05},
             {"policy_loss": "gspo", "loss_agg_mode": "seq-mean-token-mean", "clip_ratio_low": 0.05, "clip_ratio_high": 0.05}),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.3},
              {"policy_loss": "cispo", "clip_ratio_low": 1.0, "clip_ratio_high": 0.3}),
    "warm": ({"loss_type": "dapo", "temperature": 0.7, "beta": 0.1},
             {"use_kl_loss": True, "kl_loss_coef": 0.1, "clip_ratio_c": None}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_grpo_and_its_loss_types(trl: Any, folder: Path, tmp_path: Path, kind: str) -> None:
    from datasets import Dataset

    theirs, options = KINDS[kind]
    temperature = theirs.get("temperature", 1.0)
    trainer = trl.GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=trl.GRPOConfig(  # their distance is k3 times the ratio unless told otherwise
            num_generations=3,
            per_device_train_batch_size=6,
            use_bias_correction_kl=False,
            **options_of(tmp_path),
            **theirs,
        ),
        train_dataset=Dataset.from_list([{"prompt": "some"}] * 4),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    model = ours_of(folder)
    groups = groups_of(model, temperature)
    objective = PolicyGradient(ONE_RANK, AlgorithmConfig(**options), temperature=temperature, horizon=HORIZON)
    ours = stepped(model, objective, pack_completions(groups))
    loss = trainer._compute_loss(trainer.model, their_inputs(groups))
    check(ours, loss, trainer.model)
    metrics = {name: values[0] for name, values in trainer._metrics["train"].items()}
    assert ours[2]["entropy"] == pytest.approx(metrics["entropy"], rel=1e-4)
    if "beta" in theirs:
        assert ours[2]["kl"] == pytest.approx(metrics["kl"], rel=1e-4)
    if kind in ("grpo", "bnpo", "dr_grpo", "dapo"):
        assert ours[2]["clip_fraction"] == pytest.approx(metrics["clip_ratio/region_mean"], abs=1e-6)
        assert ours[2]["clip_fraction"] > 0


# ------------------------------------------------------------------------------------------------------------------ DPO


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_dpo(trl: Any, folder: Path, other: Path, tmp_path: Path, loss: str) -> None:
    from datasets import Dataset

    texts = [
        "some text",
        "words from",
        "to",
        "learn some text",
        "text words to",
        "from from words",
        "some",
        "learn words",
    ]
    rows = [{"prompt": f"{a} {b}", "chosen": f" {c} {a}", "rejected": f"{b}{c}"}
            for a, b, c in zip(texts, texts[1:], texts[2:], strict=False)]  # fmt: skip
    trainer = trl.DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32),
        args=trl.DPOConfig(per_device_train_batch_size=len(rows), beta=0.3, loss_type=[loss], **options_of(tmp_path)),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    (batch,) = trainer.get_train_dataloader()
    trainer.model.train()
    expected = trainer.compute_loss(trainer.model, dict(batch))
    pairs = _pairs(batch)
    model = ours_of(folder)
    with torch.no_grad():
        reference = pair_logps(ours_of(other), pack_candidates(pairs, range(len(pairs))), ONE_RANK).sums.numpy()
    known = [Candidates(p.shared, p.rests, np.append(p.targets, r)) for p, r in zip(pairs, reference, strict=True)]
    objective = DPO(ONE_RANK, DpoConfig(loss=loss, beta=0.3))
    ours = stepped(model, objective, pack_candidates(known, range(len(known))))
    check(ours, expected, trainer.model)
    metrics = {name: values[0] for name, values in trainer._metrics["train"].items()}
    assert ours[2]["accuracy"] == pytest.approx(metrics["rewards/accuracies"])
    assert ours[2]["margin"] == pytest.approx(metrics["rewards/margins"], rel=1e-4)


def _pairs(batch: dict[str, torch.Tensor]) -> list[Candidates]:
    """Their tokens as ours: what both answers begin with, and the rest of each."""
    documents = [
        ids[mask.bool()].numpy() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    made = []
    for chosen, rejected in zip(documents[: len(documents) // 2], documents[len(documents) // 2 :], strict=True):
        shared = int(np.argmax(chosen[: len(rejected)] != rejected[: len(chosen)]))
        rests = (chosen[shared:].astype(np.int32), rejected[shared:].astype(np.int32))
        made.append(Candidates(chosen[:shared].astype(np.int32), rests, np.array([0, 1], np.float32)))
    return made
