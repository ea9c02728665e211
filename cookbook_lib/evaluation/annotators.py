"""How far the annotators of a Label Studio export agree, beyond what chance would give (agreement.py has the formulas).

    task 1    answers 1, 2     Ada: first    Ben: first     Cleo: –         one row for each two answers of a task,
    task 2    answers 1, 2     Ada: second   Ben: tie       Cleo: second    one column for each annotator
              answers 1, 3     ...

Ratings make a row for each answer, and are ordered. Annotators come and go, so Krippendorff's alpha is the one to read;
Cohen's kappa is given where they are few enough to look at every two of them.
"""

from collections.abc import Hashable, Iterator, Mapping

from cookbook_lib.data.judge.job import TaskJob
from cookbook_lib.data.origin import RowError, RowSkipped
from cookbook_lib.data.prepare import rows_of
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.catalog import REWARD_SOURCES
from cookbook_lib.data.reward.converters.label_studio import scores_by_annotator, verdicts_by_annotator
from cookbook_lib.data.reward.judgements import FIRST, SECOND, TIE
from cookbook_lib.data.reward.prepare import RewardJob
from cookbook_lib.data.sources import source_named
from cookbook_lib.evaluation.agreement import Level, agreement, alpha, fleiss, raw_share
from cookbook_lib.evaluation.measure import Measure

FEW = 4  # annotators whose every pair is looked at
NAMED = {FIRST: "first", TIE: "tie", SECOND: "second"}
Labels = Mapping[str, Hashable]  # annotator -> label


def annotator_agreement(job: RewardJob) -> dict[str, Measure]:
    """Every figure that the export of this job allows; {} where nothing was judged by two people.

    Tasks that the preparation refuses or skips are left out here, too: its report names them.
    """
    items = list(_items(job))
    names = sorted({name for _, labels in items for name in labels})
    if not any(len(labels) > 1 for _, labels in items):
        return {}
    table = [[labels.get(name) for name in names] for _, labels in items]
    tasks = [task for task, _ in items]
    level: Level = "ordinal" if _rates(job) else "nominal"
    if len(names) <= FEW:
        return agreement(table, level=level, names=names, groups=tasks)
    return {
        "raw share": raw_share(table, groups=tasks),
        "Fleiss": fleiss(table, groups=tasks),
        "Krippendorff": alpha(table, level=level, groups=tasks),
    }


def _rates(job: RewardJob) -> bool:
    """Whether scores are made, for a model or as the truth of a judge's prompts."""
    return job.kind == "scores" or (isinstance(job, TaskJob) and job.ask == "score-judge")


def _items(job: RewardJob) -> Iterator[tuple[int, Labels]]:
    """(number of the task, what was said of two of its answers), or of each answer where scores are made."""
    rows = rows_of(job, source_named(job.source, REWARD_SOURCES), Report())
    for task, (_, row) in enumerate(rows):
        try:
            if _rates(job):
                yield from ((task, labels) for labels in scores_by_annotator(row, job.options).values())
            else:
                for verdicts in verdicts_by_annotator(row, job.options).values():
                    yield task, {name: NAMED[verdict] for name, verdict in verdicts.items()}
        except (RowError, RowSkipped):
            continue
