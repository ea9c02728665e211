"""JSON in every shape it comes in: lines, arrays, gzip, CRLF, cut files."""

import gzip
import json
import tracemalloc

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.data import json_array
from cookbook_lib.data.json_rows import json_rows as rows_of

ROWS = [
    {"n": 1, "text": "a\u2028b \x85 é 🙂"},
    {"n": 2, "text": 'quote " and \\ and ]'},
    {"n": 3, "nested": [{"x": [1, 2]}]},
]


def read(path):
    bad = []
    rows = list(rows_of(path, bad.append))
    return [row for _, row in rows], [origin.row for origin, _ in rows], bad


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.jsonl.gz", "rows.json.gz"])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("shape", ["lines", "crlf", "no end", "blank lines", "bom", "array", "pretty array"])
def test_every_shape_gives_the_same_rows(tmp_path, name, shape, ascii_only):
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in ROWS]
    text = {
        "lines": "\n".join(lines) + "\n",
        "crlf": "\r\n".join(lines) + "\r\n",
        "no end": "\n".join(lines),
        "blank lines": "\n\n".join(lines) + "\n  \n",
        "bom": "\ufeff" + "\n".join(lines),
        "array": json.dumps(ROWS, ensure_ascii=ascii_only),
        "pretty array": "\n " + json.dumps(ROWS, indent=2, ensure_ascii=ascii_only) + "\n",
    }[shape]
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    rows, numbers, bad = read(path)
    assert rows == ROWS
    assert numbers == ([1, 3, 5] if shape == "blank lines" else [1, 2, 3])
    assert not bad


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_an_array_is_read_alike_whatever_the_chunk_cuts(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_array, "CHUNK", chunk)
    path = tmp_path / "rows.json"
    path.write_text(
        json.dumps([*ROWS, {"truth": True, "none": None, "number": -1.5e-3, "e": "\u00e9"}]), encoding="utf-8"
    )
    assert read(path)[0][:3] == ROWS
    path.write_text(json.dumps(ROWS, ensure_ascii=False), encoding="utf-8")
    assert read(path)[0] == ROWS


def test_a_bad_line_is_told_and_the_next_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n<PLACEHOLDER ROW>\n[1]\n{"n": NaN}\n{"n": "\xff"}\n{"n": 6}')
    rows, numbers, bad = read(path)
    assert rows == [{"n": 1}, {"n": 6}]
    assert numbers == [1, 6]
    assert [(error.file, error.row) for error in bad] == [(str(path), row) for row in (2, 3, 4, 5)]
    assert "one JSON object" in str(bad[0])
    assert "NaN" in str(bad[2])
    assert "UTF-8" in str(bad[3])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"n": 1}, {"n": 2}', "ends inside its array after row 2"),
        ('[{"n": 1}, {"n": ', "ends inside its array after row 1"),
        ('[{"n": 1} {"n": 2}]', "where a comma or ] must stand"),
        ('[{"n": 1}, {"n" 2}' + " " * 100 + "]", "stops being JSON in row 2"),
        ('[{"n": 1}, 7]', "row 2 is 7, but every item must be an object"),
        ('[{"n": 1}] [{"n": 2}]', "goes on after its array"),
    ],
)
def test_a_broken_array_is_a_broken_file(tmp_path, text, sentence):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(CookbookError, match=sentence):
        read(path)


def test_a_cut_gzip_is_a_broken_file(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress("\n".join(map(json.dumps, ROWS * 1000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CookbookError, match="not a whole gzip file"):
        read(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(CookbookError, match="not a whole gzip file"):
        read(path)


def test_memory_does_not_grow_with_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr(json_array, "CHUNK", 1 << 14)
    path = tmp_path / "rows.json"
    path.write_text("[" + ",".join(json.dumps({"n": n, "text": "x" * 200}) for n in range(20000)) + "]")
    tracemalloc.start()
    count = sum(1 for _ in rows_of(path, pytest.fail))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20000
    assert peak < path.stat().st_size / 10
