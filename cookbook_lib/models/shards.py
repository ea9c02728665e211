"""A weight and the part of it that this rank holds: FSDP2 cuts along the first dimension, a plain tensor is not cut.

whole (8, 5)   rank 0 of 2: local = whole[0:4, 0:5]   rank 1: local = whole[4:8, 0:5]
"""

import torch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

Region = tuple[slice, ...]


def own_part(weight: torch.Tensor) -> tuple[torch.Tensor, Region]:
    """This rank's part, to be written in place, and where in the whole weight it lies. The part may be empty."""
    if not isinstance(weight, DTensor):
        return weight, tuple(slice(0, size) for size in weight.shape)
    shape, offset = compute_local_shape_and_global_offset(weight.shape, weight.device_mesh, weight.placements)
    return weight.to_local(), tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
