"""One optimizer step is the same step on every layout, however it is cut; and a wrong normaliser is noticed."""

from pathlib import Path

import pytest
from transformers import AutoConfig

from cookbook_lib.data.templates import preset
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.training.parity import CUTS, LAYOUTS, Cut, Parity, by_the_micro_batch, parity_table

LIMIT = 1e-5  # relative, fp32

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's architecture, narrower: 4 query heads on 2 key-value heads, tied embeddings."""
    shape = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "head_dim": 12}
    return build_tiny(
        tmp_path_factory.mktemp("model") / "tiny", ["some text to learn words from"], preset("qwen3"), **shape
    )


@pytest.fixture(scope="module")
def table(folder: Path) -> list[Parity]:
    return parity_table(folder)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_loss_and_gradients_are_those_of_plain_transformers(table, layout):
    rows = [row for row in table if row.layout == layout]
    assert [row.cut for row in rows] == list(CUTS)
    off = [row for row in rows if not (row.loss <= LIMIT and row.gradient <= LIMIT)]  # a NaN is off, too
    assert not off


def test_the_table_covers_fewer_kv_heads_than_ranks(folder):
    config = AutoConfig.from_pretrained(folder)
    assert config.num_key_value_heads < max(layout.sp for layout in LAYOUTS) <= config.num_attention_heads
    assert config.tie_word_embeddings


def test_a_mean_of_means_fails(folder):
    """The same table with each micro-batch divided by its own tokens: right only where there is a single one."""
    layouts = [layout for layout in LAYOUTS if layout.world <= 2]
    rows = parity_table(folder, layouts, [Cut(True, False, 1), Cut(True, False, 3)], by_the_micro_batch)
    wrong = {(row.layout.name, row.cut.accumulation): row.gradient for row in rows}
    assert wrong.pop(("1 process", 1)) <= LIMIT
    assert min(wrong.values()) > 1000 * LIMIT, wrong
    assert max(row.loss for row in rows) > 1000 * LIMIT
