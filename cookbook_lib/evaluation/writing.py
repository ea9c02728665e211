"""How a judge writes, whatever it says: what could be read, whether its votes agree, habits that reward hacking brings.

    writing(judge)              from its votes: read, cut short, agreement, position, how often the commonest verdict is given
    habits(transcript)          from its texts: no reasons given, the prompt repeated, length, and whether length buys scores
    length_drift(old, new)      two checkpoints on the same prompts: how much longer the newer one writes

A policy that is paid for a verdict learns the cheapest text that earns it. Where `no reasons given` or `the prompt repeated`
rises with the reward, or one verdict takes over, or the texts grow and agreement with the truth does not, it has found one.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from cookbook_lib.data.judge.verdicts import final_part
from cookbook_lib.evaluation.bias import position_bias
from cookbook_lib.evaluation.generative_judge import CUT, GenerativeJudge, Judgement
from cookbook_lib.evaluation.intervals import group_index, mean_by_group, ratio, share_by_group
from cookbook_lib.evaluation.judges import Mark, reasons
from cookbook_lib.evaluation.measure import Floats, Measure, counted, joined, undefined
from cookbook_lib.evaluation.metrics import correlation
from cookbook_lib.evaluation.transcripts import Statement
from cookbook_lib.evaluation.votes import agreement_of

FEWEST_WORDS = 5  # beside the verdict; with fewer no reason is given
SHINGLE = 6  # words in a row; more than half of a text's found in its prompt: it repeats the prompt
START = Mark()
SILENT = undefined("nothing was asked")
Figures = dict[str, Measure]


def writing(judge: GenerativeJudge, *, since: Mark = START, seed: int = 0) -> Figures:
    """Shares over all that this judge wrote, or wrote since a mark, drawn by prompt; with its habits where it keeps its texts."""
    heard = list(judge.judgements.values())[since.judgements :]
    if not heard:
        return {"verdicts that could be read": SILENT}
    found = {
        "verdicts that could be read": _read(heard, len(reasons(judge.refused[since.refused :])), seed),
        "texts cut at max_new_tokens": _share(heard, lambda one: [fault == CUT for fault in one.faults], seed),
        "characters a text": _mean_length(heard, seed),
    }
    if judge.votes > 1:
        agreed = [share for one in heard if (share := agreement_of(one.votes)) is not None]
        found["votes that say what most say"] = (
            Measure(mean_by_group(agreed, seed=seed), len(agreed)) if agreed else undefined("no vote could be read")
        )
    if swaps := list(judge.swaps.values())[since.swaps :]:
        shown, swapped, prompts = zip(*swaps, strict=True)
        found |= position_bias(shown, swapped, groups=prompts, seed=seed)
    found |= _commonest(heard, seed)
    return found | habits(judge.transcript[since.transcript :], seed=seed) if judge.keep else found


def habits(transcript: Sequence[Statement], *, seed: int = 0) -> Figures:
    """What the texts have in common; verdicts of None count as any other."""
    if not transcript:
        return {"no reasons given": undefined("no text was kept: make the judge with keep=True")}
    groups = [repr(one.asked[:2]) for one in transcript]
    lengths = [len(one.text) for one in transcript]
    found = {
        "no reasons given": [len(_reasons(one).split()) < FEWEST_WORDS for one in transcript],
        "the prompt repeated": [_repeats(one) for one in transcript],
    }
    figures = {name: Measure(share_by_group(yes, groups, seed=seed), len(yes)) for name, yes in found.items()}
    figures["characters a text"] = Measure(mean_by_group(lengths, groups, seed=seed), len(lengths))
    scored = [(one.parsed, length) for one, length in zip(transcript, lengths, strict=True) if one.kind == "score"]
    if scored:
        own = [group for group, one in zip(groups, transcript, strict=True) if one.kind == "score"]
        scores, of = [None if s is None else float(s) for s, _ in scored], [float(length) for _, length in scored]
        named = ("scores", "lengths")
        figures["score and length of its text, spearman"] = correlation(scores, of, groups=own, seed=seed, names=named)
    return figures


def length_drift(before: Sequence[Statement], after: Sequence[Statement], *, seed: int = 0) -> Figures:
    """Of the texts that answer the same prompt: how much longer those of `after` are, as a share of those of `before`."""
    old, new = ({one.asked: one for one in side} for side in (before, after))
    shared = [asked for asked in old if asked in new]
    if not shared:
        return {"longer by": undefined("the two transcripts have no prompt in common")}
    was, now = (np.array([len(side[asked].text) for asked in shared], float) for side in (old, new))
    read = [np.array([side[asked].parsed is not None for asked in shared], float) for side in (old, new)]
    groups = [asked[:2] for asked in shared]  # the votes on one prompt are not independent
    alone = counted(len(old) + len(new) - 2 * len(shared), "text answers", "texts answer")
    note = f"{alone} prompts of one side only" if alone else ""

    def measure(sums: Floats, counts: Floats, note: str = "") -> Measure:
        by_prompt = [np.bincount(group_index(groups, len(shared)), values) for values in (sums, counts)]
        return Measure(ratio(*by_prompt, seed=seed), len(shared), note)

    each = np.ones(len(shared))
    return {
        "characters before": measure(was, each),
        "characters after": measure(now, each),
        "longer by": measure(now - was, was, note) if was.any() else undefined("all were empty"),
        "more verdicts that could be read": measure(read[1] - read[0], each),
    }


def _read(heard: Sequence[Judgement], refused: int, seed: int) -> Measure:
    faults = Counter(fault for one in heard for fault in one.faults if fault)
    told = ", ".join(f"{fault}: {count:,}" for fault, count in faults.most_common())
    unasked = counted(refused, "prompt could not be asked", "prompts could not be asked")
    found = _share(heard, lambda one: [vote is not None for vote in one.votes], seed)
    return Measure(found.interval, found.rows, joined(told, unasked))


def _share(heard: Sequence[Judgement], of: Callable[[Judgement], list[bool]], seed: int) -> Measure:
    yes = [(i, value) for i, one in enumerate(heard) for value in of(one)]
    if not yes:
        return SILENT
    return Measure(share_by_group([float(v) for _, v in yes], [i for i, _ in yes], seed=seed), len(yes))


def _mean_length(heard: Sequence[Judgement], seed: int) -> Measure:
    lengths = [(i, length) for i, one in enumerate(heard) for length in one.characters]
    if not lengths:
        return SILENT
    return Measure(mean_by_group([n for _, n in lengths], [i for i, _ in lengths], seed=seed), len(lengths))


def _commonest(heard: Sequence[Judgement], seed: int) -> Figures:
    """For scores and for preferences, how often the verdict is given that is given most."""
    found = {}
    for kind, named in (("score", "scores"), ("preference", "preferences")):
        votes = [(i, vote) for i, one in enumerate(heard) if one.kind == kind for vote in one.votes if vote is not None]
        if votes:
            verdict, _ = Counter(vote for _, vote in votes).most_common(1)[0]
            same = [float(vote == verdict) for _, vote in votes]
            share = share_by_group(same, [i for i, _ in votes], seed=seed)
            found[f"{named} that are the commonest one"] = Measure(share, len(votes), f"it is {verdict}")
    return found


def _reasons(one: Statement) -> str:
    """The text without its verdict's line, and without the tags around what was thought."""
    said = final_part(one.text).strip()
    before = one.text.rstrip().removesuffix(said) if said else one.text
    lines = said.split("\n")
    rest = lines if one.parsed is None else lines[:-1]
    return " ".join([before.replace("<think>", " ").replace("</think>", " "), *rest])


def _repeats(one: Statement) -> bool:
    """Whether most of the text stands in its prompt."""
    own = _shingles(one.text)
    asked = set(_shingles(" ".join(str(message.get("content") or "") for message in one.prompt)))
    return bool(own) and sum(shingle in asked for shingle in own) > len(own) / 2


def _shingles(text: str) -> list[tuple[str, ...]]:
    words = text.lower().replace(">", " ").split()
    return [tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)]
