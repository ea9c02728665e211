"""What a step reports: sums and counts until the end, divided once, the same on every rank.

train/loss               sum of losses / units, over the world
train/tokens_per_second  tokens computed (padding excluded) / wall time, over the world
train/mfu                useful flops / (wall time x what the devices can do)
"""

import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from cookbook_lib.models.flops import Flops
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.training.objectives.base import Loss

SPEEDS = ("tokens", "tokens_per_second", "mfu", "memory_gib")  # what a meter adds to the objective's own stats


@dataclass
class Meter:
    """Collects one step on this rank; `reduce` gives the world's metrics and starts the next one."""

    mesh: Mesh
    flops: Flops
    peak: float  # flop/s of one rank's device (its share of a shared CPU)
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    work: float = 0.0  # flops of these tokens; of the outputs that read them, when reduced
    begin: float = field(default_factory=time.perf_counter)

    def add(self, loss: Loss, lengths: Sequence[int], continues: Sequence[int] | None = None) -> None:
        """lengths: of the segments of this forward, padding excluded (whole ones, also under sequence parallelism). continues:
        as Flops.training. No device is waited for: sums stay where they are until `reduce`."""
        for name, (total, count) in loss.stats.items():
            sofar = self.sums.get(name)
            self.sums[name] = total.double() if sofar is None else sofar + total.double()
            self.counts[name] = self.counts.get(name, 0.0) + count
        self.tokens += sum(lengths)
        self.work += self.flops.training(lengths, 0.0, continues)

    def reduce(self, prefix: str = "train/") -> dict[str, float]:
        names = sorted(self.sums)
        supervised = max(self.counts.values(), default=0.0)
        share = 1 / self.mesh.sp  # every rank of a sequence-parallel group reports the same documents
        mine = [float(self.sums[n]) for n in names] + [self.counts[n] for n in names]
        mine += [share * self.tokens, share * self.work + self.flops.training([], supervised)]
        world = self.mesh.sum(torch.tensor(mine, dtype=torch.float64)).tolist()
        tokens, flops = world[-2:]
        seconds = time.perf_counter() - self.begin
        counts = world[len(names) :]
        means = {n: world[i] / counts[i] if counts[i] else math.nan for i, n in enumerate(names)}
        metrics = {f"{prefix}{n}": value for n, value in _spreads(means).items()}
        metrics |= {
            f"{prefix}tokens": tokens,
            f"{prefix}tokens_per_second": tokens / seconds,
            f"{prefix}mfu": flops / seconds / (self.peak * self.mesh.world_size),
            f"{prefix}memory_gib": peak_memory(self.mesh.device) / 2**30,
        }
        self.reset()
        return metrics

    def reset(self) -> None:
        self.sums, self.counts, self.tokens, self.work, self.begin = {}, {}, 0, 0.0, time.perf_counter()


def _spreads(means: dict[str, float]) -> dict[str, float]:
    """With x_std, the root of E[x^2] - E[x]^2, in place of x_square."""
    squares = {name.removesuffix("_square"): value for name, value in means.items() if name.endswith("_square")}
    plain = {name: value for name, value in means.items() if not name.endswith("_square")}
    return plain | {f"{name}_std": math.sqrt(max(value - plain[name] ** 2, 0.0)) for name, value in squares.items()}


def peak_memory(device: torch.device) -> int:
    """Bytes this process held at most: of the GPU, or resident where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
