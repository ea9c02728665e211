"""What the training's forward says of a round's tokens: the same in every form, in any parts, on every layout."""

from typing import Any

import numpy as np
import pytest
import torch

from cookbook_lib.data.completions import Group, pack_completions
from cookbook_lib.parallel.mesh import make_mesh
from cookbook_lib.parallel.ulysses import take_shard
from cookbook_lib.training.objectives.completion_tokens import completion_logps
from cookbook_lib.training.rollouts.columns import add_columns, mismatch, policy_columns, reference_columns
from cookbook_lib.training.rollouts.forwards import Forwards
from tests.ranks import run_ranks
from tests.training.rollout_run import VOCAB, model_of


def groups_of(count: int = 5) -> list[Group]:
    draw = np.random.default_rng(2)
    ids = lambda n: draw.integers(4, VOCAB, n).astype(np.int32)  # noqa: E731
    return [
        Group(i, ids(2 + 3 * i), tuple(ids(n) for n in draw.integers(1, 9, 3)), (True,) * 3, i) for i in range(count)
    ]


def columns_on(sp: int, laid: dict[str, Any], count: int = 5) -> list[list[np.ndarray]]:
    mesh = make_mesh(sp, device="cpu")
    model = model_of(mesh).train()
    forwards = Forwards(**{"ranks": mesh.dp, "max_tokens": 60, "multiple": sp} | laid)
    tells = [policy_columns(model, mesh, temperature=0.7), reference_columns(model_of(mesh, seed=1), mesh)]
    told = add_columns(groups_of(count), tells, forwards, lambda batch: take_shard(batch, mesh), mesh)
    assert model.training
    return [[*group.columns["old_logps"], *group.columns["ref_logps"]] for group in told]


def one_by_one() -> list[list[np.ndarray]]:
    """Each completion alone behind its prompt, by transformers' own logits."""
    mesh = make_mesh(device="cpu")
    found = []
    for group in groups_of():
        own = []
        for seed, temperature in ((0, 0.7), (1, 1.0)):
            model = model_of(mesh, seed=seed)
            for ids in group.completions:
                document = torch.from_numpy(np.concatenate([group.prompt, ids]).astype(np.int64))[None]
                with torch.no_grad():
                    logits = model(document, torch.arange(document.shape[1])[None], (0, document.shape[1]))
                logps = (logits[0, len(group.prompt) - 1 : -1] / temperature).log_softmax(-1)
                own.append(logps.gather(1, torch.from_numpy(ids.astype(np.int64))[:, None]).squeeze(1).numpy())
        found.append(own)
    return found


def close(a: list[list[np.ndarray]], b: list[list[np.ndarray]]) -> None:
    for own, other in zip(a, b, strict=True):
        for x, y in zip(own, other, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5, rtol=0)


FORMS: dict[str, dict[str, Any]] = {
    "shared": {},
    "cut": {"max_tokens": 26},
    "unshared": {"share": False},
    "padded": {"padded": True, "max_rows": 4},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_each_completion_alone_says(form) -> None:
    close(columns_on(1, FORMS[form]), one_by_one())


@pytest.mark.slow
@pytest.mark.parametrize(("world", "sp"), [(2, 1), (2, 2), (4, 2)], ids=["FSDP x2", "Ulysses x2", "dp2 x sp2"])
def test_every_layout_says_the_same_on_every_rank(world, sp) -> None:
    wanted = one_by_one()
    for form in ("shared", "padded"):
        for found in run_ranks(columns_on, world, sp, FORMS[form]):
            close(found, wanted)


@pytest.mark.slow
def test_fewer_groups_than_ranks() -> None:
    wanted = one_by_one()[:1]
    for found in run_ranks(columns_on, 2, 1, {"max_tokens": 200}, 1):
        close(found, wanted)


def test_weights_are_in_their_shards_afterwards() -> None:
    mesh = make_mesh(device="cpu")
    model = model_of(mesh)
    before = [type(p) for p in model.parameters()]
    policy_columns(model, mesh)(pack_completions(groups_of()))
    assert [type(p) for p in model.parameters()] == before
    with torch.no_grad():
        completion_logps(model, pack_completions(groups_of()), mesh)
    assert [type(p) for p in model.parameters()] != before, "what would happen without"


def test_mismatch_is_a_mean_by_completion_and_a_largest() -> None:
    old = (np.array([-1, -2], np.float32), np.array([-3], np.float32))
    drawn = (np.array([-1.5, -2], np.float32), np.array([-2], np.float32))
    ids = (np.array([1, 2], np.int32), np.array([3], np.int32))
    group = Group(0, ids[0], ids, (True, True), 0, {"old_logps": old, "rollout_logps": drawn})
    assert mismatch([group]) == ([(0.25, 1.0)], 1.0)
