"""What a preparation of tasks is told: which question is asked, by which rubric, on which scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.questions import Scale
from cookbook_lib.data.judge.rubrics import Rubric, load_rubric, own_rubrics
from cookbook_lib.data.reward.prepare import RewardJob
from cookbook_lib.data.reward.registry import Kind, RewardConverter, Weights

Ask = Literal["score-judge", "preference-judge", "answers"]
ASKS: tuple[Ask, ...] = get_args(Ask)
MADE_OF: dict[Ask, Kind] = {"score-judge": "scores", "preference-judge": "pairs"}


@dataclass(frozen=True)
class TaskJob(RewardJob):
    """One preparation of tasks: what the command line says, in types."""

    ask: Ask = "score-judge"
    rubric: str | None = None
    """what is judged by: a YAML file or a name; None is the short one of the attribute"""
    score_range: tuple[float, float] | None = None
    """what scores lie between, where the source does not say so itself"""
    max_prompt_length: int | None = None
    """tokens of a rendered prompt; longer ones are left out (needs `tokenizer`)"""
    instruction: str | None = None
    """answers: what to append to every question, such as the form that the answer must have"""

    def __post_init__(self) -> None:
        idle = [name for name, given in self._idle().items() if given]
        if idle:
            raise CookbookError(f"{', '.join(idle)} has no effect on {self.ask}; leave it out")
        if self.max_prompt_length is not None and self.tokenizer is None:
            raise CookbookError("--max-prompt-length counts tokens; give --tokenizer PATH as well, or leave it out")
        if self.score_range and not -math.inf < self.score_range[0] < self.score_range[1] < math.inf:
            low, high = self.score_range
            raise CookbookError(f"score range is {low:g},{high:g}, but it is LOW,HIGH; write 1,5 for stars")

    def _idle(self) -> dict[str, bool]:
        """Options that this question does not look at, and whether they were given."""
        ranged = {"--score-range": self.score_range is not None and self.ask != "score-judge"}
        if self.ask != "answers":
            return ranged | {"--instruction": self.instruction is not None}
        reward = {"--rubric": self.rubric is not None, "--decontaminate": bool(self.decontaminate)}
        reward |= {"--decontaminate-answers": self.decontaminate_answers}
        return ranged | reward | {"the options of pairs and scores": self.options != type(self.options)()}


def rubric_for(job: TaskJob) -> Rubric:
    """The rubric that was named, else the short one of the attribute that is learned.

    Raises CookbookError for a mix of attributes without a rubric: a judge must be told what it is to score.
    """
    if job.rubric is not None:
        return load_rubric(job.rubric)
    attribute = _attribute(job.options.aspect)
    if attribute is not None and attribute not in own_rubrics():
        told = ",".join(f"{name}={weight:g}" for name, weight in job.options.aspect)
        raise CookbookError(f"aspect {told} is in no rubric of the project; say what is judged by --rubric FILE.yaml")
    return load_rubric(attribute)


def scale_for(job: TaskJob, converter: RewardConverter) -> Scale:
    """What the source's scores lie on; raises CookbookError where nobody says."""
    plain = not job.options.aspect or _attribute(job.options.aspect) in own_rubrics()
    known = job.score_range or (converter.scale if plain else None)
    if known is None:
        raise CookbookError(
            f"the scores of {converter.name!r} rows have no range that is known; give --score-range LOW,HIGH (1,5 for stars)"
        )
    return Scale(*known)


def _attribute(aspect: Weights) -> str | None:
    """The one attribute that is learned, None for the source's own choice; a mix has a name that no rubric has."""
    if not aspect:
        return None
    return aspect[0][0] if len(aspect) == 1 and aspect[0][1] == 1 else "a mix"
