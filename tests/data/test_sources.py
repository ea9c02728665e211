"""Rows from files, folders, frames, functions; and the sentence where there are none."""

import json
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data import sources
from cookbook_lib.data.catalog import SOURCES
from cookbook_lib.data.report import Report
from cookbook_lib.data.reward.catalog import REWARD_SOURCES
from cookbook_lib.data.sources import files_of, own_inputs, read_rows, register_reader, register_source, source_named

ROWS = [{"n": 1, "text": "one"}, {"n": 2, "text": "two"}]


def rows(inputs):
    return [row for _, row in read_rows(inputs, Report())]


def test_a_folder_is_its_data_files_in_name_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "second.jsonl").write_text(json.dumps(ROWS[1]))
    (tmp_path / "a.json").write_text(json.dumps([ROWS[0]]))
    for ignored in ("LICENSE.txt", "README.md", ".hidden.jsonl"):
        (tmp_path / ignored).write_text("no data")
    report = Report()
    found = list(read_rows(str(tmp_path), report))
    assert [row for _, row in found] == ROWS
    assert [origin.file for origin, _ in found] == [str(tmp_path / "a.json"), str(tmp_path / "b" / "second.jsonl")]
    assert report.counts["rows_read"] == 2


SCORED, COMPARED = ("train.jsonl", "validation.jsonl"), ("preference/preference.jsonl",)


@pytest.mark.parametrize(
    ("source", "folder", "own"),
    [
        (SOURCES["helpsteer2"], "", SCORED),
        (SOURCES["judge"], "", SCORED),
        (REWARD_SOURCES["helpsteer2"], "", SCORED),
        (REWARD_SOURCES["helpsteer2-preference"], "", COMPARED),
        (SOURCES["judge"], "preference", COMPARED),
        (REWARD_SOURCES["helpsteer2"], "preference/preference.jsonl", COMPARED),
        (REWARD_SOURCES["preferences"], "", ("disagreements/disagreements.jsonl", *COMPARED, *SCORED)),
    ],
)
def test_of_a_published_folder_a_source_reads_its_own_files(helpsteer2_folder, source, folder, own):
    report = Report()
    given = [str(helpsteer2_folder / folder), "hub:owner/name"]
    assert list(own_inputs(source, given, report)) == [*(str(helpsteer2_folder / name) for name in own), given[1]]
    read = helpsteer2_folder / folder
    others = [str(file) for file in files_of(read) if file.relative_to(helpsteer2_folder).as_posix() not in own]
    assert report.summary()["left_aside"] == others


def test_helpsteer3_is_the_preferences_of_its_folder(tmp_path):
    for name in ("edit/train.jsonl", "feedback/train.jsonl", "preference/train.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(ROWS[0]))
    assert list(own_inputs(REWARD_SOURCES["helpsteer3"], [str(tmp_path)], Report())) == [
        f"{tmp_path}/preference/train.jsonl"
    ]


def test_what_another_input_names_is_not_left_aside(helpsteer2_folder):
    report = Report()
    given = [str(helpsteer2_folder), str(helpsteer2_folder / "preference")]
    assert len(list(read_rows(list(own_inputs(SOURCES["judge"], given, report)), report))) == 54
    assert report.summary()["left_aside"] == [str(helpsteer2_folder / "disagreements/disagreements.jsonl")]


def test_a_folder_without_the_sources_own_place_is_read_whole(tmp_path):
    for name in ("mine/a.jsonl", "mine/preference/b.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(ROWS[0]))
    named = str(tmp_path / "mine/preference")
    assert list(own_inputs(SOURCES["judge"], [named], Report())) == [f"{named}/b.jsonl"]
    assert list(own_inputs(SOURCES["sharegpt"], [str(tmp_path)], Report())) == [
        f"{tmp_path}/mine/a.jsonl",
        f"{named}/b.jsonl",
    ]


def test_parquet_and_frames_give_plain_rows(tmp_path):
    nested = [{"n": 1, "messages": [{"role": "user", "content": "Hi"}]}]
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "rows.parquet")
    assert rows(tmp_path / "rows.parquet") == nested
    assert rows(pd.read_parquet(tmp_path / "rows.parquet")) == nested
    assert rows(pd.DataFrame({"text": ["a", None], "n": [1.0, float("nan")]})) == [
        {"text": "a", "n": 1.0},
        {"text": None, "n": None},
    ]


def test_parquet_is_read_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROWS_PER_BATCH", 3)
    pq.write_table(pa.table({"n": list(range(10))}), tmp_path / "rows.parquet")
    found = list(read_rows(tmp_path / "rows.parquet", Report()))
    assert [(origin.row, row["n"]) for origin, row in found] == [(n + 1, n) for n in range(10)]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.jsonl", b"", "has no rows"),
        ("empty.json", b"[]", "has no rows"),
        ("cut.parquet", b"PAR1 and no more", "is no whole parquet file"),
        ("notes.txt", b"text", "has no known ending"),
        (
            "placeholder.jsonl",
            b"<PLACEHOLDER ROW>\n",
            "every one of its 1 rows cannot be used; row 1: line is '<PLACEHOLDER ROW>'",
        ),
    ],
)
def test_a_bad_file_is_an_error(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CookbookError, match=sentence):
        rows(path)


def test_a_missing_file_and_an_empty_folder(tmp_path):
    with pytest.raises(CookbookError, match="there is no file or folder"):
        rows(tmp_path / "none.jsonl")
    with pytest.raises(CookbookError, match="has no file that ends in"):
        rows(tmp_path)
    with pytest.raises(CookbookError, match="for a hub data set write hub:owner/name"):
        rows("owner/name")


def test_an_unreachable_hub_is_one_sentence(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the hub is read through `datasets`")
    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("no network"))
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub was asked again"))
    with pytest.raises(
        CookbookError, match=r"hub:a/b cannot be read from the hub \(ConnectionError: no network\); give --input"
    ):
        rows("hub:a/b")


def test_without_datasets_the_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        CookbookError, match="hub:a/b needs the `datasets` package; pip install datasets, or give --input"
    ):
        rows("hub:a/b")


def test_a_hub_data_set_is_streamed(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the hub is read through `datasets`")
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *place, **how: asked.append((place, how)) or iter(ROWS))
    assert rows("hub:openai/gsm8k#main:test") == ROWS
    assert asked == [(("openai/gsm8k", "main"), {"split": "test", "streaming": True})]


def test_a_file_of_the_hub_is_fetched_and_read(tmp_path, monkeypatch):
    import huggingface_hub

    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda *place, **how: asked.append((place, how)) or str(tmp_path / "rows.json"),
    )
    assert rows("hub:owner/name/part/rows.json") == ROWS
    assert asked == [(("owner/name", "part/rows.json"), {"repo_type": "dataset"})]


def test_a_reader_and_a_source_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "READERS", {})
    monkeypatch.setattr(sources, "SOURCES", {})

    @register_reader(".tsv")
    def tsv(path):
        for line in path.read_text().splitlines():
            yield dict(zip(("n", "text"), line.split("\t"), strict=True))

    @register_source("tickets", converter="alpaca")
    def tickets(limit, seed):
        """Support tickets."""
        yield {"instruction": f"{limit}", "output": f"{seed}"}

    (tmp_path / "rows.tsv").write_text("1\tone\n2\ttwo")
    assert rows(tmp_path) == [{"n": "1", "text": "one"}, {"n": "2", "text": "two"}]
    assert source_named("tickets").about == "Support tickets."
    with pytest.raises(CookbookError, match="source 'ticket' is not known; choose one of tickets"):
        source_named("ticket")
