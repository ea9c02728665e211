"""The comparison that ends a run: the tuned model and its base, on the run's own validation files, read as the run read them."""

from itertools import islice
from pathlib import Path

from cookbook_lib.config import Config
from cookbook_lib.data.records import read_conversations
from cookbook_lib.data.report import Report
from cookbook_lib.evaluation.sft import Comparison, Settings, compare


def compare_with_base(
    config: Config, checkpoint: Path, base: Path, *, rows: int = 200, max_new_tokens: int = 64
) -> Comparison | None:
    """Both models on the first `rows` validation conversations; None where the run has no validation files.

    Rows that cannot be read are left out, as training left them out (its own report names them).
    """
    d = config.data
    if d.val_files is None:
        return None
    turns = d.multiturn
    readable = read_conversations(
        d.val_files, messages_key=turns.messages_key, tools_key=turns.tools_key, report=Report()
    )
    held_out = list(islice(readable, rows))
    settings = Settings(
        max_length=d.max_length,
        truncation=d.truncation,
        train_on=d.train_on,
        max_new_tokens=max_new_tokens,
        device=config.trainer.device,
        trust_remote_code=config.model.trust_remote_code,
    )
    return compare(checkpoint, base, held_out, settings)
