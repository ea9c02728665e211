"""SwanLab (https://swanlab.cn). Its own setting says where the data go, SWANLAB_MODE: online, offline, disabled.

Without it and without a login the run is recorded in the run's folder (`swanlab sync` uploads it later), and we say so,
once: asking for an account in the middle of a headless run would hang it.
"""

import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from cookbook_lib.tracking.tracker import About, run_id


class SwanLab:
    def __init__(self, about: About) -> None:
        import swanlab

        mode = os.environ.get("SWANLAB_MODE") or (None if logged_in() else "offline")
        place = about.folder / "swanlab"
        place.mkdir(exist_ok=True)
        if mode == "offline" and "SWANLAB_MODE" not in os.environ:
            about.say(
                f"swanlab: not logged in, so the run is recorded in {place}; `swanlab login` sends runs to the cloud."
            )
        interrupt = signal.getsignal(signal.SIGINT)
        self._run = swanlab.init(
            mode=mode,
            project=about.project,
            name=about.experiment,
            config=dict(about.config),
            log_dir=str(place),
            reinit=True,
            id=run_id(about, "swanlab"),
            resume="allow",
            settings=_quiet(swanlab),
        )
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGINT, interrupt
            )  # SwanLab takes Ctrl-C for itself; here it means: stop after this step

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        if self._run.alive:
            self._run.finish()


def logged_in() -> bool:
    """True if SwanLab finds an account: SWANLAB_API_KEY, or what `swanlab login` left."""
    import swanlab

    return swanlab.Settings().api_key is not None


def _quiet(swanlab: Any) -> Any:
    """Leave stdout alone: the executed notebook and the launcher's log keep what was printed."""
    return swanlab.Settings(terminal={"proxy_type": "none"})
