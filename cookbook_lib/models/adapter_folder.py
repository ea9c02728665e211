r"""An adapter's folder, ours or peft's own, read back as what it does to the plain weights. Needs no peft.

    adapter_config.json          base_model_name_or_path, r, lora_alpha         W' = W + (alpha / r) B A
    adapter_model.safetensors    base_model.model.<name>.lora_A.weight          (r, in)
                                 base_model.model.<name>.lora_B.weight          (out, r)
                                 base_model.model.score.weight                  a part that learned whole

Each rank reads all of A and its own rows of B, so that a merged weight goes straight into its shard.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from cookbook_lib.config import CookbookError
from cookbook_lib.models.heads import CRITIC
from cookbook_lib.models.lora import PREFIX
from cookbook_lib.models.shards import Region

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What an adapter may have that a low-rank sum is not, and the value that says it has not.
PLAIN: dict[str, Any] = {
    "use_dora": False, "use_qalora": False, "bias": "none", "lora_bias": False, "fan_in_fan_out": False, "alpha_pattern": {},
    "target_parameters": None, "trainable_token_indices": None, "layer_replication": None, "use_bdlora": None,
    "kasa_config": None, "arrow_config": None, "alora_invocation_tokens": None,
}  # fmt: skip
# Of init_lora_weights: the others change the base as well.
KEEP_BASE = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class Adapter:
    """One adapter on disk. `keys` are the names in its file."""

    folder: Path
    base: str
    alpha: float
    rank_root: bool  # rsLoRA: the scale is alpha / sqrt(r)
    keys: frozenset[str]

    def names(self) -> set[str]:
        """The plain model's names of the weights that it changes or brings."""
        return {key.removeprefix(PREFIX).replace(".lora_A.", ".").replace(".lora_B.", ".") for key in self.keys}

    def pair(self, name: str) -> tuple[str, str]:
        """The keys of A and B that would change this weight."""
        module, _, leaf = name.rpartition(".")
        return f"{PREFIX}{module}.lora_A.{leaf}", f"{PREFIX}{module}.lora_B.{leaf}"

    def brings(self, name: str) -> bool:
        """Whether it holds this weight whole."""
        return PREFIX + name in self.keys

    def apply(self, name: str, part: Any, region: Region | None = None) -> torch.Tensor:
        """A weight with the adapter on it: fp32 where it adds, the adapter's own where it brings, else `part` as it is.

        part: the base's, or the rows of it that `region` says; None where the base has none.
        """
        if self.brings(name):
            return self._read(PREFIX + name, region)
        down, up = self.pair(name)
        if down not in self.keys:
            return part
        a, b = self._read(down).float(), self._read(up, region and region[:1]).float()
        scale = self.alpha / (math.sqrt(len(a)) if self.rank_root else len(a))
        return part.float() + scale * (b @ a)

    def _read(self, key: str, region: Region | None = None) -> torch.Tensor:
        with _open(self.folder / WEIGHTS) as file:
            return file.get_slice(key)[region] if region else file.get_tensor(key)


@dataclass(frozen=True)
class Adapters:
    """Adapters on adapters, the one on the whole model first; none is a stack of none."""

    stack: tuple[Adapter, ...]

    def brings(self, name: str) -> bool:
        return any(adapter.brings(name) for adapter in self.stack)

    def apply(self, name: str, part: Any, region: Region | None = None) -> torch.Tensor:
        """As Adapter.apply, one after the other."""
        for adapter in self.stack:
            part = adapter.apply(name, part, region)
        return part


def read_adapter(folder: Path, *, critic: bool = False) -> Adapter | None:
    """None for a folder without an adapter. Raises CookbookError for one that is more than a low-rank sum, or broken.

    critic: with a critic's head, if it has one; a language model leaves that aside.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    told = _config(path)
    odd = [name for name, value in PLAIN.items() if told.get(name) and told[name] != value]
    odd += [] if told.get("init_lora_weights") in KEEP_BASE else ["init_lora_weights"]
    if told.get("peft_type") != "LORA" or odd:
        what = f"{odd[0]}={told[odd[0]]}" if odd else f"peft_type={told.get('peft_type')}"
        raise CookbookError(
            f"{path} has {what}, which is no plain LoRA: merge it with peft (merge_and_unload) and give the whole model."
        )
    if not told.get("base_model_name_or_path"):
        raise CookbookError(f"{path} names no base_model_name_or_path: write there the model that it was trained on.")
    with _open(folder / WEIGHTS) as file:
        keys = frozenset(file.keys()) - (set() if critic else {PREFIX + CRITIC})
    return Adapter(folder, told["base_model_name_or_path"], told["lora_alpha"], bool(told.get("use_rslora")), keys)


def check_fits(adapters: Adapters, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise CookbookError unless the model, given as its plain weights, has everything that the adapters change."""
    for adapter in adapters.stack:
        _check_fits(adapter, weights)


@torch.no_grad()
def merge(hf: nn.Module, adapters: Adapters) -> None:
    """Put the adapters on a whole, unsharded model of the weights below them, in place."""
    weights = dict(hf.named_parameters())
    check_fits(adapters, weights)
    for name in {name for adapter in adapters.stack for name in adapter.names()}:
        weights[name].copy_(adapters.apply(name, weights[name].cpu()))


def _check_fits(adapter: Adapter, weights: Mapping[str, torch.Tensor]) -> None:
    with _open(adapter.folder / WEIGHTS) as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in adapter.keys}
    for name in sorted(adapter.names()):
        down, up = adapter.pair(name)
        told = shapes[PREFIX + name] if adapter.brings(name) else (*shapes.get(up, ())[:1], *shapes.get(down, ())[1:])
        found = tuple(weights[name].shape) if name in weights else None
        if told != found:
            raise CookbookError(
                f"{adapter.folder / WEIGHTS} changes {name} {told}, "
                f"{'which the model lacks' if found is None else f'in the model {found}'}: "
                f"the adapter is of another model than {adapter.base}, or of another head."
            )


def _config(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise CookbookError(f"{path} is no JSON object ({error}): copy the adapter again.") from None


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CookbookError(f"{path} is no whole safetensors file ({error}): copy the adapter again.") from error
