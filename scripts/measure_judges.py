#!/usr/bin/env python3
"""Does reinforcement make a better judge? GRPO from one judge that SFT made, on the embedded world, over several seeds.

    pointwise    how often the score, 0 to 4, is exactly the true one
    pairwise     how often a pair is judged rightly both ways round

The judge's teachers overlook most of what is wrong in form alone (`--source embedded-hasty`), as SFT on other people's verdicts
takes over their faults; the reward knows the truth. `--source embedded` has careful teachers.

Each seed has its own order of prompts and its own samples. The held-out prompts are the same for all; neither the judge's SFT
nor any run has trained on their questions. Judges are read from their folders and asked for their likeliest text. What is
reported: the judge before, each judge after, and the gain, its mean over seeds with its 95 % interval (Student's t over seeds).

    python scripts/measure_judges.py                                    can be stopped and run again
    python scripts/measure_judges.py --write docs/benchmarks/NAME.md
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from sft_first_report import interval

from cookbook_lib.config import CookbookError
from cookbook_lib.config.places import HOME
from cookbook_lib.data.judge.prompts import quoted
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.data.synthetic import embedded_rows
from cookbook_lib.display import table

QUIET = {"TOKENIZERS_PARALLELISM": "false", "GOMP_SPINCOUNT": "1000"}  # threads that wait do not spin
KINDS = {"pointwise": "score-judge", "pairwise": "preference-judge"}
SOURCES = ("embedded-hasty", "embedded")
SFT_SEED = 7  # of the judge's judgements
NEVER = {"before": None, "after": None}  # a figure that an earlier run was not asked for
READ = ("writing", "verdicts that could be read")  # kappa and spearman know nothing of the others
FIGURES = {
    "pointwise": [("scores", "exact"), READ, ("scores", "kappa, weighted by squared distance"), ("scores", "spearman")],
    "pairwise": [
        ("preferences", "accuracy, right both ways round"),
        ("preferences", "right"),
        READ,
        ("preferences", "same verdict both ways round"),
        ("preferences", "prefers the place shown first"),
    ],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--folder", type=Path, default=HOME / "runs" / "judges", help="data and runs")
    made.add_argument("--recipes", nargs="+", choices=list(KINDS), default=list(KINDS))
    made.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="S")
    made.add_argument("--prompts", type=int, default=6000, help="of training and held out, four to one")
    made.add_argument("--held-out", type=int, default=600, help="prompts that every judge is asked, at most")
    made.add_argument("--judge", type=int, nargs=2, default=[16000, 1400], metavar=("ROWS", "STEPS"), help="of its SFT")
    made.add_argument("--asks", choices=("both", "scores", "preferences"), default="both", help="what its SFT is asked")
    made.add_argument("--source", choices=SOURCES, default=SOURCES[0], help="whose verdicts the SFT learns from")
    made.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="keys of the recipe, for every run")
    made.add_argument("--write", type=Path, metavar="FILE.md", help="write the tables, as for docs/benchmarks/")
    made.add_argument("--one", nargs=2, metavar=("RECIPE", "SEED"), help=argparse.SUPPRESS)
    given = made.parse_args(arguments)
    try:
        if given.one:
            made_of = make_judge(given) if given.one[0] == "sft" else run_one(given, given.one[0], int(given.one[1]))
            print(json.dumps(made_of))
            return 0
        measure(given)
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: run it again to go on with the runs that are missing", file=sys.stderr)
        return 130
    return 0


def measure(given: argparse.Namespace) -> None:
    given.folder.mkdir(parents=True, exist_ok=True)
    if not judge_of(given).is_dir():
        apart(given, "sft", 0)
    parts = [__doc__.strip().split("\n\n")[0].replace("Does", "# Does", 1), ""]
    for recipe in given.recipes:
        found = [finished(given, recipe, seed) for seed in given.seeds]
        rows = rows_of(recipe, given.seeds, found)
        print(table(rows, caption=recipe).text)
        parts += [f"## {recipe}", "", *markdown(rows), ""]
    if given.write:
        docstring = __doc__.strip().split("\n\n")[1:4]
        given.write.write_text(
            "\n".join([*parts, "\n\n".join(docstring), "", f"`{command(given)}`", ""]), encoding="utf-8"
        )


def command(given: argparse.Namespace) -> str:
    """That measures this again."""
    options = {"--recipes": given.recipes, "--seeds": given.seeds, "--prompts": [given.prompts], "--held-out": [given.held_out],
               "--source": [given.source], "--asks": asked(given), "--judge": given.judge, "--set": given.set}  # fmt: skip
    words = [word for name, values in options.items() if values for word in (name, *map(str, values))]
    return " ".join(["python scripts/measure_judges.py", *words])


def finished(given: argparse.Namespace, recipe: str, seed: int) -> dict[str, Any]:
    """The figures of one run, made in a process of its own where they are not there yet."""
    file = run_folder(given, recipe, seed).with_suffix(".json")
    if not file.is_file():
        file.write_text(apart(given, recipe, seed) + "\n", encoding="utf-8")
        print(f"{recipe}, seed {seed}: {file.read_text(encoding='utf-8').strip()}", flush=True)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def apart(given: argparse.Namespace, what: str, seed: int) -> str:
    """The last line that a process of its own prints."""
    own = {"folder": [given.folder], "prompts": [given.prompts], "held-out": [given.held_out], "judge": given.judge,
           "source": [given.source], "asks": [given.asks], "set": given.set, "one": [what, seed]}  # fmt: skip
    options = [word for name, values in own.items() for word in (f"--{name}", *map(str, values))]
    done = subprocess.run(
        [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, env=QUIET | os.environ
    )
    if done.returncode:
        raise CookbookError(f"{what}, seed {seed}: the run failed; see above")
    return done.stdout.splitlines()[-1]


# ------------------------------------------------------------------------------------------------------------- one run


def judge_of(given: argparse.Namespace) -> Path:
    """Where the judge lies that every run starts from."""
    folder: Path = given.folder
    return folder / "_".join(map(str, ["judge", given.source, *asked(given), *given.judge])) / "sft-final"


def asked(given: argparse.Namespace) -> list[str]:
    """What its SFT is asked, where that is not everything."""
    return [] if given.asks == "both" else [given.asks]


def run_folder(given: argparse.Namespace, recipe: str, seed: int) -> Path:
    """Where a run and its figures lie; other settings lie elsewhere, so that nothing is taken for what it is not."""
    settings = repr((given.prompts, given.held_out, given.source, *asked(given), given.judge, given.set))
    folder: Path = given.folder
    return folder / f"{recipe}_{seed}_{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def make_judge(given: argparse.Namespace) -> dict[str, Any]:
    """SFT of the embedded model on embedded judgements, of scores and of preferences."""
    from cookbook_lib.config import load_config
    from cookbook_lib.data.converters import Options
    from cookbook_lib.data.prepare import Job, prepare
    from cookbook_lib.parallel.mesh import make_mesh
    from cookbook_lib.training.loop import fit
    from cookbook_lib.training.recipes import open_recipe

    rows, steps = given.judge
    data = given.folder / "_".join(["data_sft", given.source, *asked(given), str(rows)])
    sys.stdout, shown = sys.stderr, sys.stdout
    asks = Options(asks=given.asks, orders="both")
    prepare(Job(given.source, output=data, converter="judge", limit=rows, seed=SFT_SEED, options=asks))
    config = load_config(
        "sft",
        ["smoke"],
        [
            "data.train_batch_size=16",
            f"trainer.total_training_steps={steps}",
            "trainer.test_freq=200",
            "trainer.save_freq=-1",
        ],
        environ={},
        train_file=str(data / "train.parquet"),
        val_file=str(data / "test.parquet"),
        save_path=str(judge_of(given).parent),
    )
    fit(open_recipe(config, make_mesh(device="cpu")))
    sys.stdout = shown
    return {"rows": rows, "steps": steps}


def run_one(given: argparse.Namespace, recipe: str, seed: int) -> dict[str, Any]:
    """Train with this seed; {figure: {before, after}}."""
    from cookbook_lib.config import load_config
    from cookbook_lib.data.judge.files import read_tasks
    from cookbook_lib.evaluation.held_out_judgements import AFTER, BEFORE, compare_judges
    from cookbook_lib.parallel.mesh import make_mesh
    from cookbook_lib.training.loop import fit
    from cookbook_lib.training.recipes import open_recipe

    data, folder = prepared(given, recipe), run_folder(given, recipe, seed)
    config = load_config(
        f"generative/{recipe}",
        ["smoke", str(HOME / f"cookbook/generative/{recipe}/smoke.yaml")],
        [f"model.partial_pretrain={judge_of(given)}", f"trainer.seed={seed}", "trainer.logger=[jsonl]", *given.set],
        environ={},
        train_file=str(data / "train.parquet"),
        val_file=str(data / "test.parquet"),
        save_path=str(folder),
    )
    sys.stdout, shown = sys.stderr, sys.stdout  # what is printed last is the result
    fit(open_recipe(config, make_mesh(device="cpu")))
    tasks = unseen(given, read_tasks([str(data / "test.parquet")]))[: given.held_out]
    compared = compare_judges(config, judge_of(given), folder / config.trainer.final_name, tasks)
    sys.stdout = shown
    figures = {
        f"{section}: {name}": {
            side: report.sections[section][name] for side, report in zip((BEFORE, AFTER), compared.reports, strict=True)
        }
        for section, name in FIGURES[recipe]
    }
    told = {name: {side: one.interval and one.as_dict() for side, one in own.items()} for name, own in figures.items()}
    return told | {"prompts": len(tasks)}


def prepared(given: argparse.Namespace, recipe: str) -> Path:
    """The folder of the prompts, split by question."""
    folder = given.folder / f"data_{recipe}_{given.prompts}"
    if not (folder / "train.parquet").is_file():
        command = [sys.executable, str(HOME / "scripts/prepare_reward_data.py"), "--source", "embedded", "--kind", KINDS[recipe],
                   "--limit", str(given.prompts), "--seed", "1", "--test-ratio", "0.2", "--output", str(folder)]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr)
    return folder


def unseen(given: argparse.Namespace, tasks: Iterable[JudgeTask]) -> list[JudgeTask]:
    """Those whose question the judge's SFT never saw."""
    seen = {row["prompt"] for row in embedded_rows(given.judge[0], SFT_SEED)}
    return [task for task in tasks if (about := quoted(task.prompt)) and about.prompt[-1]["content"] not in seen]


# ---------------------------------------------------------------------------------------------------------- the tables


def rows_of(recipe: str, seeds: Sequence[int], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a figure: before, after by seed, and the gain; how many rows each speaks of, where they are not the same."""
    rows = []
    for section, name in FIGURES[recipe]:
        own = [one.get(f"{section}: {name}", NEVER) for one in found]
        points = [own[0]["before"], *(one["after"] for one in own)]
        unlike = len({point.get("rows") for point in points if point}) > 1
        known = all(one[side] for one in own for side in ("before", "after"))
        gain = interval([one["after"]["value"] - one["before"]["value"] for one in own]) if known else None
        before, *afters = (shown(point) + rows_in(point, unlike) for point in points)
        by_seed = {f"seed {seed}": after for seed, after in zip(seeds, afters, strict=True)}
        rows.append({"figure": name, "before": before, **by_seed, "gain": shown(gain)})
    return rows


def shown(point: dict[str, Any] | None) -> str:
    """Value and interval; a dash where there is none, as for the correlation of a judge that says the same to all."""
    if point is None:
        return "–"
    known = (point["value"], point["low"], point["high"])
    value, low, high = (x if x is None else round(x, 3) + 0.0 for x in known)  # + 0.0: no minus zero
    return f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def rows_in(point: dict[str, Any] | None, unlike: bool) -> str:
    """` n=8`, where others have more."""
    return f" n={point['rows']:,}" if unlike and point and "rows" in point else ""


def markdown(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    raise SystemExit(main())
