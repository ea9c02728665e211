"""A judge from a folder, whatever kind of model is in it; several judges in one table.

    ...ForSequenceClassification         ─▶ RewardJudge        scores at the last token
    a causal model                       ─▶ GenerativeJudge    writes a verdict: compares pairs, scores single answers
    the same, of recipe generative_pointwise ─▶ ScoringJudge   writes scores, and compares by them

A generative run's own rubric, scale, length of answers and thinking are used unless others are given: they are in the
config.yaml beside it.
"""

from pathlib import Path
from typing import Any, Literal

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.checkpoints import Checkpoint, open_checkpoint
from cookbook_lib.evaluation.generative_judge import GenerativeJudge, Scale, ScoringJudge
from cookbook_lib.evaluation.generators import Generator, LocalGenerator
from cookbook_lib.evaluation.judges import told_apart
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.models.score_head import is_score_model

By = Literal["comparisons", "scores"]
NEW_TOKENS = 512


def open_judge(
    path: str | Path,
    *,
    device: str = "auto",
    trust_remote_code: bool = False,
    name: str | None = None,
    **generative: Any,
) -> RewardJudge | GenerativeJudge:
    """The judge in a folder; `generative` options are open_generative's, and an error for a reward model.

    Raises CookbookError for a folder that holds no model, or not a whole one.
    """
    folder = open_checkpoint(path).folder
    if not is_score_model(folder):
        options: Any = {"device": device, "trust_remote_code": trust_remote_code, "name": name}
        return open_generative(folder, **options, **generative)
    if asked := [option for option, value in generative.items() if value is not None]:
        raise CookbookError(
            f"{folder} is a reward model, which writes nothing: {asked[0]} has no effect, leave it out."
        )
    return RewardJudge(folder, name=name, device=device, trust_remote_code=trust_remote_code)


def open_generative(
    path: str | Path,
    *,
    by: By | None = None,
    rubric: str | Path | None = None,
    scale: Scale | None = None,
    max_new_tokens: int | None = None,
    thinking: bool | None = None,
    chat_template: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    **options: Any,
) -> GenerativeJudge:
    """The causal language model in a folder as a judge; `options` are GenerativeJudge's.

    by: whether pairs are compared side by side or by the scores of their answers; None is what the model was trained for.
    scale: None is the one on which it was trained to score, unless a rubric is given, which has its own. thinking: see
    `prompt_ids`; None is as it was trained, and without where that is not known. chat_template: as LocalGenerator's; a trained
    model's folder has that of its training.
    Raises CookbookError for a reward model.
    """
    checkpoint = open_checkpoint(path)
    rollout = checkpoint.section("rollout")
    generator = LocalGenerator(
        checkpoint.folder,
        max_new_tokens=max_new_tokens or rollout.get("max_new_tokens") or NEW_TOKENS,
        thinking=bool(rollout.get("thinking")) if thinking is None else thinking,
        chat_template=chat_template,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    own = rubric or checkpoint.section("judge").get("rubric")
    known = scale if scale or rubric else scale_of(checkpoint)
    return judge_over(generator, by or trained_for(checkpoint), rubric=own, scale=known, **options)


def judge_over(generator: Generator, by: By, **options: Any) -> GenerativeJudge:
    """A judge by what this generator writes. Raises CookbookError for another `by` than there are."""
    if by not in ("comparisons", "scores"):
        raise CookbookError(f"by is {by!r}, but a judge that writes compares by comparisons, or by scores.")
    return (ScoringJudge if by == "scores" else GenerativeJudge)(generator, **options)


def trained_for(checkpoint: Checkpoint) -> By:
    """What a model's recipe asked of it: scores of single answers, or (where it is not known, too) comparisons."""
    recipe = checkpoint.origin.get("recipe") or checkpoint.run.get("recipe")
    return "scores" if recipe == "generative_pointwise" else "comparisons"


def scale_of(checkpoint: Checkpoint) -> Scale | None:
    """The lowest and the highest score that a judge of scores was trained on; None where its run does not say."""
    judge = checkpoint.section("judge")
    if trained_for(checkpoint) != "scores" or not {"lowest", "highest"} <= judge.keys():
        return None
    return judge["lowest"], judge["highest"]


def distinct_names(names: list[str], paths: list[str]) -> list[str]:
    """Names that tell judges apart: the folder's, or the whole path where several are called the same; a path that is given
    twice is numbered."""
    return told_apart([path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)])
