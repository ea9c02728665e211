"""What a judge likes besides quality: longer answers, formatted ones, the one that it is shown first.

A feature f (log length, log marks of formatting) of the two answers of each pair, with s the score:

    more, less      accuracy where the chosen answer has more of f, and where it has less; `gap` is more - less. A pair without
                    scores is wrong in them, and left out of the others; the notes say how many
    judge, data     share of pairs (that differ in f) in which the judge, and the data, prefer the answer with more;
                    `excess` is judge - data: 0 is a judge who likes f as much as people do
    correlation     Spearman's, of s and f over all answers
    left_over       b in  P(chosen is better) = sigmoid(a Δs / |Δs| + b Δf / |Δf|),  |·| the root mean square
                    b < 0: between answers of equal score people prefer the one with less, so the score overrates f;
                    b > 0: it underrates f. A ridge of 1 (one pair's worth) keeps a and b finite.

People like length too (Singhal et al. 2023, https://arxiv.org/abs/2310.03716), hence `excess` and `left_over` beside the bare
`gap`. Position: a judge that compares is asked both ways round (Zheng et al. 2023, https://arxiv.org/abs/2306.05685).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.formatting import format_marks
from cookbook_lib.evaluation.intervals import Groups, Interval, Weights, bootstrap, mean_by_group, share_by_group
from cookbook_lib.evaluation.logistic import fit_logistic
from cookbook_lib.evaluation.measure import (
    Floats,
    Measure,
    Scores,
    as_scores,
    counted,
    differences,
    joined,
    pick,
    same_length,
    undefined,
)
from cookbook_lib.evaluation.metrics import correlation, pair_credits

RIDGE = 1.0
SWAPPED = {"A": "B", "B": "A", "tie": "tie", None: None}


@dataclass(frozen=True)
class FeatureBias:
    """What a judge makes of one feature of answers; `feature` is its name."""

    feature: str
    more: Measure
    less: Measure
    gap: Measure
    judge: Measure
    data: Measure
    excess: Measure
    correlation: Measure
    left_over: Measure

    def measures(self) -> dict[str, Measure]:
        """Name -> figure, as sentences that a reader of a table understands."""
        f = self.feature
        said = {
            "more": f"accuracy, chosen has more {f}",
            "less": f"accuracy, chosen has less {f}",
            "gap": f"accuracy gained where chosen has more {f}",
            "judge": f"judge prefers more {f}",
            "data": f"data prefers more {f}",
            "excess": f"judge beyond data, more {f}",
            "correlation": f"score and {f}, spearman",
            "left_over": f"{f} left over by the score",
        }
        return {said[field.name]: getattr(self, field.name) for field in fields(self) if field.name != "feature"}


def length_bias(
    chosen: Scores,
    rejected: Scores,
    chosen_lengths: Sequence[int],
    rejected_lengths: Sequence[int],
    *,
    groups: Groups = None,
    seed: int = 0,
) -> FeatureBias:
    """lengths (n,) of the answers, in tokens or characters: ratios of lengths are what counts, so the unit does not."""
    logs = (np.log1p(np.asarray(lengths, float)) for lengths in (chosen_lengths, rejected_lengths))
    return feature_bias("length", chosen, rejected, *logs, groups=groups, seed=seed)


def format_bias(
    chosen: Scores,
    rejected: Scores,
    chosen_texts: Sequence[str],
    rejected_texts: Sequence[str],
    *,
    groups: Groups = None,
    seed: int = 0,
) -> FeatureBias:
    """The texts (n,) of the answers; `format_marks` is what is counted in them."""
    logs = (np.log1p(np.array([format_marks(text) for text in texts])) for texts in (chosen_texts, rejected_texts))
    return feature_bias("formatting", chosen, rejected, *logs, groups=groups, seed=seed)


def feature_bias(
    feature: str,
    chosen: Scores,
    rejected: Scores,
    of_chosen: Sequence[float] | Floats,
    of_rejected: Sequence[float] | Floats,
    *,
    groups: Groups = None,
    seed: int = 0,
) -> FeatureBias:
    """Any feature, a number for each answer (n,).

    Pairs without scores are wrong; where nothing is right or wrong they are left out. The notes say how many.
    """
    same_length(chosen=chosen, rejected=rejected, of_chosen=of_chosen, of_rejected=of_rejected)
    every_ds, every_df = differences(chosen, rejected), np.asarray(of_chosen, float) - np.asarray(of_rejected, float)
    right, everyone = pair_credits(every_ds, np.zeros(len(every_ds), bool)), None if groups is None else list(groups)
    none = np.isnan(every_ds)
    ds, df, among = every_ds[~none], every_df[~none], pick(groups, ~none)
    s = np.stack([as_scores(chosen)[~none], as_scores(rejected)[~none]])
    f = np.stack([np.asarray(of_chosen, float)[~none], np.asarray(of_rejected, float)[~none]])
    halves = pair_credits(ds, np.zeros(len(ds), bool), "half")
    longer = np.where(df > 0, halves, 1 - halves)  # 1 where the judge prefers the answer with more
    some, differs = df != 0, f"the answers differ in {feature}"
    left = _left(none & (every_df != 0))

    def accuracy(rows: NDArray[np.bool_], what: str) -> Measure:
        wrong = _wrong(none & rows)
        return _over(right, rows, f"the chosen answer has {what} {feature}", everyone, seed, wrong)

    related = correlation(
        s.ravel(), f.ravel(), groups=among and [*among, *among], seed=seed, names=("scores", f"values of {feature}")
    )
    return FeatureBias(
        feature,
        accuracy(every_df > 0, "more"),
        accuracy(every_df < 0, "less"),
        _gap(right, every_df, feature, everyone, seed, _wrong(none & (every_df != 0))),
        _over(longer, some, differs, among, seed, left),
        _over((df > 0).astype(float), some, differs, among, seed, left),
        _over(longer - (df > 0), some, differs, among, seed, left, mean_by_group),
        _noted(related, _left(none)),
        _noted(_left_over(ds, df, feature, among, seed), _left(none)),
    )


def _wrong(pairs: NDArray[np.bool_]) -> str:
    return counted(int(pairs.sum()), "pair without scores counts as wrong", "pairs without scores count as wrong")


def _left(pairs: NDArray[np.bool_]) -> str:
    return counted(int(pairs.sum()), "pair without scores is left out", "pairs without scores are left out")


def _noted(figure: Measure, more: str) -> Measure:
    return replace(figure, note=joined(figure.note, more))


def _over(
    values: Floats,
    rows: NDArray[np.bool_],
    what: str,
    groups: list[object] | None,
    seed: int,
    note: str,
    interval: Callable[..., Interval] = share_by_group,
) -> Measure:
    """The mean of these pairs' values, a share unless another interval is asked for."""
    if not rows.any():
        return undefined(joined(f"in no pair {what}", note))
    return Measure(interval(values[rows], pick(groups, rows), seed=seed), int(rows.sum()), note)


def _gap(right: Floats, df: Floats, feature: str, groups: list[object] | None, seed: int, note: str) -> Measure:
    more, less = df > 0, df < 0
    if not (more.any() and less.any()):
        return undefined(f"it takes pairs whose chosen answer has more {feature}, and pairs where it has less")

    def statistic(weights: Weights) -> Floats:
        counts = weights @ more, weights @ less
        enough = (counts[0] > 0) & (counts[1] > 0)
        parts = [
            np.divide(weights @ (right * rows), count, out=np.full(len(weights), np.nan), where=enough)
            for rows, count in zip((more, less), counts, strict=True)
        ]
        return np.asarray(parts[0] - parts[1])

    return Measure(bootstrap(statistic, len(df), groups, seed=seed), int((more | less).sum()), note)


def _left_over(ds: Floats, df: Floats, feature: str, groups: list[object] | None, seed: int) -> Measure:
    if not (np.any(ds) and np.any(df)):
        what = "scores" if not np.any(ds) else feature
        return undefined(f"no pair differs in {what}: nothing to tell the two apart", len(ds))
    x = np.stack([d / np.sqrt(np.mean(d * d)) for d in (ds, df)], 1)
    start = fit_logistic(x, np.ones((1, len(x))), RIDGE)
    found = bootstrap(lambda weights: fit_logistic(x, weights, RIDGE, start)[:, 1], len(ds), groups, seed=seed)
    return Measure(found, len(ds))


def format_effect(
    scores: Scores,
    stripped: Scores,
    texts: Sequence[str],
    *,
    groups: Groups = None,
    seed: int = 0,
) -> dict[str, Measure]:
    """What formatting is worth to the judge: scores (n,) of texts, and of the same texts through `strip_format`.

    change: mean of score - stripped, in standard deviations of the scores. raised: share of answers whose score formatting
    raises. Only texts that have any formatting, and a score with and without it, speak.
    """
    same_length(scores=scores, stripped=stripped, texts=texts)
    x, y = as_scores(scores), as_scores(stripped, "stripped")
    none, marked = np.isnan(x) | np.isnan(y), np.array([format_marks(text) > 0 for text in texts], bool)
    kept, missing = ~none & marked, int((none & marked).sum())
    note = counted(missing, "answer without a score is left out", "answers without a score are left out")
    names = ("formatting adds, in deviations of the scores", "formatting raises the score")
    if not kept.any():
        return dict.fromkeys(names, undefined(joined("no answer with scores has any formatting", note)))
    spread, among, rows = float(np.nanstd(x)), pick(groups, kept), int(kept.sum())
    raised = pair_credits((x - y)[kept], np.zeros(rows, bool), "half")
    change = (
        Measure(mean_by_group((x - y)[kept] / spread, among, seed=seed), rows, note)
        if spread > 0
        else undefined(f"all scores are {x[kept][0]:g}: there is no spread to measure a change by", rows)
    )
    return {names[0]: change, names[1]: Measure(share_by_group(raised, among, seed=seed), rows, note)}


# ------------------------------------------------------------------------------------------------------------- position


def position_bias(
    verdicts: Sequence[str | None],
    swapped: Sequence[str | None],
    labels: Sequence[str] | None = None,
    *,
    groups: Groups = None,
    seed: int = 0,
) -> dict[str, Measure]:
    """A judge asked twice: `verdicts` (n,) on (a, b), `swapped` (n,) on (b, a), each naming the place ("A": the first shown).

    labels: the truth for (a, b). A verdict of None (unparseable) makes its pair inconsistent, as in JudgeBench and LLMBar, and is
    never right. Places are counted over the pairs that were read both ways round: the half that could be read is no preference.
    """
    n = same_length(verdicts=verdicts, swapped=swapped, labels=labels)
    if unknown := {*verdicts, *swapped} - set(SWAPPED):
        raise CookbookError(f'{sorted(map(str, unknown))[0]!r} is no verdict: say "A", "B", "tie" or None.')
    back = [SWAPPED[verdict] for verdict in swapped]
    answered = np.array([v is not None and w is not None for v, w in zip(verdicts, back, strict=True)], bool)
    note = counted(int(n - answered.sum()), "pair lacks a verdict", "pairs lack a verdict")
    same = np.array([v == w for v, w in zip(verdicts, back, strict=True)], bool)
    found = {
        "same verdict both ways round": _share(same & answered, groups, seed, note),
        "prefers the place shown first": _first(verdicts, swapped, answered, groups, seed),
    }
    if labels is not None:
        one = np.array([v == label for v, label in zip(verdicts, labels, strict=True)], bool)
        two = np.array([w == label for w, label in zip(back, labels, strict=True)], bool)
        found["accuracy, mean of both ways round"] = _share((one + 0.0 + two) / 2, groups, seed, note)
        found["accuracy, right both ways round"] = _share(one & two, groups, seed, note)
    return found


def _share(yes: NDArray[np.bool_] | Floats, groups: Groups, seed: int, note: str = "") -> Measure:
    if not len(yes):
        return undefined(note or "there is no pair")
    return Measure(share_by_group(yes, groups, seed=seed), len(yes), note)


def _first(
    verdicts: Sequence[str | None],
    swapped: Sequence[str | None],
    answered: NDArray[np.bool_],
    groups: Groups,
    seed: int,
) -> Measure:
    """Of the verdicts that prefer one, in pairs read both ways round, the share that prefer the first place; 0.5 is no bias."""
    both = [*verdicts, *swapped]
    pairs = list(range(len(verdicts))) if groups is None else list(groups)
    lacking = int((~answered).sum())
    note = counted(lacking, "pair that lacks a verdict is left out", "pairs that lack a verdict are left out")
    decided = np.array([verdict in ("A", "B") for verdict in both], bool) & np.concatenate([answered, answered])
    if not decided.any():
        return undefined(joined("no verdict prefers one of the two answers", note))
    first = np.array([verdict == "A" for verdict in both], bool)[decided]
    return Measure(share_by_group(first, pick(pairs + pairs, decided), seed=seed), int(decided.sum()), note)
