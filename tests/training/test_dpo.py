"""DPO: its formula by hand and in float64, whichever way the pairs are laid out, what is counted, and the reference beside the rows."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.config.policy_schema import DpoConfig
from cookbook_lib.data.loader import Loader
from cookbook_lib.data.reward.candidates import Candidates, CandidateSet, tokenize_pairs
from cookbook_lib.data.reward.packing import pack_candidates, pad_candidates
from cookbook_lib.data.templates import preset
from cookbook_lib.models.loading import load_tokenizer
from cookbook_lib.models.tiny import build_tiny
from cookbook_lib.training.objectives.answer_tokens import pair_logps
from cookbook_lib.training.objectives.dpo import DPO, dpo_losses
from cookbook_lib.training.reference import ReferencedPairs, with_reference
from tests.training.policy_rollouts import ONE_RANK, VOCABULARY, Bigram, said
from tests.training.score_batches import means

LN3 = math.log(3)
# tokens in common, of the chosen answer's rest, of the rejected one's
SIZES = [(5, 3, 4), (1, 1, 1), (3, 6, 2), (0, 4, 2), (2, 1, 7)]
FORMS = ["shared", "packed", "padded"]


def pairs(seed: int = 0) -> list[Candidates]:
    """Rests differ in their first token; every other pair is a tie. The one that shares nothing is predicted from its second on."""
    rng, made = np.random.default_rng(seed), []
    for number, (shared, *rests) in enumerate(SIZES):
        chosen, rejected = (rng.integers(0, VOCABULARY, n).astype(np.int32) for n in rests)
        rejected[0] = (chosen[0] + 1 + number) % VOCABULARY
        targets = [0.0, 0.5 if number % 2 else 1.0, *rng.normal(-9, 2, 2)]
        begin = rng.integers(0, VOCABULARY, shared).astype(np.int32)
        made.append(Candidates(begin, (chosen, rejected), np.array(targets, np.float32)))
    return made


def laid(form: str, examples: list[Candidates]) -> Any:
    if form != "shared":
        whole = [[np.concatenate([e.shared, rest]) for rest in e.rests] for e in examples]
        examples = [Candidates(e.shared[:0], tuple(w), e.targets) for e, w in zip(examples, whole, strict=True)]
    return (pad_candidates if form == "padded" else pack_candidates)(examples, range(len(examples)), multiple=3)


def summed(model: Bigram, pair: Candidates) -> list[tuple[torch.Tensor, int]]:
    """Log-probability of each answer's own tokens, and how many it has, float64."""
    found = []
    for rest in pair.rests:
        prompt, ids = (pair.shared, rest) if len(pair.shared) else (rest[:1], rest[1:])
        found.append((said(model, prompt, ids)[0].sum(), len(ids)))
    return found


def by_hand(model: Bigram, examples: list[Candidates], o: DpoConfig) -> torch.Tensor:
    losses = []
    for pair in examples:
        (c, n), (r, m) = summed(model, pair)
        q = pair.targets[1] if pair.targets[1] == 0.5 else 1 - o.label_smoothing
        c, r = c - float(pair.targets[2]), r - float(pair.targets[3])
        if o.loss == "ipo":
            losses.append((c / n - r / m - (2 * q - 1) / (2 * o.beta)) ** 2)
        else:
            z = o.beta * (c - r)
            losses.append(-q * torch.log(1 / (1 + torch.exp(-z))) - (1 - q) * torch.log(1 / (1 + torch.exp(z))))
    return torch.stack(losses).mean()


# ------------------------------------------------------------------------------------------------------------- the loss


def test_by_hand():
    """beta h = ln 3: sigma is 3/4."""
    ratios, counts = torch.tensor([[2 * LN3, 0.0], [0.0, 2 * LN3]]), torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    sure, tie = torch.ones(2), torch.full((2,), 0.5)
    plain = dpo_losses(ratios, counts, sure, DpoConfig(beta=0.5))
    np.testing.assert_allclose(plain, [math.log(4 / 3), math.log(4)], rtol=1e-6)
    both = (math.log(4 / 3) + math.log(4)) / 2
    np.testing.assert_allclose(dpo_losses(ratios, counts, tie, DpoConfig(beta=0.5)), [both, both], rtol=1e-6)
    smooth = dpo_losses(ratios, counts, sure, DpoConfig(beta=0.5, label_smoothing=0.1))
    np.testing.assert_allclose(smooth[0], 0.9 * math.log(4 / 3) + 0.1 * math.log(4), rtol=1e-6)
    ipo = dpo_losses(ratios, counts, sure, DpoConfig(loss="ipo", beta=0.5))
    np.testing.assert_allclose(ipo, [(LN3 - 1) ** 2, (-LN3 / 2 - 1) ** 2], rtol=1e-6)
    np.testing.assert_allclose(dpo_losses(ratios, counts, tie, DpoConfig(loss="ipo"))[0], LN3**2, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options", [{}, {"beta": 0.7, "label_smoothing": 0.2}, {"loss": "ipo", "beta": 0.3}], ids=["plain", "smooth", "ipo"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_formula_in_float64(form, options, seed):
    """Loss and gradients, the same however the pairs are laid out."""
    examples, model, o = pairs(seed), Bigram(), DpoConfig(**options)
    objective, batch = DPO(ONE_RANK, o), laid(form, examples)
    total = objective(model, batch).total / objective.count(batch)
    wanted = by_hand(model, examples, o)
    assert objective.count(batch) == len(SIZES)
    assert total.item() == pytest.approx(wanted.item(), rel=1e-5)
    weights = [model.before, model.after]
    for mine, right in zip(torch.autograd.grad(total, weights), torch.autograd.grad(wanted, weights), strict=True):
        assert (mine - right).norm() <= 1e-5 * right.norm()


@pytest.mark.parametrize("form", FORMS)
def test_the_tokens_of_answers(form):
    model, examples = Bigram(), pairs()
    found = pair_logps(model, laid(form, examples), ONE_RANK)
    told = [summed(model, pair) for pair in examples]
    torch.testing.assert_close(
        found.sums.double(), torch.stack([torch.stack([x for x, _ in t]) for t in told]), rtol=1e-5, atol=1e-5
    )
    assert found.counts.tolist() == [[n for _, n in t] for t in told]
    assert found.counts.tolist()[3] == [3, 1], "nothing predicts the first token of a document"


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_the_other_begins_with(form):
    """The candidates leave it one token, which says nothing: it is in common."""
    ids = np.arange(5, dtype=np.int32)
    pair = Candidates(ids[:2], (ids[2:3], ids[2:]), np.array([0, 1, -1, -1], np.float32))
    found = pair_logps(Bigram(), laid(form, [pair]), ONE_RANK)
    assert found.counts.tolist() == [[0, 2]]
    assert found.sums[0, 0] == 0


def test_at_the_reference_it_is_ln_2():
    model, examples = Bigram(), pairs()
    reference = pair_logps(model, laid("shared", examples), ONE_RANK).sums.detach().numpy()
    known = [
        Candidates(e.shared, e.rests, np.concatenate([e.targets[:2], r]))
        for e, r in zip(examples, reference, strict=True)
    ]
    loss = DPO(ONE_RANK, DpoConfig())(model, laid("shared", known))
    assert loss.total.item() / len(SIZES) == pytest.approx(math.log(2), rel=1e-6)
    assert means(loss)["accuracy"] == 0.5


# --------------------------------------------------------------------------------------------------------- what is reported


@pytest.mark.parametrize("form", FORMS)
def test_stats(form):
    model, examples = Bigram(), pairs()
    loss = DPO(ONE_RANK, DpoConfig(beta=0.5))(model, laid(form, examples))
    logps = np.array([[x.item() for x, _ in summed(model, pair)] for pair in examples])
    rewards = 0.5 * (logps - np.stack([pair.targets[2:] for pair in examples]))
    decided = np.array([pair.targets[1] == 1 for pair in examples])
    margins = (rewards[:, 0] - rewards[:, 1])[decided]
    wanted = {
        "loss": loss.total.item() / len(SIZES),
        "accuracy": (margins > 0).mean(),
        "margin": margins.mean(),
        "chosen_reward": rewards[:, 0].mean(),
        "rejected_reward": rewards[:, 1].mean(),
        "chosen_logp": logps[:, 0].mean(),
        "rejected_logp": logps[:, 1].mean(),
    }
    assert means(loss) == pytest.approx(wanted, rel=1e-5)
    counts = {name: count for name, (_, count) in loss.stats.items()}
    assert counts == dict.fromkeys(wanted, 5) | {"accuracy": 3, "margin": 3}


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_forward_adds_nothing_and_has_a_gradient(form):
    model, objective = Bigram(), DPO(ONE_RANK, DpoConfig())
    empty = laid(form, [])
    loss = objective(model, empty)
    assert (loss.total.item(), objective.count(empty)) == (0, 0)
    assert loss.stats.keys() == objective(model, laid(form, pairs())).stats.keys()
    assert all((float(total), count) == (0, 0) for total, count in loss.stats.values())
    loss.total.backward()
    assert not model.after.grad.any()


def test_pairs_without_a_reference_are_refused():
    bare = [Candidates(e.shared, e.rests, e.targets[:2]) for e in pairs()]
    with pytest.raises(CookbookError, match="DPO compares with a reference, and these pairs come without"):
        DPO(ONE_RANK, DpoConfig())(Bigram(), laid("shared", bare))


# -------------------------------------------------------------------------------------------------- the reference, by rows


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> CandidateSet:
    folder = tmp_path_factory.mktemp("pairs")
    tiny = build_tiny(
        folder / "tiny", ["some text"], preset("qwen3"), vocab_size=300, hidden_size=48, num_hidden_layers=1
    )
    rows = [{"prompt": f"text {i}", "chosen": f"some {i}", "rejected": "text " * i} for i in range(1, 8)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys: dict[str, Any] = {"max_length": 200, "cache_dir": folder / "tokens"}
    return tokenize_pairs(folder / "pairs.jsonl", load_tokenizer(tiny), **keys)


class Wide(Bigram):
    """A Bigram of the tokenizer's vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.before, self.after = (torch.nn.Parameter(torch.randn(320, 6, generator=random)) for _ in range(2))


def test_each_row_gets_its_reference_whatever_the_batches(stored):
    """In rows of three, shuffled by length; one batch of all, in order."""
    alone: Any = SimpleNamespace(sp=1, sp_rank=0, sp_group=None, sum=lambda x: x)
    loader = Loader(stored, batch_size=3, max_tokens=100, collate=(pack_candidates, pad_candidates))
    model = Wide()
    known = with_reference(stored, model, loader, alone)
    assert model.training
    whole = pair_logps(model, pack_candidates(list(stored), range(len(stored))), ONE_RANK).sums.detach().numpy()
    np.testing.assert_allclose(known.targets[:, 2:], whole, rtol=1e-5)
    np.testing.assert_array_equal(known.targets[:, :2], stored.targets)
    np.testing.assert_array_equal(known[2].targets, known.targets[2])


def test_the_reference_stays_when_sharing_is_turned_off(stored):
    known = ReferencedPairs(stored.tokens, reference=np.ones((len(stored), 2), np.float32))
    assert isinstance(known, CandidateSet)
    apart = known.shared(False)
    assert (apart.targets[:, 2:] == 1).all()
    assert len(apart[0].shared) == 0
    assert apart.lengths.sum() > known.lengths.sum()
