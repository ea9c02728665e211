"""One optimizer step is the same step on every layout, however it is cut; and a wrong normaliser is noticed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig

from cookbook_lib.data.templates import preset
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.training.objectives.scoring import Ends
from cookbook_lib.training.parity import LAYOUTS, Cut, Parity, by_the_micro_batch, cuts_of, parity_table
from cookbook_lib.training.parity_reward import BRADLEY_TERRY_STEP, PADDED, POINTWISE_STEP, SHARED, pairs
from cookbook_lib.training.parity_step import SFT_STEP, Step, deal

LIMIT = 1e-5  # relative, fp32

STEPS = {step.name: step for step in (SFT_STEP, BRADLEY_TERRY_STEP, POINTWISE_STEP)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's architecture, narrower: 4 query heads on 2 key-value heads, tied embeddings."""
    shape = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "head_dim": 12}
    return build_tiny(
        tmp_path_factory.mktemp("model") / "tiny", ["some text to learn words from"], preset("qwen3"), **shape
    )


@pytest.fixture(scope="module", params=STEPS)
def step(request: pytest.FixtureRequest) -> Step:
    return STEPS[request.param]


@pytest.fixture(scope="module")
def table(folder: Path, step: Step) -> list[Parity]:
    return parity_table(folder, step=step)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_loss_and_gradients_are_those_of_plain_transformers(table, step, layout):
    rows = [row for row in table if row.layout == layout]
    assert [row.cut for row in rows] == list(cuts_of(step))
    off = [row for row in rows if not (row.loss <= LIMIT and row.gradient <= LIMIT)]  # a NaN is off, too
    assert not off


def test_the_table_covers_fewer_kv_heads_than_ranks(folder):
    config = AutoConfig.from_pretrained(folder)
    assert config.num_key_value_heads < max(layout.sp for layout in LAYOUTS) <= config.num_attention_heads
    assert config.tie_word_embeddings


def test_a_mean_of_means_fails(folder, step):
    """The same table with each micro-batch divided by its own units: right only where there is a single one."""
    layouts = [layout for layout in LAYOUTS if layout.world <= 2]
    cuts = [Cut("packed", False, 1), Cut("packed", False, 3)]
    rows = parity_table(folder, layouts, cuts, by_the_micro_batch, step=step)
    wrong = {(row.layout.name, row.cut.accumulation): row.gradient for row in rows}
    assert wrong.pop(("1 process", 1)) <= LIMIT
    assert min(wrong.values()) > 1000 * LIMIT, wrong
    assert max(row.loss for row in rows) > 1000 * LIMIT


def place(rank: int, sp: int) -> Any:
    return SimpleNamespace(dp=1, dp_rank=0, sp=sp, sp_rank=rank, sp_group=None)


@pytest.mark.parametrize("sp", [2, 4])
@pytest.mark.parametrize("form", BRADLEY_TERRY_STEP.forms)
def test_the_table_has_pairs_whose_answers_end_in_other_rows_and_on_other_ranks(folder, tmp_path, form, sp):
    examples = pairs(BRADLEY_TERRY_STEP.base(folder, tmp_path))
    step = [deal(BRADLEY_TERRY_STEP, examples, place(rank, sp), form=form, accumulation=1) for rank in range(sp)]
    ends = [Ends.of(batch, place(rank, sp)) for rank, (batch,) in enumerate(step)]
    here = np.stack([end.here for end in ends])  # (rank, pair, answer)
    assert (here.sum(0) == 1).all(), "every answer ends on one rank"
    apart = (here[:, :, 0] != here[:, :, 1]).any(0)
    assert 0 < apart.sum() < len(examples)
    assert np.stack([end.owned for end in ends]).sum() == len(examples), "every pair counts once"
    rows = step[0][0].ends[..., 0]
    assert (rows[:, 0] != rows[:, 1]).all() == (form == PADDED)
    assert (step[0][0].continues is not None) == (form == SHARED)


def test_the_table_has_forwards_without_a_unit(folder, tmp_path, step):
    base = step.base(folder, tmp_path)
    batches = deal(step, step.examples(base), place(0, 1), form="packed", accumulation=3)
    assert [len(batch.rows) > 0 for batch in batches] == [True, True, False]
