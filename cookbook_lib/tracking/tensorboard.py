"""TensorBoard: event files in the run's folder; `tensorboard --logdir FOLDER/tensorboard`."""

import json
from collections.abc import Mapping

from cookbook_lib.tracking.tracker import About


class TensorBoard:
    def __init__(self, about: About) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What was logged after the restored step is hidden: it will be logged again.
        again = None if about.resumed_step is None else about.resumed_step + 1
        self._writer = SummaryWriter(str(about.folder / "tensorboard"), purge_step=again)
        if not about.resumed:
            recipe = json.dumps(dict(about.config), indent=2, default=str)
            self._writer.add_text("config", f"{about.project} / {about.experiment}\n\n```json\n{recipe}\n```")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()
