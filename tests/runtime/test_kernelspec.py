"""The kernels in JupyterLab's picker."""

import json
import sys

import pytest

from cookbook_lib.runtime.kernelspec import KERNELS, install, kernel_json


def test_install_writes_every_kernel(tmp_path):
    folders = install(str(tmp_path))
    assert [folder.name for folder in folders] == list(KERNELS) == ["cookbook", "cookbook-2", "cookbook-gpu"]
    for folder in folders:
        assert json.loads((folder / "kernel.json").read_text()) == kernel_json(folder.name)


@pytest.mark.parametrize(("name", "nproc"), [("cookbook", "1"), ("cookbook-2", "2"), ("cookbook-gpu", "gpu")])
def test_a_kernel_is_this_python_with_interrupts_as_messages(name, nproc):
    spec = kernel_json(name)
    assert spec["argv"][0] == sys.executable
    assert spec["argv"][-2:] == ["--nproc", nproc]
    assert spec["interrupt_mode"] == "message"
    assert "env" not in spec, "the specification's env would win over the user's COOKBOOK_NPROC"
