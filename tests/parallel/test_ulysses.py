"""Ulysses against one rank, with a toy attention function that knows documents, scaling and windows."""

import os
from dataclasses import dataclass

import pytest
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.parallel.ulysses import check_heads, take_shard, ulysses
from tests.ranks import run_ranks


def world() -> int:
    return int(os.environ["WORLD_SIZE"])


CUTS = (0, 5, 6, 12)  # documents that start inside one rank's slice and end in another's


def toy_attention(q, k, v, *, segments, scaling, window=None):
    """Causal within documents: q (B, N, T, H), k (B, M, T, H), v (B, M, T, E) -> (B, N, T, E)."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    t = torch.arange(q.shape[2])
    document = torch.bucketize(t, torch.tensor(segments), right=True)
    seen = (document[:, None] == document[None]) & (t[:, None] >= t[None])
    if window is not None:
        seen &= t[:, None] - t[None] < window
    scores = (q @ k.transpose(-1, -2) * scaling).masked_fill(~seen, float("-inf"))
    return scores.softmax(-1) @ v


def difference(heads: int, kv_heads: int, rows: int, dtype: torch.dtype, v_dim: int, window: int | None) -> dict:
    """Largest difference to the whole, in the output and in the gradients, on this rank's slice."""
    mesh = make_mesh(sp_size=world(), device="cpu")
    torch.manual_seed(0)
    shapes = [(rows, heads, 12, 8), (rows, kv_heads, 12, 8), (rows, kv_heads, 12, v_dim)]
    whole = [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]
    about = {"segments": CUTS, "scaling": 0.3, "window": window}
    expected = toy_attention(*whole, **about)
    direction = torch.randn_like(expected)
    expected.backward(direction)

    def mine(x: torch.Tensor) -> torch.Tensor:
        return x.detach().chunk(mesh.sp, dim=2)[mesh.sp_rank]

    # Strided as transformers hands them over: a transpose of (B, T, N, H).
    slices = [mine(x).transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in whole]
    out = ulysses(toy_attention, mesh.sp_group)(*slices, **about)
    out.backward(mine(direction))
    return {
        "dtype": out.dtype,
        "shape": tuple(out.shape),
        "out": (out - mine(expected)).abs().max().item(),
        "grads": [(s.grad - mine(w.grad)).abs().max().item() for s, w in zip(slices, whole, strict=True)],
    }


CASES = {
    "as many kv heads as queries": (4, 4, 1, torch.float32, 8, None),
    "kv heads divide by sp": (8, 4, 1, torch.float32, 8, None),
    "one kv head": (4, 1, 1, torch.float32, 8, None),
    "kv fewer than sp": (8, 2, 1, torch.float32, 8, None),
    "kv heads and sp with no common factor": (12, 3, 1, torch.float32, 8, None),
    "kv heads more than sp, not divisible": (12, 6, 1, torch.float32, 8, None),
    "several rows": (4, 2, 3, torch.float32, 8, None),
    "values narrower than keys": (4, 2, 2, torch.float32, 6, None),
    "a keyword passes through": (4, 2, 1, torch.float32, 8, 2),
    "bf16": (4, 2, 1, torch.bfloat16, 8, None),
}


def all_cases() -> dict:
    return {name: difference(*case) for name, case in CASES.items()}


@pytest.mark.parametrize("sp", [1, 2, 4])
def test_equals_one_rank(sp):
    for ranks in run_ranks(all_cases, sp):
        for name, got in ranks.items():
            heads, _, rows, dtype, v_dim, _ = CASES[name]
            assert (got["shape"], got["dtype"]) == ((rows, heads, 12 // sp, v_dim), dtype), name
            # A kv head's gradient is a sum over its query heads, whose order differs: equal up to rounding.
            limit = 1e-6 if dtype == torch.float32 else 0.03
            assert max(got["out"], *got["grads"]) <= limit, (name, got)


def exact() -> bool:
    """In fp64, with no sum taken in another order in forward, the same bits come back."""
    mesh = make_mesh(sp_size=2, device="cpu")
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4, 12, 8, dtype=torch.float64) for _ in range(3))
    about = {"segments": CUTS, "scaling": 1.0}
    expected = toy_attention(q, k, v, **about).chunk(2, dim=2)[mesh.sp_rank]
    got = ulysses(toy_attention, mesh.sp_group)(*(x.chunk(2, dim=2)[mesh.sp_rank] for x in (q, k, v)), **about)
    return bool((expected - got).abs().max() < 1e-15)


def test_forward_moves_numbers_and_changes_none():
    assert run_ranks(exact, 2) == [True, True]


def seen_inside(heads: int, kv_heads: int) -> tuple:
    mesh = make_mesh(sp_size=world(), device="cpu")
    seen = []

    def spy(q, k, v):
        seen.extend([q.shape[1], k.shape[1], q.shape[2]])
        return q

    ulysses(spy, mesh.sp_group)(
        torch.randn(1, heads, 3, 2), torch.randn(1, kv_heads, 3, 2), torch.randn(1, kv_heads, 3, 2)
    )
    return tuple(seen)


def test_kv_heads_are_repeated_no_further_than_needed():
    assert run_ranks(seen_inside, 4, 16, 8) == [(4, 2, 12)] * 4  # 8 kv heads, 2 a rank: not repeated
    assert run_ranks(seen_inside, 4, 16, 2) == [(4, 1, 12)] * 4  # 2 -> 4, and not to the 16 of the queries


def unused_value_gradient() -> float:
    """A tensor that attention ignores has a zero gradient, not a missing exchange (the other rank would wait)."""
    mesh = make_mesh(sp_size=2, device="cpu")
    q, k, v = (torch.randn(1, 2, 3, 2, requires_grad=True) for _ in range(3))
    ulysses(lambda q, k, v: q, mesh.sp_group)(q, k, v).sum().backward()
    return v.grad.abs().sum().item() + (q.grad - 1).abs().sum().item()


def test_unused_inputs():
    assert run_ranks(unused_value_gradient, 2) == [0.0, 0.0]


def mixed_dtypes() -> str:
    mesh = make_mesh(sp_size=2, device="cpu")
    q, k, v = torch.randn(1, 2, 3, 2), torch.randn(1, 2, 3, 2), torch.randn(1, 2, 3, 2, dtype=torch.bfloat16)
    try:
        ulysses(toy_attention, mesh.sp_group)(q, k, v)
    except TypeError as error:
        return str(error)
    return "accepted"


def test_mixed_dtypes_are_refused():
    assert run_ranks(mixed_dtypes, 2)[0].startswith(
        "one message carries one dtype, not torch.float32, torch.float32, torch.bfloat16"
    )


def test_alone_it_is_the_function_itself():
    assert ulysses(toy_attention, None) is toy_attention


@pytest.mark.parametrize(
    ("heads", "sp", "nearest"), [(14, 4, "2 or 7"), (6, 4, "3 or 6"), (4, 8, "4"), (3, 2, "1 or 3")]
)
def test_heads_that_cannot_be_shared(heads, sp, nearest):
    with pytest.raises(
        CookbookError, match=f"is {sp}, which does not divide the model's {heads} query heads; use {nearest}\\."
    ):
        check_heads(heads, sp)
    check_heads(heads, 1)


@dataclass(frozen=True)
class Batch:
    input_ids: torch.Tensor
    weights: torch.Tensor
    cu_seqlens: tuple[int, ...]
    per_row: torch.Tensor


def place(sp: int, sp_rank: int) -> Mesh:
    return Mesh(torch.device("cpu"), sp_rank, sp, 1, sp, 0, sp_rank, None, None)


def test_take_shard_cuts_tokens_and_nothing_else():
    batch = Batch(torch.arange(16).view(2, 8), torch.rand(2, 8), (0, 3, 8), torch.tensor([1.0, 2.0]))
    parts = [take_shard(batch, place(4, rank)) for rank in range(4)]
    assert parts[1].input_ids.tolist() == [[2, 3], [10, 11]]
    assert torch.cat([part.weights for part in parts], dim=1).equal(batch.weights)
    assert all(part.cu_seqlens == batch.cu_seqlens and part.per_row is batch.per_row for part in parts)
    assert take_shard(batch, place(1, 0)) is batch


def test_take_shard_wants_equal_slices():
    batch = Batch(torch.zeros(1, 10), torch.zeros(1, 10), (0, 10), torch.zeros(1))
    with pytest.raises(
        CookbookError, match="a row of 10 tokens cannot be cut into 4 equal slices for Ulysses; pad it to 12"
    ):
        take_shard(batch, place(4, 0))
