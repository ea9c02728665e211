"""The measurement of judges: what was run by other settings is never taken for this one."""

from argparse import Namespace
from pathlib import Path

from scripts.measure_judges import judge_of, markdown, rows_of, run_folder


def given(**changed: object) -> Namespace:
    kept = {"folder": Path("runs"), "prompts": 60, "held_out": 6, "judge": [100, 10], "set": ["optim.lr=1e-4"]}
    kept |= {"source": "embedded-hasty", "asks": "both"}
    return Namespace(**(kept | changed))


def test_other_settings_lie_elsewhere():
    base = run_folder(given(), "pairwise", 1)
    others = [given(prompts=61), given(held_out=7), given(judge=[100, 11]), given(set=["optim.lr=2e-4"])]
    others += [given(source="embedded"), given(asks="preferences")]
    folders = {run_folder(one, "pairwise", 1) for one in others} | {base, run_folder(given(), "pairwise", 2)}
    assert len(folders) == 8
    assert run_folder(given(), "pairwise", 1) == base
    assert len({judge_of(one) for one in (given(), given(judge=[100, 11]), *others[-2:])}) == 4


def test_the_gain_is_the_mean_over_seeds_with_its_interval():
    def found(before: float, after: float) -> dict:
        sides = {"before": before, "after": after}
        point = {side: {"value": value, "low": value - 0.1, "high": value + 0.1} for side, value in sides.items()}
        return {f"scores: {name}": point for name in ("exact", "kappa, weighted by squared distance", "spearman")}

    first, *_ = rows_of("pointwise", [1, 2, 3], [found(0.5, 0.6), found(0.5, 0.7), found(0.5, 0.8)])
    assert first["before"] == "0.500 [0.400, 0.600]"
    assert first["gain"] == "0.200 [-0.048, 0.448]"  # 4.303 x 0.1 / sqrt 3
    assert markdown([first])[0] == "| figure | before | seed 1 | seed 2 | seed 3 | gain |"


def test_a_judge_that_says_the_same_to_all_has_no_correlation():
    point = {"value": 0.5, "low": 0.4, "high": 0.6}
    told = {
        f"scores: {name}": {"before": point, "after": point}
        for name in ("exact", "kappa, weighted by squared distance")
    }
    told["scores: spearman"] = {"before": None, "after": point}
    *_, last = rows_of("pointwise", [1, 2], [told, told])
    assert (last["before"], last["seed 1"], last["gain"]) == ("–", "0.500 [0.400, 0.600]", "–")


def test_figures_of_what_could_be_read_say_how_much_that_was():
    """An earlier run's file has no parse rate: a dash, and no failure."""

    def point(value: float, rows: int) -> dict:
        return {"value": value, "low": value, "high": value, "rows": rows, "note": ""}

    found = {
        "scores: exact": {"before": point(0.1, 100), "after": point(0.7, 100)},
        "scores: kappa, weighted by squared distance": {"before": point(1.0, 8), "after": point(0.7, 100)},
        "scores: spearman": {"before": None, "after": point(0.7, 100)},
    }
    rows = {row["figure"]: row for row in rows_of("pointwise", [1], [found])}
    squared = rows["kappa, weighted by squared distance"]
    assert (squared["before"], squared["seed 1"]) == ("1.000 [1.000, 1.000] n=8", "0.700 [0.700, 0.700] n=100")
    assert rows["exact"]["before"] == "0.100 [0.100, 0.100]" and rows["spearman"]["seed 1"] == "0.700 [0.700, 0.700]"
    assert rows["verdicts that could be read"] == {
        "figure": "verdicts that could be read", "before": "–", "seed 1": "–", "gain": "–",
    }  # fmt: skip
    found["writing: verdicts that could be read"] = {"before": point(0.08, 100), "after": point(1.0, 100)}
    read = rows_of("pointwise", [1], [found])[1]
    assert (read["figure"], read["before"][:5], read["seed 1"][:5]) == ("verdicts that could be read", "0.080", "1.000")
