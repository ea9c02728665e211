"""From one process to many, acting from outside on any `nn.Module` and on any attention function.

    world.py                    join and leave the world of processes (a single process is a world of one)
    mesh.py                     who shares a sequence, who shards parameters; sums, flags and turns over the world
    fsdp.py                     parameters, gradients and optimizer state in shards (FSDP2); gradients are sums
    gradient_checkpointing.py   recompute activations in backward
    ulysses.py                  one sequence over several ranks, around any attention function
    collectives.py              the differentiable all-to-all underneath
    spawn.py                    a function on N processes of this machine, for tests and comparisons

This room knows nothing of the models it shards or of the attention that it spreads.
"""
