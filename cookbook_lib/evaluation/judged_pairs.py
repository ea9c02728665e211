"""Any judge on held-out pairs, in the same measures: one that scores by its scores, one that compares by its verdicts.

    a ScoreJudge           score(chosen), score(rejected)                                as they are
    any other judge        asked (a, b) and (b, a); an answer's score in its pair is
                           the share of votes for it:   1 / 0   1/2 / 1/2   0 / 1        so A both times is no preference

Shares are no scores of an answer by itself, and say nothing of how sure a judge is: such a report has no calibration. A pair
with an unreadable verdict has no score, and counts as wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.evaluation.benchmarks.hearing import compares_by_score
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.held_out_answers import baselines, score_pairs
from cookbook_lib.evaluation.judge_report import JudgeReport, ScoredPairs, Sections, judge_report
from cookbook_lib.evaluation.judges import Judge, Messages
from cookbook_lib.evaluation.votes import both_orders, preference_of
from cookbook_lib.evaluation.writing import START, writing


def preferences_of(judge: Judge, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]) -> list[float | None]:
    """For each pair from +1 (a is better) to -1 (b is), both ways round where the order could matter; None: unreadable."""
    if isinstance(judge, GenerativeJudge):
        return judge.preferences(prompts, a, b)
    if compares_by_score(judge):
        return [preference_of([verdict]) for verdict in judge.compare(prompts, a, b)]
    shown, swapped = judge.compare(prompts, a, b), judge.compare(prompts, b, a)
    return [both_orders(preference_of([v]), preference_of([w])) for v, w in zip(shown, swapped, strict=True)]


def judged_pairs(judge: Judge, pairs: Sequence[PreferencePair]) -> ScoredPairs:
    """The pairs with this judge's scores, or shares of its votes."""
    if compares_by_score(judge):
        return score_pairs(judge.score, pairs)
    prompts, chosen, rejected = [p.prompt for p in pairs], [p.chosen for p in pairs], [p.rejected for p in pairs]
    preferred = preferences_of(judge, prompts, chosen, rejected)
    return ScoredPairs(
        prompts=prompts,
        chosen=chosen,
        rejected=rejected,
        chosen_scores=[None if one is None else (1 + one) / 2 for one in preferred],
        rejected_scores=[None if one is None else (1 - one) / 2 for one in preferred],
        groups=[group_of_pair(pair) for pair in pairs],
        ties=[pair.tie for pair in pairs],
    )


def report_on(
    judge: Judge,
    pairs: Sequence[PreferencePair],
    *,
    training: Sequence[PreferencePair] = (),
    more: Callable[[], Sections] | None = None,
    seed: int = 0,
) -> JudgeReport:
    """Everything about one judge on these pairs, beside judges that understand nothing (a bag of words learns from `training`).

    more: makes further sections, once the pairs have been asked.
    """
    before = judge.mark() if isinstance(judge, GenerativeJudge) else START
    scored, known = judged_pairs(judge, pairs), baselines(pairs, training)
    own = {"writing": writing(judge, since=before, seed=seed)} if isinstance(judge, GenerativeJudge) else {}
    sections = own | dict(more() if more else {})
    found = judge_report(judge.name, scored, baselines=known, more=sections, seed=seed)
    return found if compares_by_score(judge) else _uncalibrated(found)


def group_of_pair(pair: PreferencePair) -> str:
    """What the bootstrap draws: all pairs of one prompt together."""
    return pair.group or repr(pair.prompt)


def _uncalibrated(report: JudgeReport) -> JudgeReport:
    """Without what shares of votes cannot say."""
    sections = {name: found for name, found in report.sections.items() if name != "calibration"}
    numbers = report.numbers | {"reliability": {}}
    note = "asked both ways round; an answer's score is the share of the votes for it, so there is no calibration"
    return replace(report, sections=sections, numbers=numbers, notes=(*report.notes, note))
