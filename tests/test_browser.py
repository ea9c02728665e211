"""One walk through JupyterLab, as a person takes it: 20_sft on a kernel of two ranks, in headless Chromium.

    Run All -> the curve appears and moves -> stop button -> run the cell again -> interrupt -> again -> restart -> close

The page, the run's own record (metrics.jsonl) and the machine's processes are looked at side by side. Screenshots stay in the
test's folder.
"""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cookbook_lib.config.places import HOME
from cookbook_lib.data.prepare import Job as Preparation
from cookbook_lib.data.prepare import prepare
from cookbook_lib.runtime.ports import hold
from cookbook_lib.tracking.jsonl import read_metrics
from tests.jobs import Command, Job, wait_until

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.serial,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]

STEPS, TOKEN, PATIENCE = 800, "walk", 90_000  # milliseconds
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false"},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page, seen or not
}
KERNEL_IS = """status => {
  const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
  return kernel && kernel.connectionStatus === 'connected' && kernel.status === status;
}"""
CELL = "const cell = window.jupyterapp.shell.currentWidget.content.widgets.find(c => c.model.id === id);"


class Lab:
    """A JupyterLab server over a folder of its own, and one page of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.job = folder, Job()
        prepare(Preparation("embedded", output=folder / "data", limit=160, test_ratio=0.2))
        self._install_kernels()
        self._write_settings()
        self._write_notebook()
        self.held = hold("127.0.0.1")
        self.port = self.held.getsockname()[1]
        self.server = self._serve()
        wait_until(lambda: _listens(self.port), 60)

    def _install_kernels(self) -> None:
        install = ["-m", "cookbook_lib.runtime", "kernel", "install", "--prefix", str(self.folder)]
        assert Command(self.job, self.folder, install).finish().code == 0

    def _write_settings(self) -> None:
        for name, values in SETTINGS.items():
            path = self.folder / f"settings/@jupyterlab/{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))

    def _write_notebook(self) -> None:
        """A copy of 20_sft: another kernel, other values in the parameters cell, nothing else."""
        notebook = json.loads((HOME / "notebooks/20_sft.ipynb").read_text(encoding="utf-8"))
        notebook["metadata"]["kernelspec"] = {"name": "cookbook-2", "display_name": "", "language": "python"}
        data, steps = self.folder / "data", f"trainer.total_training_steps={STEPS}"
        values = {
            "train_file": str(data / "train.parquet"),
            "val_file": str(data / "test.parquet"),
            "save_path": str(self.folder / "run"),
            "overrides": [steps, "data.train_batch_size=8", f"data.cache_dir={data}/tokens"],
            "samples": 0,
        }
        [parameters] = (cell for cell in notebook["cells"] if cell["metadata"].get("tags") == ["parameters"])
        parameters["source"] += ["\n", *(f"{name} = {value!r}\n" for name, value in values.items())]
        (self.folder / "book").mkdir()
        (self.folder / "book/20_sft.ipynb").write_text(json.dumps(notebook), encoding="utf-8")

    def _serve(self) -> Command:
        options = {
            "--port": self.port,
            "--ip": "127.0.0.1",
            "--IdentityProvider.token": TOKEN,
            "--ServerApp.root_dir": self.folder / "book",
            "--LabApp.news_url": None,
            "--LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "--LabApp.expose_app_in_browser": True,
        }
        return Command(
            self.job,
            self.folder,
            [
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                *(f"{name}={value}" for name, value in options.items()),
            ],
            JUPYTER_PATH=f"{self.folder}/share/jupyter",
            JUPYTER_CONFIG_DIR=f"{self.folder}/config",
            JUPYTERLAB_SETTINGS_DIR=f"{self.folder}/settings",
            JUPYTERLAB_WORKSPACES_DIR=f"{self.folder}/workspaces",
        )

    def open(self, page: Any) -> None:
        """Show the notebook, and wait until its kernel can take a cell."""
        self.page = page
        page.goto(f"http://127.0.0.1:{self.port}/lab/tree/20_sft.ipynb?token={TOKEN}&reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=PATIENCE)
        self.wait_for_kernel("idle")

    def wait_for_kernel(self, status: str) -> None:
        self.page.wait_for_function(KERNEL_IS, arg=status, timeout=PATIENCE)

    def command(self, name: str) -> None:
        """A command of JupyterLab's; the braces keep the page from waiting for its end."""
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name) }", name)

    def run_cell(self, cell: str) -> None:
        select = "window.jupyterapp.shell.currentWidget.content.activeCellIndex ="
        index = "window.jupyterapp.shell.currentWidget.content.widgets.indexOf(cell);"
        self.page.evaluate(f"id => {{ {CELL} {select} {index} }}", cell)
        self.command("notebook:run-cell")

    def wait_for_text(self, cell: str, text: str) -> str:
        """Until the cell's output holds `text`; returns the output."""
        read = f"([id, text]) => {{ {CELL} const shown = cell.outputArea.node.innerText; return shown.includes(text) && shown; }}"
        return self.page.wait_for_function(read, arg=[cell, text], timeout=PATIENCE).json_value()

    def wait_for_picture(self, cell: str, other_than: str = "") -> str:
        """Until the cell shows a picture, and not the one that is known already; returns its data."""
        read = f"""([id, known]) => {{ {CELL} const picture = cell.outputArea.node.querySelector('img');
          return picture && picture.naturalWidth > 0 && picture.src !== known && picture.src; }}"""
        return self.page.wait_for_function(read, arg=[cell, other_than], timeout=PATIENCE).json_value()

    def photograph(self, name: str, cell: str) -> None:
        """What a person sees with this cell on the screen."""
        self.page.evaluate(f"id => {{ {CELL} cell.node.scrollIntoView({{block: 'center'}}) }}", cell)
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=str(self.folder / f"{name}.png"))

    def step(self) -> int:
        """The last step that the run has written down."""
        rows = read_metrics(self.folder / "run/metrics.jsonl")
        return rows[-1]["step"] if rows else 0

    def wait_for_step(self, step: int) -> None:
        wait_until(lambda: self.step() >= step, 60)

    def wait_for_the_stop(self) -> int:
        """Until the fit cell says that it was stopped; returns the step, which the page and the record agree on."""
        self.wait_for_text("fit", "saved: run again to go on from there")
        self.wait_for_kernel("idle")
        self.wait_for_text("fit", f"StoppedTraining: stopped after step {self.step()} of {STEPS}")
        return self.step()

    def ranks(self) -> set[int]:
        """Processes that carry a rank now."""
        return {pid for pid, environment in self.job.processes().items() if "RANK" in environment}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    try:
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(QUIET))
            made.open(browser.new_page(viewport={"width": 1300, "height": 1000}))
            yield made
            browser.close()
    finally:
        made.job.kill()
        made.server.process.wait(10)
        made.held.close()


def test_a_walk_through_jupyterlab(lab: Lab) -> None:
    faults: list[str] = []
    lab.page.on("pageerror", lambda error: faults.append(str(error)))

    lab.command("notebook:run-all-cells")
    shown = lab.wait_for_picture("fit", other_than=lab.wait_for_picture("fit"))  # it appears, and it moves
    lab.photograph("1-training", "fit")

    lab.page.get_by_role("button", name="Stop after this step").click()
    stopped = lab.wait_for_the_stop()
    lab.photograph("2-stopped", "fit")
    for interrupt in ("notebook:interrupt-kernel", "kernelmenu:interrupt"):
        lab.run_cell("fit")
        lab.wait_for_step(stopped + 3)
        shown = lab.wait_for_picture("fit", other_than=shown)
        lab.command(interrupt)
        before, stopped = stopped, lab.wait_for_the_stop()
        assert stopped > before
    lab.photograph("3-went-on", "fit")
    recorded = [row["step"] for row in read_metrics(lab.folder / "run/metrics.jsonl") if "train/loss" in row]
    assert recorded == list(range(1, stopped + 1)), "no step was lost or done twice"

    before = lab.ranks()
    assert len(before) == 2
    lab.command("notebook:restart-kernel")
    lab.page.locator(".jp-Dialog .jp-mod-accept").click()
    wait_until(lambda: len(lab.ranks()) == 2 and not lab.ranks() & before, 60)
    lab.wait_for_kernel("idle")
    for cell in ("parameters", "config", "mesh"):
        lab.run_cell(cell)
    lab.wait_for_text("mesh", "2 processes on cpu")
    lab.photograph("4-restarted", "mesh")

    lab.page.evaluate("() => { window.jupyterapp.shell.currentWidget.sessionContext.shutdown() }")
    wait_until(lambda: not lab.ranks(), 15)
    assert not faults


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
