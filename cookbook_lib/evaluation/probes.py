"""Questions put to a judge beside the benchmarks: would it say the same of the same thing, shown otherwise?

    formatting removed   each answer with marks of formatting, scored again without them (or compared with it so)
    both ways round      each pair compared as (a, b) and as (b, a): position bias, and which verdicts contradict each other
    junk                 answers that say nothing, against the better answer of each pair: headings, politeness, filler ...
    best of n            of a benchmark's answers to one prompt, how often the one with the highest score is right

A judge that scores is the same both ways round by construction; it is asked all the same, and has to say so.
"""

from collections.abc import Sequence
from typing import Any

from cookbook_lib.data.reward.records import PreferencePair
from cookbook_lib.evaluation.benchmarks.hearing import compares_by_score
from cookbook_lib.evaluation.benchmarks.result import BenchmarkResult
from cookbook_lib.evaluation.best_of_n import best_of_n
from cookbook_lib.evaluation.bias import format_effect, position_bias
from cookbook_lib.evaluation.consistency import Comparison, consistency
from cookbook_lib.evaluation.formatting import format_marks, strip_format
from cookbook_lib.evaluation.generative_judge import GenerativeJudge
from cookbook_lib.evaluation.intervals import share_by_group
from cookbook_lib.evaluation.judged_pairs import group_of_pair, preferences_of
from cookbook_lib.evaluation.judges import Judge, Messages, Verdict, answered
from cookbook_lib.evaluation.junk import junk_answers
from cookbook_lib.evaluation.measure import Measure, counted, undefined

Sections = dict[str, dict[str, Measure]]
MOST_ASKED = 200  # pairs that meet five kinds of junk; answers that a judge compares with themselves


def probes(judge: Judge, pairs: Sequence[PreferencePair], *, seed: int = 0) -> Sections:
    """Sections for a report (judge_report's `more`), from held-out pairs; ties are left out of what needs a better answer."""
    decided = [pair for pair in pairs if not pair.tie]
    return {
        "formatting removed": _without_formatting(judge, pairs, seed),
        "both ways round": _both_ways_round(judge, decided, seed),
        "junk": junk_answers(judge, decided[:MOST_ASKED], seed=seed),
    }


def best_of_rows(results: Sequence[BenchmarkResult], *, seed: int = 0) -> list[dict[str, Any]]:
    """One dict a benchmark, judge and n: share of prompts whose pick is right, beside picking at random and the best possible.

    From results whose rows hold scores of several answers to a prompt (RewardBench 2, RMB's best-of-n, RM-Bench); none for others.
    """
    rows = []
    for result in results:
        scored = [row for row in result.rows if row.get("chosen_scores") and row.get("rejected_scores")]
        if not scored or max(len(row["chosen_scores"]) + len(row["rejected_scores"]) for row in scored) < 3:
            continue
        groups, scores, truth = [], [], []
        for row in scored:
            both = ((row["chosen_scores"], 1.0), (row["rejected_scores"], 0.0))
            for found, right in both:
                scores += list(found)
                truth += [right] * len(found)
                groups += [(row["part"], row["id"])] * len(found)
        for one in best_of_n(scores, truth, groups, seed=seed):
            told = {"picked right": one.picked.text(), "best possible": one.best.text()}
            rows.append({"benchmark": result.name, "judge": result.judge, "of": one.n, **told, "note": one.picked.note})
    return rows


def _without_formatting(judge: Judge, pairs: Sequence[PreferencePair], seed: int) -> dict[str, Measure]:
    shown = [(pair, text) for pair in pairs for text in (pair.chosen, pair.rejected) if format_marks(text)]
    plain = [(pair, text, strip_format(text)) for pair, text in shown]
    kept = [(pair, text, bare) for pair, text, bare in plain if bare.strip()]
    if not compares_by_score(judge):
        return _formatted_preferred(judge, kept[:MOST_ASKED], seed)
    scores = judge.score([answered(pair.prompt, text) for pair, text, _ in kept])
    stripped = judge.score([answered(pair.prompt, bare) for pair, _, bare in kept])
    groups = [group_of_pair(pair) for pair, _, _ in kept]
    return format_effect(scores, stripped, [text for _, text, _ in kept], groups=groups, seed=seed)


Shown = tuple[PreferencePair, str, str]  # a pair, one of its answers, the same without formatting


def _formatted_preferred(judge: Judge, kept: Sequence[Shown], seed: int) -> dict[str, Measure]:
    """How often a judge that compares prefers an answer to itself without formatting; a tie is half, half is no bias."""
    name = "formatted preferred to plain"
    texts, bare = [text for _, text, _ in kept], [plain for _, _, plain in kept]
    preferred = preferences_of(judge, [pair.prompt for pair, _, _ in kept], texts, bare)
    heard = [(pair, (1 + one) / 2) for (pair, _, _), one in zip(kept, preferred, strict=True) if one is not None]
    missing = counted(len(kept) - len(heard), "verdict is missing", "verdicts are missing")
    if not heard:
        return {name: undefined(missing or "no answer has any formatting")}
    shares = share_by_group([share for _, share in heard], [group_of_pair(pair) for pair, _ in heard], seed=seed)
    return {name: Measure(shares, len(heard), missing)}


def _both_ways_round(judge: Judge, pairs: Sequence[PreferencePair], seed: int) -> dict[str, Measure]:
    prompts, a, b = [p.prompt for p in pairs], [p.chosen for p in pairs], [p.rejected for p in pairs]
    one, two = _verdicts_both_ways(judge, prompts, a, b)
    groups = [group_of_pair(pair) for pair in pairs]
    heard = [
        Comparison(group, *answers, verdict)
        for verdicts, sides in ((one, zip(a, b, strict=True)), (two, zip(b, a, strict=True)))
        for group, answers, verdict in zip(groups, sides, verdicts, strict=True)
    ]
    position = position_bias(one, two, ["A"] * len(pairs), groups=groups, seed=seed)
    return position | consistency(heard, seed=seed).measures()


def _verdicts_both_ways(
    judge: Judge, prompts: Sequence[Messages], a: Sequence[str], b: Sequence[str]
) -> tuple[list[Verdict], list[Verdict]]:
    """As they were given: a judge that asks both ways round itself would have nothing to hide its bias behind."""
    if isinstance(judge, GenerativeJudge):
        found = judge.both_ways(prompts, a, b)
        return [verdict for verdict, _ in found], [verdict for _, verdict in found]
    return judge.compare(prompts, a, b), judge.compare(prompts, b, a)
