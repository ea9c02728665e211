"""scripts/setup on machines that cannot make an environment: one sentence with the way out, and no half-made .venv."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cookbook_lib.config.places import HOME

OLD = 'case "$*" in *version_info*) exit 1 ;; -V) echo Python 3.10.2 ;; esac\n'
NO_ENSUREPIP = 'case "$*" in *ensurepip*) exit 1 ;; esac\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(HOME / "scripts/setup", tmp_path / "scripts/setup")
    return tmp_path


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        (None, "was not found; install Python 3.11 or newer"),
        (OLD, "is Python 3.10.2, and 3.11 is the oldest that works"),
        (
            NO_ENSUREPIP,
            "comes without venv or ensurepip (Debian and Ubuntu split them off): apt-get install python3-venv",
        ),
    ],
)
def test_a_python_that_will_not_do(project, python, sentence):
    stub = project / "python-stub"
    if python is not None:
        stub.write_text("#!/bin/sh\n" + python)
        stub.chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "PYTHON": str(stub)}
    done = subprocess.run([project / "scripts/setup"], env=environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert not (project / ".venv").exists()
