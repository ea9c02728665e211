"""The account of a preparation: what was read, what was kept, and for everything else why not and where it stands.

    rows read ─┬─ refused   a rule of the format is broken (file, row, field, value found, rule, fix)
               ├─ skipped   a rule of the user's choosing leaves it out (reward below the threshold, ...)
               └─ converted ─▶ conversations ─┬─ dropped   a quality filter (empty, too long, duplicate, ...)
                               (pairs, scores) └─ kept

Counts are exact. `report.json` shows the first of each reason; `dropped.jsonl` lists every one, as it happens.
A file in which nothing but broken rows is found is a broken file, and that raises.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import Origin, RowError, shown

EXAMPLES_PER_REASON = 50
BROKEN_ROWS_THAT_BREAK_A_FILE = 100


class Report:
    """Counts rows and reasons. Pass `dropped_file` to list everything left out, one JSON object a line."""

    def __init__(self, dropped_file: Path | None = None, unit: str = "conversations") -> None:
        self.unit = unit  # what rows become: "conversations", "pairs", ...
        self.files: dict[str, Counter[str]] = {}
        self.aside: list[str] = []
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._dropped_file = dropped_file
        self._listing: TextIO | None = None

    @staticmethod
    def strict() -> Report:
        """A report that raises at the first broken row."""
        return _StrictReport()

    def leave_aside(self, files: Iterable[str]) -> None:
        """These files of a folder are not the source's, and are not read."""
        self.aside.extend(files)

    def open_file(self, file: str) -> None:
        """Reading of a file begins."""
        self.files[file] = Counter()

    def read(self, origin: Origin) -> None:
        """A row was read."""
        self.counts["rows_read"] += 1
        self.files[origin.file]["rows_read"] += 1

    def refuse(self, error: RowError) -> None:
        """A row breaks a rule. Raises CookbookError when its file has begun with nothing but such rows."""
        self.counts["rows_refused"] += 1
        counts = self.files.setdefault(error.file, Counter())
        counts["refused"] += 1
        detail = {"field": error.field, "found": shown(error.found), "rule": error.rule, "fix": error.fix}
        self._leave_out(Origin(error.file, error.row), error.rule, detail)
        if counts["refused"] == counts["rows_read"] == BROKEN_ROWS_THAT_BREAK_A_FILE:
            raise self._broken(error.file, f"its first {BROKEN_ROWS_THAT_BREAK_A_FILE} rows")

    def refuse_unread(self, error: RowError) -> None:
        """A row could not even be read: it counts as read, and as refused."""
        self.read(Origin(error.file, error.row))
        self.refuse(error)

    def skip(self, origin: Origin, reason: str) -> None:
        """A rule of the user's choosing leaves the row out."""
        self.counts["rows_skipped"] += 1
        self._leave_out(origin, reason, {})

    def drop(self, origin: Origin | None, reason: str, **detail: Any) -> None:
        """A quality filter leaves a record out."""
        self.counts[f"{self.unit}_dropped"] += 1
        self._leave_out(origin or Origin("", 0), reason, detail)

    def repair(self, what: str) -> None:
        """A record was kept, but not as it stood, or although something is to be said of it."""
        self.repairs[what] += 1

    def keep(self, origin: Origin | None = None) -> None:
        """A record was kept."""
        self.counts["kept"] += 1

    def close_file(self, file: str) -> None:
        """Reading of a file has ended. Raises CookbookError for a file that is empty or broken throughout."""
        counts = self.files[file]
        if not counts["rows_read"]:
            raise CookbookError(f"{file} has no rows; give a file with at least one, or leave this one out")
        if counts["refused"] == counts["rows_read"]:
            raise self._broken(file, f"every one of its {counts['rows_read']} rows")

    def close(self) -> None:
        """End the listing of dropped rows."""
        if self._listing is not None:
            self._listing.close()
            self._listing = None

    @property
    def kept(self) -> int:
        return self.counts["kept"]

    def summary(self) -> dict[str, Any]:
        """What report.json says about rows: totals, files, and each reason with its count and first places."""
        names = ("rows_read", "rows_refused", "rows_skipped", f"{self.unit}_dropped", "kept")
        dropped = {reason: {"count": n, "first": self.examples[reason]} for reason, n in self.reasons.most_common()}
        files = [{"file": file, **counts} for file, counts in self.files.items()]
        aside = [file for file in self.aside if file not in self.files]
        totals = {name: self.counts[name] for name in names}
        return {**totals, "files": files, "left_aside": aside, "dropped": dropped, "repaired": dict(self.repairs)}

    def _leave_out(self, origin: Origin, reason: str, detail: dict[str, Any]) -> None:
        self.reasons[reason] += 1
        entry = {"file": origin.file, "row": origin.row, **detail}
        if len(self.examples[reason]) < EXAMPLES_PER_REASON:
            self.examples[reason].append(entry)
        if self._dropped_file is not None:
            self._list(self._dropped_file, {"reason": reason, **entry})

    def _list(self, path: Path, entry: dict[str, Any]) -> None:
        if self._listing is None:
            self._listing = path.open("w", encoding="utf-8", errors="backslashreplace")
        self._listing.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _broken(self, file: str, which: str) -> CookbookError:
        first = next((entries[0], rule) for rule, entries in self.examples.items() if entries[0]["file"] == file)
        entry, rule = first
        return CookbookError(
            f"{file}: {which} cannot be used; row {entry['row']}: {entry['field']} is {entry['found']}, but {rule}; "
            f"{entry['fix']}, or check that the file has the format that it was taken for"
        )


class _StrictReport(Report):
    def refuse(self, error: RowError) -> None:
        raise error


def table(summary: dict[str, Any]) -> str:
    """The short table of a summary, for a terminal."""
    lengths, splits = summary["lengths"], summary["splits"]
    lines = [f"{summary['rows_read']:>10,}  rows read ({summary['rows_per_second']:,} rows/s)"]
    if aside := summary["left_aside"]:
        lines += [f"{len(aside):>10,}  files left aside, whose rows are of another kind: {', '.join(aside)}"]
    lines += [f"{entry['count']:>10,}  dropped: {reason}" for reason, entry in summary["dropped"].items()]
    lines += [f"{count:>10,}  kept {what}" for what, count in summary["repaired"].items()]
    lines += [f"{summary['kept']:>10,}  {summary.get('unit') or summary.get('kind', 'conversations')} kept"]
    lines += [f"{split['rows']:>10,}  {name}: {split['file']}" for name, split in splits.items() if split["file"]]
    if summary.get("test_ratio") and not splits["test"]["rows"]:
        lines += [f"{0:>10,}  test: every row has the same prompt, so there is nothing to set aside"]
    if lengths["count"]:
        lines += [_lengths_line(lengths)]
    return "\n".join(lines)


def _lengths_line(lengths: dict[str, Any]) -> str:
    middle, p95, most = (f"{lengths[name]:,}" for name in ("median", "p95", "max"))
    return f"{middle:>10}  {lengths['unit']} (median; 95 %: {p95}, most: {most})"


def nothing_kept(summary: dict[str, Any], report: Path) -> CookbookError:
    """The error of a run that read rows and could keep none."""
    reasons = "; ".join(f"{reason}: {entry['count']}" for reason, entry in list(summary["dropped"].items())[:3])
    return CookbookError(f"none of {summary['rows_read']} rows was kept ({reasons}); see {report} and loosen the rule")
