"""What ends the run of a reward model: the trained judge on the run's own validation files, read as the run read them.

judge_pairs     Bradley-Terry: accuracy beside judges that understand nothing, calibration, biases, the worst mistakes
judge_scores    pointwise: correlation with the given scores, error, and what is exact after rounding

Both read prompts as the run's validation does (as_trained.py): their accuracy is val/accuracy, their mean error val/mae.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cookbook_lib.config import Config, CookbookError
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.files import read_pairs, read_scores
from cookbook_lib.data.reward.records import PreferencePair, ScoredResponse
from cookbook_lib.evaluation.as_trained import as_trained, left_out
from cookbook_lib.evaluation.baselines import BagOfWords, by_length
from cookbook_lib.evaluation.intervals import mean_by_group
from cookbook_lib.evaluation.judge_report import JudgeReport, ScoredPairs, judge_report
from cookbook_lib.evaluation.judges import answered
from cookbook_lib.evaluation.measure import Measure, Scores, counted, joined
from cookbook_lib.evaluation.metrics import correlations, pair_accuracy
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.evaluation.score_model import MOST_TOKENS, Scored, ScoringModel

Score = Callable[[Sequence[Any]], Sequence[float | None]]
Record = TypeVar("Record", PreferencePair, ScoredResponse)
MOST_TRAINING_PAIRS = 20_000  # that the bag of words learns from


def judge_pairs(config: Config, checkpoint: Path, *, limit: int = 2000, progress: Any = None) -> JudgeReport | None:
    """The checkpoint on the first `limit` pairs of the run's validation; None where the run has no validation files.

    Rows that are no pairs, and those that training leaves out, are left out; the report's notes count them, the prompts that
    were shortened, and answers without a score.
    """
    d = config.data
    if d.val_files is None:
        return None
    counts = Report(unit="pairs")
    given = _pairs(config, d.val_files, _most(limit, d.val_max_samples), counts)
    judge = RewardJudge(_open(config, checkpoint), progress=progress)
    pairs = _as_validated(config, judge.model, given, counts)
    scored = score_pairs(judge.score, pairs)
    training = _pairs(config, d.train_files, MOST_TRAINING_PAIRS, Report())
    found = judge_report(checkpoint.name, scored, baselines=baselines(pairs, training))
    return replace(
        found,
        sections=found.sections | {"accuracy": found.sections["accuracy"] | {"val/accuracy": val_accuracy(scored)}},
        notes=(*found.notes, *_first_alone(len(given), limit), *missing(counts, judge)),
    )


def val_accuracy(scored: ScoredPairs) -> Measure:
    """What training calls val/accuracy: ties left out, equal scores half right."""
    decided = scored.decided()
    figure = pair_accuracy(decided.chosen_scores, decided.rejected_scores, groups=decided.prompt_groups, equal="half")
    ties = counted(len(scored) - len(decided), "tie left out", "ties left out")
    return replace(figure, note=joined("as training measures it", ties, figure.note))


def missing(counts: Report, judge: RewardJudge) -> Iterator[str]:
    """Rows that were left out, prompts that were shortened, and answers without a score: how many, and why."""
    yield from left_out(counts)
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
        """One dict a figure; with a note where one has any."""
        noted = any(figure.note for figures in self.measures.values() for figure in figures.values())
        return [
            {"": attribute, "measure": name, "value": figure.text(), "rows": figure.rows}
            | ({"note": figure.note} if noted else {})
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
    """The checkpoint on the first `limit` responses of the run's validation; None where the run has no validation files."""
    d, names = config.data, tuple(config.pointwise.attributes)
    if d.val_files is None:
        return None
    counts = Report(unit="responses")
    readable = read_scores(
        d.val_files, prompt_key=d.prompt_key, response_key=d.response_key, attributes=names, report=counts
    )
    given = list(islice(readable, _most(limit, d.val_max_samples)))
    model = _open(config, checkpoint)
    if absent := set(names) - set(model.head.attributes):
        raise CookbookError(
            f"{checkpoint} has no output for {', '.join(sorted(absent))}: it was trained on other attributes."
        )
    responses = _as_validated(config, model, given, counts)
    found = model.attempt([answered(one.prompt, one.response) for one in responses])
    read = [(one, of) for one, of in zip(responses, found, strict=True) if isinstance(of, Scored)]
    if not read:
        why = next(iter(map(str, found)), None) or next(left_out(counts), "there is none")
        raise CookbookError(f"{checkpoint} can score none of {d.val_files}; the first: {why}")
    responses, few = [one for one, _ in read], len(found) - len(read)
    scores = {name: [of.scores[name] for _, of in read] for name in names}
    truth = {name: [float(one.scores.get(name, np.nan)) for one in responses] for name in names}
    groups = [one.group or repr(one.prompt) for one in responses]
    unread = counted(few, "answer too long for the model left out", "answers too long for the model left out")
    note = joined(*_first_alone(len(given), limit), *left_out(counts), unread)
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


def _open(config: Config, checkpoint: Path) -> ScoringModel:
    return ScoringModel(
        checkpoint,
        device=config.trainer.device,
        max_tokens=max(MOST_TOKENS, config.data.max_length),
        trust_remote_code=config.model.trust_remote_code,
    )


def _as_validated(config: Config, model: ScoringModel, records: list[Record], counts: Report) -> list[Record]:
    d = config.data
    names = config.pointwise.attributes if config.recipe == "pointwise" else ()
    options: Any = {"max_length": d.max_length, "truncation": d.truncation, "attributes": names}
    return as_trained(records, model.tokenizer, report=counts, **options)


def _most(limit: int, samples: int) -> int:
    """Rows to read: `limit`, or as few as validation read."""
    return limit if samples < 0 else min(limit, samples)


def _first_alone(count: int, limit: int) -> Iterator[str]:
    if count == limit:
        yield f"of the first {count:,} rows"
