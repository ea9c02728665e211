r"""The critic's loss: what it says of a state, against what was earned from there.

    1/2 max((V - R)^2, (V_c - R)^2)        V_c = V_old + clip(V - V_old, -eps, eps)

R the return (advantages.gae), V_old what the critic said when the round was made. The clip keeps it within eps of that, as
the policy's does (https://arxiv.org/abs/2005.12729); inside it this is the square of the error.
"""

import torch


def value_losses(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, cliprange: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each token (N,), differentiable by values, and where the clip decides, (N,) booleans. All (N,) fp32."""
    held = old_values + (values - old_values).clamp(-cliprange, cliprange)
    free, clipped = (values - returns).square(), (held - returns).square()
    return torch.maximum(free, clipped) / 2, (clipped > free).detach()
