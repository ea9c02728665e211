r"""How far a policy is from a reference, from the tokens that the policy drew.

    d = log p_ref - log p        KL(p || p_ref) = E_p[-d]

    k1   -d                 unbiased, of either sign
    k2   d^2 / 2            never negative, biased; its gradient is the one of the KL divergence
    k3   e^d - d - 1        never negative, unbiased

Schulman, http://joschu.net/blog/kl-approx.html. An unbiased value need not have an unbiased gradient: of k1 it is noise
around 0, of k3 another divergence's. With a plus, the value is the estimator's and the gradient that of k2, straight
through. As verl does, e^d stops at e^20, and k3 at 10: one token of a policy gone astray must not be the whole loss.
"""

import torch

from cookbook_lib.config import CookbookError

LOG_RATIO, K3 = 20.0, 10.0  # bounds


def kl_estimates(kind: str, logps: torch.Tensor, ref_logps: torch.Tensor) -> torch.Tensor:
    """Of each token, (N,), differentiable by logps (N,). kind: k1, k2, k3, or one of them and a plus."""
    value = _value(kind.removesuffix("+"), logps, ref_logps)
    if not kind.endswith("+"):
        return value
    slope = _value("k2", logps, ref_logps)
    return slope - slope.detach() + value.detach()


def _value(kind: str, logps: torch.Tensor, ref_logps: torch.Tensor) -> torch.Tensor:
    d = ref_logps - logps
    match kind:
        case "k1":
            return -d
        case "k2":
            return d.square() / 2
        case "k3":
            d = d.clamp(-LOG_RATIO, LOG_RATIO)
            return (d.exp() - d - 1).clamp(max=K3)
    raise CookbookError(f"algorithm.kl_loss_type is {kind!r}; the estimators are k1, k2 and k3, each also with a plus.")
