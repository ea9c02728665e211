r"""ValueModel: a language model with a critic: one number beside the next token's distribution.

    hidden (B, T, D) -> h where a token was drawn (N, D) -> W h  (logits, by the output embedding)
                                                         -> v h = V(s)  (fp32, zero at the start)

Policy and critic share the decoder, so that PPO costs one forward and no second model. V says what is still to be earned from
the state that the token is drawn in. The head is one more weight, value_head.weight (1, D), of checkpoints: plain transformers
loads them as the language model that they are, and says that it does not know that one. The final model has none (export.py).
"""

from pathlib import Path

import torch
from torch import nn

from cookbook_lib.models.attention import Attend
from cookbook_lib.models.heads import CRITIC, PackedModel
from cookbook_lib.models.loading import build_model


class ValueModel(PackedModel):
    """`read` gets what it gets of a PackedModel, and calls `value` where it wants values."""

    new_weights = frozenset({CRITIC})
    may_lack = new_weights  # a language model begins with a critic that knows nothing

    @property
    def exact_modules(self) -> list[nn.Module]:
        return [self.hf.value_head]

    def value(self, rows: torch.Tensor) -> torch.Tensor:
        """Hidden states (n, D) -> values (n,) fp32; inside `read` alone, where the head is whole."""
        out: torch.Tensor = self.hf.value_head(rows.float())
        return out.squeeze(1)


def build_value_model(folder: Path, attend: Attend, *, trust_remote_code: bool = False) -> ValueModel:
    """The structure on the meta device, from a language model's folder, with or without a value head. Fill it with
    `load_weights`."""
    hf = build_model(folder, attend, trust_remote_code=trust_remote_code).hf
    hf.value_head = nn.Linear(hf.config.get_text_config().hidden_size, 1, bias=False, device="meta")
    return ValueModel(hf, attend)
