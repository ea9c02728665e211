"""A trained reward model as a judge: benchmarks, probes and best-of-n ask it like any other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.judges import Messages, ScoreJudge
from cookbook_lib.evaluation.score_model import Progress, ScoringModel


class RewardJudge(ScoreJudge):
    """`model`, or a folder to open as one (`options` as ScoringModel's). `notes` are the model's.

    A conversation that cannot be scored (too long, say) has the score None, and its sentence is kept in `unscored`.
    """

    def __init__(
        self,
        model: ScoringModel | str | Path,
        *,
        name: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> None:
        self.model = model if isinstance(model, ScoringModel) else ScoringModel(model, **options)
        self.name = name or self.model.folder.name
        self.notes = self.model.notes
        self.unscored: list[str] = []
        self.progress = progress

    @property
    def about(self) -> str:
        """What its scores mean."""
        return str(self.model.head)

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        """One number for each conversation; several attributes are read as ScoringModel.score reads them."""
        given: list[list[dict[str, Any]]] = [[dict(message) for message in one] for one in conversations]
        found = self.model.attempt(given, self.progress)
        self.unscored += [str(one) for one in found if isinstance(one, CookbookError)]
        return [None if isinstance(one, CookbookError) else self.model.single(one) for one in found]
