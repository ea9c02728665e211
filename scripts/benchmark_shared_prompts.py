"""A step of reinforcement learning on judge prompts: the prompt computed once for its completions, against once for each.

    model      Qwen3 shape, 12.6 M parameters (width 256, 4 layers, vocabulary 32,768), random, fp32
    rollouts   --groups prompts of 1,500 random tokens, 8 completions of 100 to 200 each: a judge reads much and says little
    a step     forward and backward of GRPO's loss over all of them, in forwards of at most --max-tokens, as `fit` takes them
    forms      shared: prompts once, packed · unshared: packed, each completion behind its own prompt · padded: likewise, in rows

All forms in one process, in turn, after one warm-up each; seconds, of the clock and of processor time, which others on the
machine disturb less, are medians of --repeats. Gradients are compared with the unshared form's: the largest relative difference
of a parameter's.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_sft import SHAPE

VOCABULARY, PROMPT, COMPLETIONS, LENGTHS = 32_768, 1500, 8, (100, 200)
GOAL = 3.0
Seconds = tuple[float, float]  # of the clock, of processor time
FORMS: dict[str, dict[str, Any]] = {
    "unshared": {"share": False},
    "shared": {},
    "padded": {"padded": True, "max_rows": 4},
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--groups", type=int, default=4, help="prompts of the step (default: 4)")
    made.add_argument("--prompt", type=int, default=PROMPT, help=f"tokens of a prompt (default: {PROMPT})")
    made.add_argument("--max-tokens", type=int, default=8192, help="tokens of a forward (default: 8192)")
    made.add_argument("--repeats", type=int, default=3, help="timed steps of each form (default: 3)")
    made.add_argument("--write", type=Path, metavar="FILE.md", help="write the table, as for docs/benchmarks/")
    made.add_argument("--hardware", default=platform.machine(), help="how the table calls this machine")
    given = made.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        text = report(measure(given))
        print(text)
        if given.write:
            given.write.parent.mkdir(parents=True, exist_ok=True)
            given.write.write_text(page(text, given), encoding="utf-8")
        return 0
    return 130


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each form."""
    from cookbook_lib.parallel.mesh import make_mesh
    from cookbook_lib.training.rollouts.forwards import Forwards

    mesh = make_mesh(device="cpu")
    model, groups = model_of(mesh), rollouts(given.groups, given.prompt)
    laid = {name: Forwards(1, given.max_tokens, **form) for name, form in FORMS.items()}
    first = {
        name: step(model, mesh, forwards, groups) for name, forwards in laid.items()
    }  # a warm-up, and the gradients
    seconds: dict[str, list[Seconds]] = {name: [] for name in laid}
    for _ in range(given.repeats):
        for name, forwards in laid.items():
            seconds[name].append(step(model, mesh, forwards, groups)[0])
    return [
        {
            "form": name,
            "seconds": statistics.median(clock for clock, _ in seconds[name]),
            "cpu_seconds": statistics.median(busy for _, busy in seconds[name]),
            "tokens": first[name][2],
            "differs": difference(first[name][1], first["unshared"][1]),
        }
        for name in laid
    ]


def model_of(mesh: Any) -> Any:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from cookbook_lib.models.attention import ATTENTION, varlen_attention
    from cookbook_lib.models.heads import PackedModel
    from cookbook_lib.parallel.fsdp import shard_model

    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=VOCABULARY, max_position_embeddings=4096, attn_implementation=ATTENTION, **SHAPE)
    model = PackedModel(Qwen3ForCausalLM(config), varlen_attention)
    return shard_model(model, mesh, layers=model.layers, compute_dtype=torch.float32)


def rollouts(count: int, prompt: int) -> list[Any]:
    """Groups of random tokens with random advantages, drawn by a policy that was a little different."""
    import numpy as np

    from cookbook_lib.data.completions import Group

    draw, groups = np.random.default_rng(0), []
    for number in range(count):
        lengths = draw.integers(*LENGTHS, COMPLETIONS)
        ids = [draw.integers(VOCABULARY, size=n).astype(np.int32) for n in (prompt, *lengths)]
        advantages = tuple(
            np.full(n, a, np.float32) for n, a in zip(lengths, draw.normal(size=COMPLETIONS), strict=True)
        )
        old = tuple(np.full(n, -np.log(VOCABULARY), np.float32) for n in lengths)
        columns = {"advantages": advantages, "old_logps": old}
        groups.append(Group(number, ids[0], tuple(ids[1:]), (True,) * COMPLETIONS, number, columns))
    return groups


def step(model: Any, mesh: Any, forwards: Any, groups: Sequence[Any]) -> tuple[Seconds, dict[str, Any], int]:
    """Seconds, gradients by name, and tokens computed of one step."""
    from cookbook_lib.config.policy_schema import AlgorithmConfig
    from cookbook_lib.parallel.fsdp import synchronise_gradients
    from cookbook_lib.training.objectives.policy_gradient import PolicyGradient

    objective = PolicyGradient(mesh, AlgorithmConfig())
    batches = [forwards.batch(groups, parts) for parts in forwards.divide(groups)[0]]
    units, begin, busy = sum(map(objective.count, batches)), time.perf_counter(), time.process_time()
    for batch in batches:
        synchronise_gradients(model, last=batch is batches[-1])
        (objective(model, batch).total / units).backward()
    seconds = time.perf_counter() - begin, time.process_time() - busy
    gradients = {name: p.grad.full_tensor().clone() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return seconds, gradients, sum(sum(batch.lengths) for batch in batches)


def difference(found: dict[str, Any], wanted: dict[str, Any]) -> float:
    """The largest |g - g'| / |g'| of a parameter's gradient."""
    return max(float((found[name] - grad).norm() / grad.norm()) for name, grad in wanted.items())


def report(rows: list[dict[str, Any]]) -> str:
    """A table, and the ratio beside the goal."""
    by_form = {row["form"]: row for row in rows}
    lines = ["| form | s/step | CPU s/step | tokens computed | gradients differ by |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['form']} | {r['seconds']:.2f} | {r['cpu_seconds']:.2f} | {r['tokens']:,} | {r['differs']:.1e} |"
        for r in rows
    ]
    clock, busy = (by_form["unshared"][name] / by_form["shared"][name] for name in ("seconds", "cpu_seconds"))
    told = f"Shared prompts: {clock:.2f} x the unshared speed, {busy:.2f} x per CPU second (goal {GOAL:g} x)."
    return "\n".join([*lines, "", told])


def page(tables: str, given: argparse.Namespace) -> str:
    """The tables with the machine, the command, and how it is measured."""
    import torch

    command = (
        f"--groups {given.groups} --prompt {given.prompt} --max-tokens {given.max_tokens} --repeats {given.repeats}"
    )
    return "\n".join(
        [
            "# A training step on judge prompts: prompts computed once, or once a completion",
            "",
            f"{given.hardware}. Python {platform.python_version()}, torch {torch.__version__}.",
            f"{given.groups} prompts of {given.prompt:,} tokens, {COMPLETIONS} completions of {LENGTHS[0]} to {LENGTHS[1]} each.",
            "",
            tables,
            "",
            f"`python scripts/benchmark_shared_prompts.py {command}`",
            "",
            "How it is measured:",
            "",
            *(f"    {line}".rstrip() for line in (__doc__ or "").strip().splitlines()[2:]),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
