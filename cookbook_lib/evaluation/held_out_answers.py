"""What ends the run of a reward model: the trained judge on the run's own validation files, read as the run read them.

judge_pairs     Bradley-Terry: accuracy beside judges that understand nothing, calibration, biases, the worst mistakes
judge_scores    pointwise: correlation with the given scores, error, and what is exact after rounding
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_lib.config import Config, CookbookError
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.files import read_pairs, read_scores
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse
from cookbook_lib.evaluation.baselines import BagOfWords, by_length
from cookbook_lib.evaluation.intervals import mean_by_group
from cookbook_lib.evaluation.judge_report import JudgeReport, ScoredPairs, judge_report
from cookbook_lib.evaluation.judges import answered
from cookbook_lib.evaluation.measure import Measure, Scores, counted
from cookbook_lib.evaluation.metrics import correlations
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.evaluation.score_model import Scored, ScoringModel

Score = Callable[[Sequence[Any]], Sequence[float | None]]
MOST_TRAINING_PAIRS = 20_000  # that the bag of words learns from


def judge_pairs(config: Config, checkpoint: Path, *, limit: int = 2000, progress: Any = None) -> JudgeReport | None:
    """The checkpoint on the first `limit` validation pairs; None where the run has no validation files.

    Prompts are read whole, where training took the oldest turns off the long ones. Rows that are no pairs are left out, an
    answer that is too long for the model has no score; the report's notes count both.
    """
    if config.data.val_files is None:
        return None
    left_out = Report(unit="pairs")
    pairs = _pairs(config, config.data.val_files, limit, left_out)
    options: Any = {"device": config.trainer.device, "trust_remote_code": config.model.trust_remote_code}
    judge = RewardJudge(checkpoint, progress=progress, **options)
    scored = score_pairs(judge.score, pairs)
    training = _pairs(config, config.data.train_files, MOST_TRAINING_PAIRS, Report())
    found = judge_report(checkpoint.name, scored, baselines=baselines(pairs, training))
    return replace(found, notes=(*found.notes, *missing(left_out, judge)))


def missing(left_out: Report, judge: RewardJudge) -> Iterator[str]:
    """Rows that are no pairs, and answers without a score: how many, and why."""
    for reason, count in left_out.reasons.most_common():
        yield f"left out, {count:,} of {left_out.counts['rows_read']:,} rows read: {reason}"
    if judge.unscored:
        yield f"{counted(len(judge.unscored), 'answer')} without a score; the first: {judge.unscored[0]}"


def score_pairs(score: Score, pairs: Sequence[PreferencePair]) -> ScoredPairs:
    """Pairs with what a judge's `score` (conversations -> numbers) says of their answers."""
    shown = [answered(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    scores = list(score(shown))
    return ScoredPairs(
        prompts=[pair.prompt for pair in pairs],
        chosen=[pair.chosen for pair in pairs],
        rejected=[pair.rejected for pair in pairs],
        chosen_scores=scores[::2],
        rejected_scores=scores[1::2],
        groups=[pair.group or repr(pair.prompt) for pair in pairs],
        ties=[pair.tie for pair in pairs],
    )


def baselines(pairs: Sequence[PreferencePair], training: Sequence[PreferencePair]) -> dict[str, tuple[Scores, Scores]]:
    """What judges that understand nothing score the pairs: "longer wins", and a bag of words learned from `training`."""
    chosen, rejected = [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]
    found: dict[str, tuple[Scores, Scores]] = {"longer wins": (by_length(chosen), by_length(rejected))}
    decided = [pair for pair in training if not pair.tie]
    if decided:
        groups = [pair.group or repr(pair.prompt) for pair in decided]
        words = BagOfWords.fit([p.chosen for p in decided], [p.rejected for p in decided], groups=groups)
        found["bag of words"] = (words.score(chosen), words.score(rejected))
    return found


@dataclass(frozen=True)
class JudgedScores:
    """Held-out responses, what each was scored by the data and by the judge, and the figures, attribute by attribute."""

    responses: list[ScoredResponse]
    scores: dict[str, list[float]]  # attribute -> the judge's
    truth: dict[str, list[float]]  # NaN where the data says nothing
    measures: dict[str, dict[str, Measure]]

    def rows(self) -> list[dict[str, Any]]:
        """One dict a figure."""
        return [
            {"": attribute, "measure": name, "value": figure.text(), "rows": figure.rows, "note": figure.note}
            for attribute, figures in self.measures.items()
            for name, figure in figures.items()
        ]

    def worst(self, attribute: str, count: int) -> list[dict[str, Any]]:
        """The responses whose score is farthest from the data's, the farthest first."""
        scores, truth = np.asarray(self.scores[attribute]), np.asarray(self.truth[attribute])
        off = np.nan_to_num(np.abs(scores - truth), nan=-1.0)
        return [
            {
                "prompt": self.responses[i].prompt[-1]["content"],
                "response": self.responses[i].response,
                "score": f"{scores[i]:.2f}",
                "truth": f"{truth[i]:g}",
            }
            for i in np.argsort(-off, kind="stable")[:count]
        ]


def judge_scores(config: Config, checkpoint: Path, *, limit: int = 2000) -> JudgedScores | None:
    """The checkpoint on the first `limit` validation responses; None where the run has no validation files."""
    d, names = config.data, tuple(config.pointwise.attributes)
    if d.val_files is None:
        return None
    readable = read_scores(
        d.val_files, prompt_key=d.prompt_key, response_key=d.response_key, attributes=names, report=Report()
    )
    responses = list(islice(readable, limit))
    model = ScoringModel(checkpoint, device=config.trainer.device, trust_remote_code=config.model.trust_remote_code)
    if missing := set(names) - set(model.head.attributes):
        raise CookbookError(
            f"{checkpoint} has no output for {', '.join(sorted(missing))}: it was trained on other attributes."
        )
    found = model.attempt([answered(one.prompt, one.response) for one in responses])
    read = [(one, of) for one, of in zip(responses, found, strict=True) if isinstance(of, Scored)]
    if not read:
        raise CookbookError(f"{checkpoint} can score none of {d.val_files}; the first: {found[0]}")
    responses, few = [one for one, _ in read], len(found) - len(read)
    scores = {name: [of.scores[name] for _, of in read] for name in names}
    truth = {name: [float(one.scores.get(name, np.nan)) for one in responses] for name in names}
    groups = [one.group or repr(one.prompt) for one in responses]
    note = counted(few, "answer too long for the model left out", "answers too long for the model left out")
    measures = {name: score_measures(scores[name], truth[name], groups, note) for name in names}
    return JudgedScores(responses, scores, truth, measures)


def score_measures(
    scores: Sequence[float], truth: Sequence[float], groups: Sequence[Any], note: str = ""
) -> dict[str, Measure]:
    """Correlations, mean absolute error (in the data's own steps), share exact after rounding, and the error of the mean alone.

    note: what a reader must know of the rows, said beside each error.
    """
    known = ~np.isnan(np.asarray(truth, float))
    s, t = np.asarray(scores, float)[known], np.asarray(truth, float)[known]
    kept = [group for group, keep in zip(groups, known, strict=True) if keep]
    means: dict[str, Any] = {
        "mean error": np.abs(s - t),
        "exact after rounding": (np.rint(s) == t).astype(float),
        "mean error of always saying the mean": np.abs(t - t.mean()) if len(t) else t,
    }
    figures = {str(kind): figure for kind, figure in correlations(list(s), list(t), groups=kept).items()}
    return figures | {
        name: Measure(mean_by_group(values, kept), len(s), note) for name, values in means.items() if len(values)
    }


def _pairs(config: Config, files: Any, limit: int, report: Report) -> list[PreferencePair]:
    d = config.data
    readable = read_pairs(
        files, prompt_key=d.prompt_key, chosen_key=d.chosen_key, rejected_key=d.rejected_key, report=report
    )
    return list(islice(readable, limit))
