"""What is drawn: the distribution, its restrictions, and the log-probability of what came."""

import pytest
import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.models.sampling import Sampling, choose

LOGITS = torch.tensor([[2.0, 0.0, 1.0, -1.0, 1.5, -float("inf")]])


def drawn(how: Sampling, count: int = 20_000, logits: torch.Tensor = LOGITS) -> torch.Tensor:
    """How often each token comes, of evenly spread uniform numbers."""
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens, _ = choose(logits.expand(count, -1), uniform, how)
    return torch.bincount(tokens, minlength=logits.shape[1]) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tokens_come_as_often_as_they_are_likely(temperature):
    wanted = (LOGITS[0] / temperature).softmax(-1)
    torch.testing.assert_close(drawn(Sampling(temperature)), wanted, atol=1e-4, rtol=0)


def test_the_likeliest_at_temperature_0():
    tokens, logps = choose(LOGITS, torch.zeros(1, dtype=torch.float64), Sampling())
    assert tokens.tolist() == [0]
    torch.testing.assert_close(logps, LOGITS.log_softmax(-1)[:, 0])


@pytest.mark.parametrize(
    ("how", "left"),
    [
        (Sampling(1.0, top_k=2), [0, 4]),
        (Sampling(1.0, top_k=99), [0, 1, 2, 3, 4]),
        (Sampling(1.0, top_p=0.4), [0]),  # 0.46 of the first alone
        (Sampling(1.0, top_p=0.5), [0, 4]),
        (Sampling(1.0, top_p=0.78), [0, 2, 4]),  # 0.46 + 0.28 = 0.74 is not enough
        (Sampling(1.0, top_p=0.78, top_k=3), [0, 4]),  # of the three that top_k leaves they have 0.81
        (Sampling(1.0, top_p=1e-9), [0]),
    ],
)
def test_top_k_and_top_p_leave_the_likeliest_in_their_proportions(how, left):
    often = drawn(how)
    wanted = torch.zeros(6)
    wanted[left] = LOGITS[0, left].softmax(-1)
    torch.testing.assert_close(often, wanted, atol=1e-4, rtol=0)


def test_log_probabilities_are_of_the_whole_distribution_at_the_temperature():
    uniform = torch.tensor([0.1, 0.9], dtype=torch.float64)
    for how in (Sampling(2.0), Sampling(2.0, top_p=0.6), Sampling(2.0, top_k=2)):
        tokens, logps = choose(LOGITS.expand(2, -1), uniform, how)
        wanted = (LOGITS[0] / 2.0).log_softmax(-1)[tokens]
        torch.testing.assert_close(logps, wanted)


def test_the_ends_of_the_interval_meet_possible_tokens():
    logits = torch.tensor([[-float("inf"), 0.0, 0.0, -float("inf")]])
    for u in (0.0, 1 - 2.0**-53):
        tokens, _ = choose(logits, torch.tensor([u], dtype=torch.float64), Sampling(1.0))
        assert tokens.tolist() == [1 if u == 0 else 2]


def test_a_large_vocabulary_is_drawn_from_evenly():
    logits = torch.zeros(1, 200_000)
    for u in (0.1, 0.5, 0.9999999):
        tokens, logps = choose(logits, torch.tensor([u], dtype=torch.float64), Sampling(1.0))
        assert abs(int(tokens) - int(u * 200_000)) <= 1
    assert float(logps) == pytest.approx(-torch.tensor(200_000.0).log().item(), rel=1e-5)


@pytest.mark.parametrize("how", [Sampling(), Sampling(1.0)])
def test_logits_that_are_no_numbers_are_told_apart(how):
    bad = LOGITS.clone()
    bad[0, 2] = float("nan")
    tokens, _ = choose(torch.cat([LOGITS, bad]), torch.full((2,), 0.3, dtype=torch.float64), how)
    assert tokens.tolist() == [0, -1]


@pytest.mark.parametrize("how", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -2}])
def test_what_cannot_be_drawn_with(how):
    name, value = next(iter(how.items()))
    with pytest.raises(CookbookError, match=f"{name}={value}"):
        Sampling(**how)
