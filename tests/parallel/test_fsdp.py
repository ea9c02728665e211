"""FSDP2: sums over any mesh, norms and clipping, accumulation, recovery, meta device, tied weights, offload."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel.fsdp import clip_grad_norm, recover, rest, shard_model, synchronise_gradients
from cookbook_lib.parallel.gradient_checkpointing import recompute_layers
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from tests.ranks import run_ranks

WORLD = 4
MESHES = {"1-D": (4, -1), "HSDP 2x2": (4, 2), "replicas only": (4, 1), "world of one": (1, -1)}  # ranks, fsdp_size


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width, bias=False)
        self.gain = nn.Parameter(torch.ones(1))  # smaller than the world: empty shards on most ranks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gain * self.down(F.silu(self.up(x)))


class Toy(nn.Module):
    """Embedding, blocks, and a head that shares the embedding's weight."""

    def __init__(self, words: int = 11, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(x), targets, reduction="sum")


def toy(dtype: torch.dtype = torch.float32) -> Toy:
    torch.manual_seed(0)
    return Toy().to(dtype)


def portions(micro_batches: int = 1) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    """[rank][micro-batch] -> (ids, targets), 1 to 97 tokens: very unequal work."""
    generator = torch.Generator().manual_seed(1)
    sizes = [[1 + 32 * ((rank + 2 * i) % WORLD) for i in range(micro_batches)] for rank in range(WORLD)]
    return [[tuple(torch.randint(0, 11, (2, n), generator=generator)) for n in rank] for rank in sizes]


def reference(dtype: torch.dtype, micro_batches: int = 1) -> dict[str, torch.Tensor]:
    """Gradients of the mean over all tokens of all ranks, in one plain process."""
    model, batches = toy(dtype), [b for rank in portions(micro_batches) for b in rank]
    units = sum(ids.numel() for ids, _ in batches)
    for ids, targets in batches:
        (model(ids, targets) / units).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def mine(mesh: Mesh, micro_batches: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """This rank's portions; all of them in a world of one."""
    ranks = portions(micro_batches)
    return ranks[mesh.rank] if mesh.world_size > 1 else [b for rank in ranks for b in rank]


def shard(model: nn.Module, mesh: Mesh, dtype: torch.dtype, **options) -> nn.Module:
    return shard_model(model, mesh, layers=list(model.blocks), compute_dtype=dtype, **options)


def full_grads(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.full_tensor().clone() for name, p in model.named_parameters()}


def gradients(
    fsdp_size: int,
    dtype: torch.dtype,
    micro_batches: int = 1,
    keep_whole: bool = False,
    wrong: bool = False,
    recompute: bool = False,
    **options,
) -> dict[str, torch.Tensor]:
    mesh = make_mesh(fsdp_size=fsdp_size, device="cpu")
    model = toy(torch.promote_types(dtype, torch.float32))
    if recompute:
        recompute_layers(model.blocks)
    shard(model, mesh, dtype, **options)
    batches = mine(mesh, micro_batches)
    here = sum(ids.numel() for ids, _ in batches)
    units = here * mesh.world_size if wrong else mesh.sum(here)  # wrong: a mean of the ranks' means
    for i, (ids, targets) in enumerate(batches):
        synchronise_gradients(model, last=i == len(batches) - 1, keep_whole=keep_whole)
        (model(ids, targets) / units).backward()
    return full_grads(model)


def worst(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> float:
    """The largest difference relative to a parameter's gradient norm."""
    assert got.keys() == want.keys()
    return max(((got[n] - want[n]).norm() / want[n].norm()).item() for n in want)


@pytest.mark.parametrize("layout", MESHES)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_gradients_are_sums_over_the_world(layout, dtype, limit):
    world, fsdp_size = MESHES[layout]
    for got in run_ranks(gradients, world, fsdp_size, dtype):
        assert worst(got, reference(dtype)) < limit


def test_a_mean_of_means_is_noticed():
    got = run_ranks(gradients, WORLD, -1, torch.float64, 1, False, True)[0]
    assert worst(got, reference(torch.float64)) > 0.1


@pytest.mark.parametrize("layout", MESHES)
@pytest.mark.parametrize("keep_whole", [False, True])
def test_accumulated_gradients_are_the_same_sums(layout, keep_whole):
    world, fsdp_size = MESHES[layout]
    got = run_ranks(gradients, world, fsdp_size, torch.float64, 3, keep_whole)[0]
    assert worst(got, reference(torch.float64, 3)) < 1e-14


def variants() -> dict[str, float]:
    want = reference(torch.float64)
    return {
        "recompute": worst(gradients(2, torch.float64, recompute=True), want),
        "keep layers whole": worst(gradients(2, torch.float64, reshard_after_forward=False), want),
        "offload": worst(gradients(2, torch.float64, param_offload=True), want),
        "bf16 compute": worst(gradients(2, torch.bfloat16), {n: g.float() for n, g in want.items()}),
    }


def test_options_change_no_gradient():
    got = run_ranks(variants, WORLD)[0]
    assert 1e-4 < got.pop("bf16 compute") < 0.1  # computed in bf16, and reduced in fp32
    assert max(got.values()) < 1e-14, got


class Experts(nn.Module):
    """Two weights, of which each rank's tokens reach one."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor, which: int) -> torch.Tensor:
        return self.experts[which](x)


def one_expert_each(fsdp_size: int) -> list[float]:
    mesh = make_mesh(fsdp_size=fsdp_size, device="cpu")
    torch.manual_seed(0)
    model = Experts()
    shard_model(model, mesh, layers=[], compute_dtype=torch.float64)
    model(torch.ones(1, 4), mesh.rank % 2).sum().backward()
    return [grad.sum().item() for grad in full_grads(model).values()]


@pytest.mark.skipif(not hasattr(FSDPModule, "set_reduce_scatter_unused_params"), reason="torch before 2.13 cannot")
def test_a_weight_that_some_ranks_do_not_use():
    assert run_ranks(one_expert_each, WORLD, -1) == [[32.0, 32.0]] * WORLD
    assert run_ranks(one_expert_each, WORLD, 2) == [[32.0, 32.0]] * WORLD


def norms(fsdp_size: int) -> dict:
    mesh = make_mesh(fsdp_size=fsdp_size, device="cpu")
    model = shard(toy(), mesh, torch.float32)
    plain = nn.Parameter(torch.ones(3))  # not sharded: the same on every rank, counted once
    plain.grad = torch.full((3,), 2.0)
    for ids, targets in mine(mesh, 1):
        model(ids, targets).backward()
    parameters = [*model.parameters(), plain]
    before = full_grads(model)
    measured = clip_grad_norm(parameters, None)
    untouched = worst(full_grads(model), before)
    first = clip_grad_norm(parameters, 0.5)
    second = clip_grad_norm(parameters, 0.5)
    return {
        "before": before,
        "plain": plain.grad,
        "measured": measured,
        "untouched": untouched,
        "first": first,
        "second": second,
    }


@pytest.mark.parametrize("layout", MESHES)
def test_norm_and_clipping(layout):
    world, fsdp_size = MESHES[layout]
    ranks = run_ranks(norms, world, fsdp_size)
    expected = math.sqrt(sum(g.double().square().sum().item() for g in ranks[0]["before"].values()) + 12)
    assert len({(r["measured"], r["first"], r["second"]) for r in ranks}) == 1, "the same number on every rank"
    assert ranks[0]["measured"] == ranks[0]["first"] == pytest.approx(expected, rel=1e-6)
    assert ranks[0]["untouched"] == 0
    assert ranks[0]["second"] == pytest.approx(0.5, rel=1e-6)
    assert ranks[0]["plain"].tolist() == pytest.approx([2 * 0.5 / expected] * 3, rel=1e-6)


def non_finite() -> tuple:
    mesh = make_mesh(device="cpu")
    model = shard(toy(), mesh, torch.float32)
    model(*mine(mesh, 1)[0]).backward()
    if mesh.rank == 1:
        next(model.parameters()).grad.to_local().view(-1)[0] = math.nan
    other = [p.grad.to_local().clone() for p in model.parameters()][-1]
    norm = clip_grad_norm(model.parameters(), 1e-3)
    return math.isfinite(norm), other.equal([p.grad.to_local() for p in model.parameters()][-1])


def test_a_nan_on_one_rank_is_known_to_all_and_clips_nothing():
    assert run_ranks(non_finite, 2) == [(False, True)] * 2


def test_clipping_without_gradients_is_an_error():
    with pytest.raises(CookbookError, match="no parameter has a gradient"):
        clip_grad_norm([nn.Parameter(torch.ones(2))], 1.0)


def shapes() -> dict:
    mesh = make_mesh(fsdp_size=2, device="cpu")
    model = shard(toy(), mesh, torch.bfloat16)
    seen: list[torch.dtype] = []
    model.blocks[0].up.register_forward_hook(
        lambda module, args, out: seen.extend([args[0].dtype, module.weight.dtype])
    )
    model(*mine(mesh, 1)[0]).backward()
    p = model.blocks[0].up.weight
    return {
        "names": [n for n, _ in model.named_parameters()],
        "placements": str(p.placements),
        "local": tuple(p.to_local().shape),
        "dtypes": (p.dtype, p.grad.dtype, *seen),
        "tied": model.head.weight is model.embed.weight,
    }


def test_master_weights_stay_fp32_and_names_stay():
    got = run_ranks(shapes, WORLD)[0]
    assert got["names"] == [n for n, _ in toy().named_parameters()]
    assert got["placements"] == "(Replicate(), Shard(dim=0))"
    assert got["local"] == (9, 6)
    assert got["dtypes"] == (torch.float32, torch.float32, torch.bfloat16, torch.bfloat16)
    assert got["tied"]


def from_meta() -> float:
    """Sharded on the meta device, filled afterwards: no rank ever holds the whole model."""
    mesh = make_mesh(device="cpu")
    with torch.device("meta"):
        model = Toy()
    shard(model, mesh, torch.float64)
    model.to_empty(device="cpu")
    values = dict(toy(torch.float32).named_parameters())
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.distributed.tensor.distribute_tensor(values[name], p.device_mesh, p.placements))
    assert model.head.weight is model.embed.weight
    ids, targets = mine(mesh, 1)[0]
    (model(ids, targets) / mesh.sum(ids.numel())).backward()
    want = {n: g.float() for n, g in reference(torch.float64).items()}
    return worst(full_grads(model), want)


def test_meta_device():
    assert max(run_ranks(from_meta, WORLD)) < 1e-6


def recovers(keep_whole: bool) -> list[float]:
    """A step that breaks in forward, then one that breaks in backward; after `recover` the gradients are right."""
    mesh = make_mesh(fsdp_size=2, device="cpu")
    model = shard(toy(torch.float64), mesh, torch.float64)
    ids, targets = mine(mesh, 1)[0]
    units, results = mesh.sum(ids.numel()), []
    for where in ("forward", "backward"):
        synchronise_gradients(model, last=False, keep_whole=keep_whole)
        model(ids, targets).backward()
        handle = _break(model.blocks[0], where)
        try:
            model(ids, targets).backward()
        except KeyboardInterrupt:
            handle.remove()
        else:
            raise AssertionError("nothing broke")
        recover(model)
        synchronise_gradients(model, last=True)
        (model(ids, targets) / units).backward()
        results.append(worst(full_grads(model), reference(torch.float64)))
        model.zero_grad()
    return results


def _break(block: nn.Module, where: str):
    def interrupt(*args):
        raise KeyboardInterrupt

    return (
        block.down.register_forward_hook(interrupt)
        if where == "forward"
        else block.down.register_full_backward_hook(interrupt)
    )


@pytest.mark.parametrize("keep_whole", [False, True])
def test_recovery_from_an_interrupted_step(keep_whole):
    assert max(max(r) for r in run_ranks(recovers, WORLD, keep_whole)) < 1e-14


def after_a_look() -> tuple:
    """A forward that no backward follows leaves the root whole; `rest` cuts it again."""
    mesh = make_mesh(device="cpu")
    model = shard(toy(), mesh, torch.float32)
    with torch.no_grad():
        model(*mine(mesh, 1)[0])
    whole = [name for name, p in model.named_parameters() if not isinstance(p, DTensor)]
    rest(model)
    return whole, all(isinstance(p, DTensor) for p in model.parameters())


def test_weights_rest_in_shards():
    assert run_ranks(after_a_look, 2) == [(["embed.weight"], True)] * 2


def test_half_precision_master_weights_are_refused():
    with pytest.raises(
        CookbookError, match=r"parameter embed\.weight is torch\.bfloat16; master weights must be float32"
    ):
        shard_model(toy(torch.bfloat16), None, layers=[])


def trains() -> list[float]:
    """A few optimizer steps on sharded parameters: the loss falls, alike on every layout."""
    mesh = make_mesh(fsdp_size=2 if torch.distributed.get_world_size() > 1 else -1, device="cpu")
    model = shard(toy(), mesh, torch.float32)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        units = mesh.sum(sum(ids.numel() for ids, _ in mine(mesh, 1)))
        total = 0.0
        for ids, targets in mine(mesh, 1):
            loss = model(ids, targets)
            (loss / units).backward()
            total += loss.item()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(mesh.sum(total) / units)
    return losses


def joined_trains() -> list[float]:
    make_mesh(device="cpu")
    return trains()


def test_training_is_the_same_on_one_rank_and_on_four():
    one, four = run_ranks(joined_trains, 1)[0], run_ranks(joined_trains, WORLD)[0]
    assert one[-1] < one[0] - 0.1
    assert four == pytest.approx(one, rel=1e-5)
