"""One update of a policy is the same update on every layout, however it is cut; and a wrong normaliser is noticed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cookbook_lib.data.templates import preset
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.training.objectives.completion_tokens import owned
from cookbook_lib.training.parity import LAYOUTS, Cut, Parity, by_the_micro_batch, parity_table
from cookbook_lib.training.parity_policy import DPO_STEP, GSPO_STEP, PPO_STEP, SIZES, groups
from cookbook_lib.training.parity_step import Step, deal

LIMIT = 1e-5  # relative, fp32
STEPS = {step.name: step for step in (PPO_STEP, GSPO_STEP, DPO_STEP)}
HERE = [layout for layout in LAYOUTS if layout.name in ("1 process", "FSDP x2", "Ulysses x2", "dp2 x sp2")]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "head_dim": 12}
    return build_tiny(
        tmp_path_factory.mktemp("model") / "tiny", ["some text to learn words from"], preset("qwen3"), **shape
    )


@pytest.fixture(scope="module", params=STEPS)
def step(request: pytest.FixtureRequest) -> Step:
    return STEPS[request.param]


def cuts_of(step: Step) -> list[Cut]:
    return [Cut(form, form == step.forms[0], number) for form in step.forms for number in (1, 3)]


@pytest.fixture(scope="module")
def table(folder: Path, step: Step) -> list[Parity]:
    return parity_table(folder, HERE, cuts_of(step), step=step)


@pytest.mark.parametrize("layout", HERE, ids=lambda layout: layout.name)
def test_loss_and_gradients_are_those_of_plain_transformers(table, step, layout):
    rows = [row for row in table if row.layout == layout]
    assert [row.cut for row in rows] == cuts_of(step)
    off = [row for row in rows if not (row.loss <= LIMIT and row.gradient <= LIMIT)]  # a NaN is off, too
    assert not off


def test_a_mean_of_means_fails(folder, step):
    """Each micro-batch divided by its own units: right only where there is a single one."""
    layouts, cuts = HERE[:2], [Cut("packed", False, 1), Cut("packed", False, 3)]
    rows = parity_table(folder, layouts, cuts, by_the_micro_batch, step=step)
    wrong = {(row.layout.name, row.cut.accumulation): row.gradient for row in rows}
    assert wrong.pop(("1 process", 1)) <= LIMIT
    assert min(wrong.values()) > 1000 * LIMIT, wrong


def place(rank: int, sp: int) -> Any:
    return SimpleNamespace(dp=1, dp_rank=0, sp=sp, sp_rank=rank, sp_group=None)


@pytest.mark.parametrize("sp", [2, 4])
@pytest.mark.parametrize("form", GSPO_STEP.forms)
def test_the_table_has_completions_over_the_seams_and_every_token_counts_once(folder, form, sp):
    examples = groups(folder)
    ranks = [place(rank, sp) for rank in range(sp)]
    batches = [deal(GSPO_STEP, examples, mesh, form=form, accumulation=1)[0] for mesh in ranks]
    tokens, completions = (
        torch.stack(part) for part in zip(*map(owned, batches, ranks), strict=True)
    )  # (rank, N), (rank, C)
    assert (tokens.sum(0) == 1).all()
    assert (completions.sum(0) == 1).all()
    assert completions.shape[1] == sum(len(lengths) for _, lengths in SIZES)
    readers = [set(tokens[:, batches[0].completion == c].nonzero()[:, 0].tolist()) for c in range(completions.shape[1])]
    assert max(map(len, readers)) > 1
    assert np.array(batches[0].input_ids.shape).prod() * sp >= sum(batches[0].lengths)
