"""A trained reward model as a judge: benchmarks, probes and best-of-n ask it like any other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.judges import Mark, Messages, Refused, ScoreJudge, identity, reasons
from cookbook_lib.evaluation.score_model import Progress, ScoringModel


class RewardJudge(ScoreJudge):
    """`model`, or a folder to open as one (`options` as ScoringModel's). `notes` are the model's.

    A conversation that cannot be scored (too long, say) has the score None, and its sentence stands once in `unscored`.
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
        self.refused: list[Refused] = []
        self.progress = progress

    @property
    def about(self) -> str:
        """What its scores mean."""
        return str(self.model.head)

    @property
    def unscored(self) -> list[str]:
        """Why conversations could not be scored: a sentence each."""
        return reasons(self.refused)

    def mark(self) -> Mark:
        """How much it has refused so far; it writes nothing."""
        return Mark(refused=len(self.refused))

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        """One number for each conversation; several attributes are read as ScoringModel.score reads them."""
        given: list[list[dict[str, Any]]] = [[dict(message) for message in one] for one in conversations]
        found = self.model.attempt(given, self.progress)
        tried = zip(given, found, strict=True)
        self.refused += [(identity(one), str(why)) for one, why in tried if isinstance(why, CookbookError)]
        return [None if isinstance(one, CookbookError) else self.model.single(one) for one in found]
