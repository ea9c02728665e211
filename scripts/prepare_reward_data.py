"""Turn published or local preferences and scores into train.parquet, test.parquet and report.json, for reward models and
for reinforcement learning."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.config import CookbookError
from cookbook_lib.data import quality
from cookbook_lib.data.catalog import SOURCES
from cookbook_lib.data.converters import CONVERTERS
from cookbook_lib.data.judge.job import ASKS, TaskJob
from cookbook_lib.data.judge.prepare import prepare_tasks
from cookbook_lib.data.report import table
from cookbook_lib.data.reward.catalog import REWARD_SOURCES
from cookbook_lib.data.reward.prepare import RewardJob, prepare_reward
from cookbook_lib.data.reward.registry import KINDS, REWARD_CONVERTERS, RewardOptions, weights_from
from cookbook_lib.data.sources import load_loader

ANSWERING = ("gsm8k", "char_count", "embedded")  # sources of prepare_sft_data.py that know their answers

EXAMPLES = """
examples
  no network, no files: the embedded world, whose better answer is always known
    python scripts/prepare_reward_data.py --source embedded --output reward_data
  from the Hugging Face hub (pip install datasets): pairs for Bradley-Terry
    python scripts/prepare_reward_data.py --source helpsteer2 --output ./reward_data
  scores for a pointwise model, of one attribute or a weighted mix; the other attributes stay as columns
    python scripts/prepare_reward_data.py --source helpsteer2 --kind scores --aspect correctness --output scores
    python scripts/prepare_reward_data.py --source helpsteer2 --kind scores --output scores \\
        --mix helpfulness=0.65,correctness=0.8,coherence=0.45,complexity=0.55,verbosity=-0.4
  a local file or folder in the source's published format (.json .jsonl .parquet, .gz too)
    python scripts/prepare_reward_data.py --source hh --input harmless-base/ --output reward_data
    python scripts/prepare_reward_data.py --source ultrafeedback --input train.jsonl --ties keep --output reward_data
  nothing that a benchmark asks: its prompts are left out of the training data, and counted
    python scripts/prepare_reward_data.py --source openjudge --input bradley_terry/ --output reward_data \\
        --decontaminate rewardbench2=rewardbench2.parquet --decontaminate llmbar=LLMBar_Natural.json

  prompts for reinforcement learning of a judge that writes: how good is it? which is better? (in both orders)
    python scripts/prepare_reward_data.py --source embedded --kind score-judge --output judge_data
    python scripts/prepare_reward_data.py --source helpsteer2 --kind preference-judge --ties keep --output judge_data
    python scripts/prepare_reward_data.py --source ultrafeedback --input train.jsonl --kind score-judge \\
        --score-range 1,10 --rubric my_rubric.yaml --output judge_data --tokenizer Qwen/ --max-prompt-length 4096
  prompts whose answers can be checked: school mathematics, letters in words
    python scripts/prepare_reward_data.py --source gsm8k --input train.jsonl.gz --kind answers --output rl_data
    python scripts/prepare_reward_data.py --source char_count --kind answers --output rl_data

  a source of your own: a function under @register_reward_source or @register_reward_converter in a file of yours
    python scripts/prepare_reward_data.py --loader my_tickets.py --source tickets --output reward_data

pairs, scores or prompts
  pairs   {prompt, chosen, rejected, margin, tie}    for Bradley-Terry; margin is how much better, where that is known
  scores  {prompt, response, score, ...}             for a pointwise model
  score-judge, preference-judge, answers             {data_source, prompt, ability, reward_model, extra_info}, verl's layout,
                                                     of scores, of pairs, and of the sources of prepare_sft_data.py
  A source that holds both makes pairs unless --kind scores is given. Answers of equal score, and comparisons that found
  no difference, are ties: dropped, or with --ties keep marked as such; the report counts them either way.

what is written into --output
  train.parquet, test.parquet  `prompt` is text, or a list of {role, content} where some prompt has several turns;
                               no opening question is in both files
  report.json                  rows read, kept, dropped by reason with file and row; ties, margins, scores, lengths, and
                               `longer_wins`: the accuracy of a judge that always prefers the longer answer;
                               label_studio, several annotators: how far they agree beyond chance
  dropped.jsonl                every row that was left out, and why
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when data was written, 2 with one sentence when it was not."""
    try:
        load_loaders(arguments)
        given = parser().parse_args(arguments)
        job = job_from(given)
        summary = prepare_tasks(job) if isinstance(job, TaskJob) else prepare_reward(job)
        agreed = agreement_of_annotators(job, summary)
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(summary))
    for figure in agreed:
        print(f"{figure['value']:>24}  {figure['measure']} ({figure['rows']:,} items)")
    return 0


def agreement_of_annotators(job: RewardJob, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Where several people judged the same: how far they agree, as rows, and in report.json."""
    if summary.get("converter") != "label_studio":
        return []
    from cookbook_lib.evaluation.annotators import annotator_agreement  # here alone: it takes seconds to import
    from cookbook_lib.evaluation.judge_report import write_report

    found = annotator_agreement(job)
    if found:
        write_report(summary | {"agreement": {name: one.as_dict() for name, one in found.items()}}, job.output)
    return [{"measure": name, "value": one.text(), "rows": one.rows} for name, one in found.items() if one.interval]


def load_loaders(arguments: list[str] | None) -> None:
    """Run the --loader files before the choices of --source are known: they may add to them."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--loader", action="append", default=[])
    for path in early.parse_known_args(arguments)[0].loader:
        load_loader(Path(path))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    sources = "\n".join(f"  {name:<22} {made_of(name):<14} {source.about}" for name, source in REWARD_SOURCES.items())
    answering = "\n".join(f"  {name:<22} {'answers':<14} {SOURCES[name].about}" for name in ANSWERING)
    epilog = f"sources\n{sources}\n{answering}\n{EXAMPLES}"
    made = argparse.ArgumentParser(description=__doc__, epilog=epilog, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add(
        "--source",
        required=True,
        choices=list(REWARD_SOURCES | SOURCES),
        metavar="NAME",
        help="format of the data, see below",
    )
    add("--output", required=True, type=Path, metavar="FOLDER", help="where the files go; made if need be")
    add("--kind", choices=(*KINDS, *ASKS), help="what to make of it (default: pairs where the source can, see below)")
    add("--input", action="append", default=[], metavar="PATH", help="file, folder or hub:name; may be given again")
    add("--loader", action="append", metavar="FILE.py", help="run a file that registers sources or converters of yours")
    add(
        "--converter",
        choices=list(REWARD_CONVERTERS | CONVERTERS),
        metavar="NAME",
        help="read the source's rows as another format",
    )
    add("--limit", type=int, default=-1, metavar="N", help="read at most N rows (default: all)")
    add("--test-ratio", type=float, default=0.1, metavar="R", help="share of the prompts kept for test (default: 0.1)")
    add("--seed", type=int, default=0, help="of the split, and of the embedded world (default: 0)")
    add("--aspect", "--mix", metavar="NAME[=W],...", help="the score: an attribute, or several with weights")
    add("--ties", choices=("drop", "keep"), default="drop", help="pairs of equal merit (default: drop)")
    add("--min-gap", type=float, default=0.0, metavar="G", help="drop pairs of a smaller margin (default: 0)")
    add("--language", metavar="CODE", help="oasst: only trees of this language, en say (default: all)")
    add("--prompt-field", default="prompt", metavar="NAME", help="label_studio: data field of the prompt")
    add("--answer-fields", default="answer1,answer2", metavar="A,B", help="label_studio: data fields of the answers")
    add("--control", metavar="NAME", help="label_studio: the tag that says which answer is better")
    add("--min-agreement", type=float, default=0.0, metavar="R", help="label_studio: least share of the annotators")
    add("--rubric", metavar="FILE.yaml", help="judges: what is judged by; or a name such as full")
    add("--score-range", metavar="LOW,HIGH", help="score-judge: what the source's scores lie between (stars: 1,5)")
    add("--max-prompt-length", type=int, metavar="N", help="judges, answers: drop prompts of more tokens, rendered")
    add(
        "--instruction",
        metavar="TEXT",
        help="answers: appended to every question, such as 'End with #### and the number.'",
    )
    add("--decontaminate", action="append", default=[], metavar="NAME=FILE", help="leave out what a benchmark asks")
    add("--decontaminate-answers", action="store_true", help="leave out what answers as a benchmark's answers do, too")
    add("--min-characters", type=int, default=0, metavar="N", help="drop shorter prompts with an answer (default: 0)")
    add("--max-characters", type=int, metavar="N", help="drop longer prompts with an answer (default: no limit)")
    add("--min-turns", type=int, default=1, metavar="N", help="drop prompts of fewer user turns (default: 1)")
    add("--max-turns", type=int, metavar="N", help="drop prompts of more user turns (default: no limit)")
    add("--keep-duplicates", action="store_true", help="keep pairs and responses that came before")
    add("--tokenizer", metavar="PATH", help="measure lengths in this tokenizer's tokens (default: in characters)")
    add("--progress", action="store_true", help="show progress even where stderr is no terminal")
    return made


def made_of(source: str) -> str:
    """The kinds that a source makes, its default first."""
    converter = REWARD_CONVERTERS.get(REWARD_SOURCES[source].converter)
    return ", ".join(converter.kinds) if converter else ""


def job_from(given: argparse.Namespace) -> RewardJob:
    """The job that the arguments describe; a TaskJob for the kinds that are prompts."""
    filters = (
        quality.not_empty,
        quality.length(given.max_characters, given.min_characters),
        quality.turns(given.max_turns, given.min_turns),
    )
    said = {
        "source": given.source,
        "output": given.output,
        "inputs": tuple(given.input),
        "converter": given.converter,
        "limit": given.limit,
        "test_ratio": given.test_ratio,
        "seed": given.seed,
        "options": options_from(given),
        "decontaminate": benchmarks_from(given.decontaminate),
        "decontaminate_answers": given.decontaminate_answers,
        "filters": filters,
        "keep_duplicates": given.keep_duplicates,
        "tokenizer": given.tokenizer,
        "progress": given.progress or sys.stderr.isatty(),
    }
    prompts = {
        "rubric": given.rubric,
        "score_range": range_from(given.score_range),
        "max_prompt_length": given.max_prompt_length,
        "instruction": given.instruction,
    }
    if given.kind in ASKS:
        return TaskJob(**said, ask=given.kind, **prompts)
    idle = [f"--{name.replace('_', '-')}" for name, value in prompts.items() if value is not None]
    if idle:
        raise CookbookError(f"{', '.join(idle)} has no effect on {given.kind or 'pairs and scores'}; leave it out")
    return RewardJob(**said, kind=given.kind)


def options_from(given: argparse.Namespace) -> RewardOptions:
    """The converter's options."""
    return RewardOptions(
        aspect=weights_from(given.aspect) if given.aspect is not None else (),
        ties=given.ties,
        min_gap=given.min_gap,
        language=given.language,
        prompt_field=given.prompt_field,
        answer_fields=tuple(given.answer_fields.split(",")),
        control=given.control,
        min_agreement=given.min_agreement,
    )


def range_from(given: str | None) -> tuple[float, float] | None:
    """LOW,HIGH as numbers."""
    if given is None:
        return None
    try:
        low, high = map(float, given.split(","))
    except ValueError:
        raise CookbookError(f"score range is {given!r}, but it is LOW,HIGH; write 1,5 for stars") from None
    return low, high


def benchmarks_from(given: list[str]) -> dict[str, tuple[str, ...]]:
    """NAME=FILE, given once or several times, also for several files of one benchmark."""
    files: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise CookbookError(f"--decontaminate is {text!r}, but it names a benchmark and its file; write NAME=FILE")
        files[name] += (file,)
    return dict(files)


if __name__ == "__main__":
    sys.exit(main())
