"""Do annotators agree, beyond what chance would give?      kappa, alpha = 1 - disagreement seen / disagreement by chance

                    annotator 1   2   3
    item 1               A        A   –      – is None: not everybody has to label everything
    item 2               B        A   B

    raw share       pairs of annotators of one item that say the same (chance included)
    Cohen           two annotators; ordered labels are weighted by distance (1960, https://doi.org/10.1177/001316446002000104)
    Fleiss          any number of annotators, on the items that all of them labelled (1971, https://doi.org/10.1037/h0031619)
    Krippendorff    any number, any gaps, labels nominal, ordinal or interval (https://doi.org/10.4135/9781071878781):
                    the one to read where labels are missing

1 is perfect, 0 chance, below it systematic disagreement. Cohen and Fleiss are statsmodels', alpha is the krippendorff
package's: the extra `evaluation`. Intervals are bootstraps over items, or over what items belong to (`groups`): two of one
prompt are not independent.
"""

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.intervals import Groups, Weights, bootstrap, group_index, mean_by_group
from cookbook_lib.evaluation.measure import Floats, Measure, counted, joined, measured, pick, undefined

Level = Literal["nominal", "ordinal", "interval"]
Table = Sequence[Sequence[Any]]  # (items, annotators), None where a label is missing
Codes = NDArray[np.int64]  # the same as places in the sorted list of labels, -1 where missing
WEIGHTING = {"nominal": None, "ordinal": "linear", "interval": "quadratic"}  # statsmodels' names, for Cohen


def agreement(
    table: Table,
    *,
    level: Level = "nominal",
    names: Sequence[str] | None = None,
    groups: Groups = None,
    seed: int = 0,
) -> dict[str, Measure]:
    """Every figure that (items, annotators) labels allow: name -> figure. None is a missing label.

    level: what labels mean; ordinal and interval labels are numbers. names: of the annotators, for Cohen's pairs. groups: what
    each item belongs to.
    Raises CookbookError for rows of different lengths.
    """
    width = _codes(table, level)[1].shape[1]
    annotators = list(names) if names is not None else [f"annotator {i + 1}" for i in range(width)]
    if len(annotators) != width:
        raise CookbookError(f"there are {len(annotators)} names for {width} annotators: give one each.")
    options: Any = {"groups": groups, "seed": seed}
    found = {"raw share": raw_share(table, **options)}
    for one, two in combinations(range(width), 2):
        pair = [(row[one], row[two]) for row in table]
        found[f"Cohen, {annotators[one]} and {annotators[two]}"] = cohen(pair, level=level, **options)
    return {**found, "Fleiss": fleiss(table, **options), "Krippendorff": alpha(table, level=level, **options)}


def raw_share(table: Table, *, groups: Groups = None, seed: int = 0) -> Measure:
    """Of all pairs of labels that one item got, the share that are equal. Needs no library."""
    counts = _counts(*_codes(table, "nominal"))
    raters = counts.sum(1)
    same, pairs = (counts * (counts - 1)).sum(1) // 2, raters * (raters - 1) // 2
    if not pairs.any():
        return undefined("no item has two labels")
    equal = np.concatenate([np.arange(n) < s for s, n in zip(same, pairs, strict=True)]).astype(float)
    items = np.repeat(group_index(groups, len(pairs)), pairs)
    return Measure(mean_by_group(equal, items, seed=seed), int((pairs > 0).sum()), _left_out(pairs > 0))


def cohen(
    pairs: Sequence[tuple[Any, Any]], *, level: Level = "nominal", groups: Groups = None, seed: int = 0
) -> Measure:
    """Two annotators' labels of each item. Ordinal labels are weighted by distance of ranks, interval ones by its square."""
    labels, codes = _codes(pairs, level, columns=2)
    kept = np.all(codes >= 0, axis=1)
    both = codes[kept]
    scale = np.array(labels, float) if level == "interval" else np.arange(len(labels), dtype=float)

    def kappa(library: Any, rows: Codes) -> float:
        seen = np.zeros((len(labels), len(labels)))
        np.add.at(seen, (both[rows, 0], both[rows, 1]), 1)
        weights = None if level == "nominal" else scale
        return float(library.cohens_kappa(seen, weights=weights, wt=WEIGHTING[level], return_results=False))

    drawn = _Drawn(labels, kept, groups, seed)
    return _figure("Cohen's kappa", "statsmodels.stats.inter_rater", kappa, both, drawn)


def fleiss(table: Table, *, groups: Groups = None, seed: int = 0) -> Measure:
    """Any number of annotators, on the items that all of them labelled; labels are nominal."""
    labels, codes = _codes(table, "nominal")
    kept = np.all(codes >= 0, axis=1) if codes.shape[1] > 1 else np.zeros(len(codes), bool)
    counts = _counts(labels, codes[kept])

    def kappa(library: Any, rows: Codes) -> float:
        return float(library.fleiss_kappa(counts[rows]))

    drawn = _Drawn(labels, kept, groups, seed)
    return _figure("Fleiss' kappa", "statsmodels.stats.inter_rater", kappa, codes[kept], drawn)


def alpha(table: Table, *, level: Level = "nominal", groups: Groups = None, seed: int = 0) -> Measure:
    """Krippendorff's alpha, of the items that have two labels or more."""
    labels, codes = _codes(table, level)
    kept = (codes >= 0).sum(1) > 1
    counts = _counts(labels, codes[kept])
    domain = np.arange(len(labels)) if level == "nominal" else np.array(labels, float)

    def value(library: Any, rows: Codes) -> float:
        return float(library.alpha(value_counts=counts[rows], value_domain=domain, level_of_measurement=level))

    drawn = _Drawn(labels, kept, groups, seed)
    return _figure("Krippendorff's alpha", "krippendorff", value, codes[kept], drawn)


@dataclass(frozen=True)
class _Drawn:
    """Which items speak, under which labels, and how they are drawn."""

    labels: list[Any]
    kept: NDArray[np.bool_]
    groups: Groups
    seed: int


def _figure(what: str, module: str, value: Callable[[Any, Codes], float], codes: Codes, drawn: _Drawn) -> Measure:
    """The library's figure of the items that are kept with a bootstrap over their groups, or why there is none."""
    labels, note = drawn.labels, _left_out(drawn.kept)
    if not len(codes):
        return undefined(joined("no item was labelled by as many annotators as it takes", note))
    used = np.unique(codes[codes >= 0])
    if len(used) == 1:
        return undefined(f"all labels are {labels[used[0]]!r}: agreement beyond chance needs two", len(codes))
    try:
        library = importlib.import_module(module)
    except ModuleNotFoundError:
        package = module.split(".")[0]
        why = f"{what} is {package}'s, which is not installed: pip install -e '.[evaluation]'"
        return undefined(why, len(codes))
    items = np.arange(len(codes))

    def statistic(weights: Weights) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw of one label alone: 0 / 0, left out as NaN
            return np.array([value(library, np.repeat(items, times.astype(int))) for times in weights])

    found = bootstrap(statistic, len(codes), pick(drawn.groups, drawn.kept), seed=drawn.seed)
    return measured(found, len(codes), note, otherwise=f"{what} is not defined for these labels")


def _codes(table: Table, level: Level, columns: int | None = None) -> tuple[list[Any], Codes]:
    """The labels that occur, sorted, and (items, annotators) places in them."""
    rows = [[None if _is_missing(label) else label for label in row] for row in table]
    width = columns or max(map(len, rows), default=0)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise CookbookError(f"item {i} has {len(row)} labels and not {width}: one per annotator, None if missing.")
    given = {label for row in rows for label in row if label is not None}
    words = [label for label in given if not isinstance(label, (int, float))]
    if level != "nominal" and words:
        raise CookbookError(f'label {min(map(str, words))!r} is no number: {level} labels are; or say level="nominal".')
    labels = sorted(given, key=lambda label: (str(type(label)), label) if level == "nominal" else (label,))
    place = {label: i for i, label in enumerate(labels)}
    codes = [[-1 if label is None else place[label] for label in row] for row in rows]
    return labels, np.array(codes, np.int64).reshape(len(rows), width)


def _is_missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def _counts(labels: list[Any], codes: Codes) -> Codes:
    """(items, labels): how many annotators gave an item a label."""
    return (codes[:, :, None] == np.arange(len(labels))).sum(1)


def _left_out(kept: ArrayLike) -> str:
    few = int((~np.asarray(kept)).sum())
    return counted(few, "item with too few labels is left out", "items with too few labels are left out")
