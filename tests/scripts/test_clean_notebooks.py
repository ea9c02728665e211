"""clean_notebooks: what a person wrote stays, what a run left goes."""

import json

import pytest

from scripts import clean_notebooks
from scripts.clean_notebooks import cleaned


def messy() -> dict:
    return {
        "nbformat": 4,
        "nbformat_minor": 4,
        "metadata": {"kernelspec": {"name": "cookbook-2"}, "papermill": {"duration": 1.0}, "widgets": {"x": 1}},
        "cells": [
            {"cell_type": "markdown", "id": "3f2a9c01", "metadata": {}, "source": ["# Fine-tuning\n", "by hand"]},
            {
                "cell_type": "code",
                "id": "the-loss",
                "metadata": {"tags": ["parameters"], "papermill": {"status": "completed"}, "collapsed": True},
                "execution_count": 3,
                "outputs": [{"output_type": "stream", "name": "stdout", "text": ["/home/somebody\n"]}],
                "source": "loss = 1\n\n",
            },
            {
                "cell_type": "code",
                "metadata": {},
                "execution_count": 4,
                "outputs": [],
                "source": "# Fine-tuning by hand",
            },
            {"cell_type": "code", "id": "empty", "metadata": {}, "execution_count": 5, "outputs": [], "source": "\n"},
        ],
    }


def test_what_a_run_left_is_gone():
    text = cleaned(json.dumps(messy()))
    clean = json.loads(text)
    assert "papermill" not in text
    assert "somebody" not in text
    assert clean["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell.get("execution_count") for cell in clean["cells"]] == [None, None, None]


def test_what_a_person_wrote_stays():
    clean = json.loads(cleaned(json.dumps(messy())))
    assert [cell["id"] for cell in clean["cells"]] == ["fine-tuning-by-hand", "the-loss", "fine-tuning-by-hand-2"]
    assert clean["cells"][1]["metadata"] == {"tags": ["parameters"]}
    assert clean["cells"][0]["source"] == ["# Fine-tuning\n", "by hand"]


def test_cleaning_twice_changes_nothing_more():
    once = cleaned(json.dumps(messy()))
    assert cleaned(once) == once


def test_check_names_the_notebook_and_changes_nothing(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(messy()))
    assert clean_notebooks.main(["--check", str(path)]) == 1
    assert path.read_text() == json.dumps(messy())
    assert f"{path}: not clean" in capsys.readouterr().out
    assert clean_notebooks.main([str(path)]) == 0
    assert clean_notebooks.main(["--check", str(path)]) == 0


@pytest.mark.parametrize("field", ["nbformat", "nbformat_minor"])
def test_the_format_is_the_one_with_cell_ids(field):
    assert json.loads(cleaned(json.dumps(messy())))[field] == {"nbformat": 4, "nbformat_minor": 5}[field]
