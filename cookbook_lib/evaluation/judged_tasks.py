"""A generative judge on prompts whose truth is known (data/judge/files.py): agreement beyond chance, order, exact hits.

    scores         exact, off by, kappa (1960, https://doi.org/10.1177/001316446002000104), kappa weighted by squared distance
                   (1968, https://doi.org/10.1037/h0026256), Spearman; beside the best that one score for all reaches
    preferences    right, right both ways round, the same verdict both ways round, kappa; beside the commonest verdict

What could not be read is wrong wherever rightness is counted. Correlations and kappas have no place for it, and their notes
say how many rows they leave out.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.records import JudgeTask
from cookbook_lib.evaluation.agreement import cohen
from cookbook_lib.evaluation.bias import position_bias
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.intervals import mean_by_group, share_by_group
from cookbook_lib.evaluation.measure import Measure, as_scores, counted, same_length, undefined
from cookbook_lib.evaluation.metrics import correlation
from cookbook_lib.evaluation.votes import preference_of, score_of, verdict_for
from cookbook_lib.evaluation.writing import writing

Figures = dict[str, Measure]


def judge_tasks(judge: GenerativeJudge, tasks: Sequence[JudgeTask], *, seed: int = 0) -> dict[str, Figures]:
    """Sections for a report: scores, preferences, writing. Each prompt is asked as it stands, whatever the judge's own rubric.

    Raises CookbookError where no task asks for a verdict.
    """
    scores, preferences = ([task for task in tasks if task.kind == kind] for kind in ("score", "preference"))
    if not scores and not preferences:
        raise CookbookError("no task asks for a score or a preference: give the prompts of a judge.")
    sections, before = {}, judge.mark()
    if scores:
        heard = judge.ask("score", [task.prompt for task in scores])
        said = [score_of(one.votes, judge.combine) for one in heard]
        groups = [_group(task) for task in scores]
        sections["scores"] = score_agreement(said, [int(task.truth) for task in scores], groups=groups, seed=seed)
    if preferences:
        sections["preferences"] = _preferences(judge, preferences, seed)
    return sections | {"writing": writing(judge, since=before, seed=seed)}


def score_agreement(
    said: Sequence[float | None], truth: Sequence[float], *, groups: Sequence[Any] | None = None, seed: int = 0
) -> Figures:
    """Scores (n,) against true ones (n,), on one scale. What compares levels rounds both, halves up."""
    same_length(said=said, truth=truth)
    if not truth:
        return {"exact": undefined("there is no score")}
    levels = [None if one is None else math.floor(one + 0.5) for one in said]
    true_levels = [math.floor(true + 0.5) for true in truth]
    exact = [float(level == true) for level, true in zip(levels, true_levels, strict=True)]
    best, most = Counter(true_levels).most_common(1)[0]
    missing = counted(levels.count(None), "unreadable score is wrong", "unreadable scores are wrong")
    pairs = list(zip(levels, true_levels, strict=True))
    return {
        "exact": Measure(share_by_group(exact, groups, seed=seed), len(truth), missing),
        "exact, always the commonest": Measure(
            share_by_group([float(true == best) for true in true_levels], groups, seed=seed), len(truth), f"{best}, {most:,} times"
        ),
        "off by": _distance(said, truth, groups, seed),
        "kappa": cohen(pairs, groups=groups, seed=seed),
        "kappa, weighted by squared distance": cohen(pairs, level="interval", groups=groups, seed=seed),
        "spearman": correlation(said, [float(true) for true in truth], groups=groups, seed=seed),
    }  # fmt: skip


def verdict_agreement(
    said: Sequence[str | None], truth: Sequence[str], *, groups: Sequence[Any] | None = None, seed: int = 0
) -> Figures:
    """Verdicts (n,) against true ones (n,), each "A", "B" or "tie"."""
    same_length(said=said, truth=truth)
    if not truth:
        return {"right": undefined("there is no preference")}
    best, most = Counter(truth).most_common(1)[0]
    missing = counted(list(said).count(None), "unreadable verdict is wrong", "unreadable verdicts are wrong")
    right = [float(one == true) for one, true in zip(said, truth, strict=True)]
    always = [float(true == best) for true in truth]
    return {
        "right": Measure(share_by_group(right, groups, seed=seed), len(truth), missing),
        "right, always the commonest": Measure(share_by_group(always, groups, seed=seed), len(truth), f"{best}, {most:,} times"),
        "kappa": cohen(list(zip(said, truth, strict=True)), groups=groups, seed=seed),
    }  # fmt: skip


def _preferences(judge: GenerativeJudge, tasks: Sequence[JudgeTask], seed: int) -> Figures:
    heard = judge.ask("preference", [task.prompt for task in tasks], [task.order or "ab" for task in tasks])
    said = [verdict_for(preference_of(one.votes)) for one in heard]
    groups = [_group(task) for task in tasks]
    found = verdict_agreement(said, [str(task.truth) for task in tasks], groups=groups, seed=seed)
    both: dict[str, dict[str, int]] = {}
    for i, task in enumerate(tasks):
        if task.pair_id is not None and task.order is not None:
            both.setdefault(task.pair_id, {})[task.order] = i
    whole = [(orders["ab"], orders["ba"]) for orders in both.values() if len(orders) == 2]
    if not whole:
        return found | {"right both ways round": undefined("no pair is asked in both orders")}
    shown, swapped = [said[i] for i, _ in whole], [said[i] for _, i in whole]
    labels = [str(tasks[i].truth) for i, _ in whole]
    own = [groups[i] for i, _ in whole]
    return found | position_bias(shown, swapped, labels, groups=own, seed=seed)


def _distance(said: Sequence[float | None], truth: Sequence[float], groups: Sequence[Any] | None, seed: int) -> Measure:
    off = np.abs(as_scores(said) - np.array(truth, float))
    kept = ~np.isnan(off)
    if not kept.any():
        return undefined("no score could be read")
    own = None if groups is None else [group for group, keep in zip(groups, kept, strict=True) if keep]
    few = counted(int((~kept).sum()), "unreadable score left out", "unreadable scores left out")
    return Measure(mean_by_group(off[kept], own, seed=seed), int(kept.sum()), few)


def _group(task: JudgeTask) -> str:
    return task.group or task.pair_id or repr(task.prompt)
