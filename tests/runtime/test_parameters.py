"""Parameters of a headless run: typed as papermill types them, and no unknown name passes."""

import nbformat
import pytest

from cookbook_lib.runtime.parameters import check, collect, parse_value
from cookbook_lib.runtime.settings import RuntimeSettingError


@pytest.mark.parametrize(
    "text", ["True", "None", "3", "-3", "1e-5", "0.5", "nan", "path/to", "true", "1_000", "[1]", ""]
)
def test_values_read_as_in_papermill(text):
    from papermill.cli import _resolve_type

    ours, theirs = parse_value(text), _resolve_type(text)
    assert type(ours) is type(theirs)
    assert ours == theirs or ours != ours


def test_p_wins_over_y():
    assert collect([("lr", "1e-5")], ['{"lr": 1, "files": ["a"]}', '{"n": null}']) == {
        "lr": 1e-5,
        "files": ["a"],
        "n": None,
    }


@pytest.mark.parametrize("text", ["{lr: 1}", "[1]", ""])
def test_y_must_be_an_object(text):
    with pytest.raises(RuntimeSettingError, match="write an object"):
        collect([], [text])


def book(path, tags):
    cell = nbformat.v4.new_code_cell("model_path: str = None  # where the model is\nlr = 1e-5", metadata={"tags": tags})
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        ),
        path,
    )
    return str(path)


def test_an_unknown_name_gets_the_nearest(tmp_path):
    notebook = book(tmp_path / "a.ipynb", ["parameters"])
    check(notebook, ["lr", "model_path"])
    with pytest.raises(
        RuntimeSettingError, match=r"no parameter 'model_pth' \(did you mean 'model_path'\?\).*are model_path, lr"
    ):
        check(notebook, ["model_pth", "lr"])


def test_a_notebook_without_a_parameters_cell_takes_none(tmp_path):
    notebook = book(tmp_path / "a.ipynb", [])
    check(notebook, [])
    with pytest.raises(RuntimeSettingError, match="takes no parameters, but lr was given"):
        check(notebook, ["lr"])
