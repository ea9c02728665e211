r"""A conversation that cannot become a training row: a reason that can be counted and a sentence that can be acted on.

    train.parquet row 17: the answer ends after 9,120 tokens and max_length is 8,192; raise data.max_length [answer_cut]
    \__ where _________/  \__ what was found, and the rule _______________________/   \__ the fix ______/    \_ reason

Never a warning: `tokenize` drops the row, counts it under its reason, and says so in its report.
"""

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import Origin


class RowRefused(CookbookError):
    """One conversation cannot be learned from. `reason` is a short code, the same for all rows of a kind."""

    def __init__(self, reason: str, found: str, fix: str, origin: Origin | None = None):
        where = f"{origin}: " if origin else ""
        super().__init__(f"{where}{found}; {fix} [{reason}]")
        self.reason, self.found, self.fix, self.origin = reason, found, fix, origin

    def at(self, origin: Origin | None) -> "RowRefused":
        """The same refusal, with the place that the inner functions did not know."""
        return RowRefused(self.reason, self.found, self.fix, origin or self.origin)

    def __reduce__(self) -> tuple[type["RowRefused"], tuple[str, str, str, Origin | None]]:
        return RowRefused, (self.reason, self.found, self.fix, self.origin)  # crosses a process border whole
