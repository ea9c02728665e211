"""The setup of a reward model: what differs from builders.py is the data, the head and the objective.

open_pairs, open_scores     preference pairs, scored responses, tokenised
open_score_model            the decoder of an SFT checkpoint (or a reward model, to go on from) under a score head
open_objective              Bradley-Terry or pointwise, as the recipe says
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from cookbook_lib.config import CookbookError
from cookbook_lib.config.schema import Config
from cookbook_lib.data.reward.candidates import CandidateSet, tokenize_pairs, tokenize_scores
from cookbook_lib.models.attention import varlen_attention
from cookbook_lib.models.score_head import Kind, ScoreHead, ScoreModel, build_score_model
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.parallel.ulysses import ulysses
from cookbook_lib.training.builders import Base, Data, finish_model
from cookbook_lib.training.embedded import cache_folder
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.bradley_terry import BradleyTerry
from cookbook_lib.training.objectives.pointwise import Pointwise

KINDS: dict[str, Kind] = {
    "mse": "regression",
    "huber": "regression",
    "ordinal": "ordinal",
    "classification": "classification",
}


def open_pairs(config: Config, base: Base, mesh: Mesh) -> Data:
    """Tokenise both files of preference pairs, or open the cache of an earlier run.

    Raises CookbookError for pairs without margins where the loss wants them, and for validation pairs that are all ties where
    their accuracy is to decide.
    """
    d = config.data
    keys: dict[str, Any] = {"prompt_key": d.prompt_key, "chosen_key": d.chosen_key, "rejected_key": d.rejected_key}
    data = _open(config, mesh, partial(tokenize_pairs, tokenizer=base.tokenizer, **keys))
    if config.bradley_terry.use_margin and not data.train.targets[:, 0].any():
        raise CookbookError(
            f"{d.train_files}: no pair says how much better its chosen answer is, and bradley_terry.use_margin is true: "
            "set it to false, or give pairs with a margin."
        )
    if (
        data.val is not None
        and config.trainer.best_metric == "val/accuracy"
        and not (data.val.targets[:, 1] == 1).any()
    ):
        raise CookbookError(
            f"{d.val_files}: all pairs are ties, so they have no accuracy, and trainer.best_metric is val/accuracy: give pairs "
            "of which one answer is better, or set it to val/loss."
        )
    return data


def open_scores(config: Config, base: Base, mesh: Mesh) -> Data:
    """The same for scored responses. Raises CookbookError for scores that the loss cannot take."""
    d = config.data
    keys: dict[str, Any] = {
        "prompt_key": d.prompt_key,
        "response_key": d.response_key,
        "attributes": config.pointwise.attributes,
    }
    data = _open(config, mesh, partial(tokenize_scores, tokenizer=base.tokenizer, **keys))
    for examples, files in ((data.train, d.train_files), (data.val, d.val_files)):
        if isinstance(examples, CandidateSet):
            _check_scores(config, examples, files)
    return data


def open_score_model(config: Config, base: Base, mesh: Mesh, data: Data) -> ScoreModel:
    """As builders.open_model; a language model's folder gets a new head of zeros, a reward model's keeps its own."""
    attend = ulysses(varlen_attention, mesh.sp_group)
    trust = config.model.trust_remote_code
    head = head_of(config, data)
    return finish_model(
        build_score_model(base.folder, attend, base.tokenizer, head, trust_remote_code=trust), config, base, mesh
    )


def head_of(config: Config, data: Data) -> ScoreHead:
    """The head that the recipe's loss learns."""
    if config.recipe == "bradley_terry":
        return ScoreHead()
    p = config.pointwise
    kind, names = KINDS[p.loss], tuple(p.attributes)
    if kind != "regression":
        return ScoreHead(kind, names, p.lowest, p.highest)
    truth = data.train.targets
    mean = [float(np.nanmean(column, dtype=np.float64)) for column in truth.T]
    spread = [float(np.nanstd(column, dtype=np.float64)) or 1.0 for column in truth.T]
    return ScoreHead(kind, names, p.lowest, p.highest, tuple(mean), tuple(spread))


def open_objective(config: Config, mesh: Mesh) -> Objective:
    if config.recipe == "pointwise":
        return Pointwise(mesh, config.pointwise)
    return BradleyTerry(mesh, config.bradley_terry)


def _open(config: Config, mesh: Mesh, tokenize: Callable[..., CandidateSet]) -> Data:
    d = config.data
    bar = tqdm(unit=" rows", desc="tokenise", delay=3, mininterval=2, disable=not mesh.is_main)
    options: dict[str, Any] = {
        "max_length": d.max_length,
        "too_long": d.truncation,
        "cache_dir": d.cache_dir or cache_folder() / "tokens",
        "workers": d.num_workers,
        "progress": bar.update,
    }
    sharing = d.share_prompts and config.use_remove_padding
    train = mesh.first(lambda: tokenize(d.train_files, limit=d.train_max_samples, **options)).shared(sharing)
    if (held_out := d.val_files) is None:
        return Data(train, None)
    return Data(train, mesh.first(lambda: tokenize(held_out, limit=d.val_max_samples, **options)).shared(sharing))


def _check_scores(config: Config, examples: CandidateSet, files: Any) -> None:
    """Every score on the recipe's scale; whole numbers where the loss has a class or a threshold for each."""
    p, truth = config.pointwise, examples.targets
    for column, name in enumerate(p.attributes):
        values = truth[:, column][~np.isnan(truth[:, column])]
        outside = values[(values < p.lowest) | (values > p.highest)]
        if not len(values):
            raise CookbookError(f"{files}: no row has a value of {name!r}: name other pointwise.attributes.")
        if len(outside):
            raise CookbookError(
                f"{files}: {name!r} is outside {p.lowest} to {p.highest} in {len(outside):,} of {len(truth):,} rows, "
                f"{outside[0]:g} for one: "
                "set pointwise.lowest and pointwise.highest to the scale of the data."
            )
        if p.loss in ("ordinal", "classification") and (broken := values[values != values.round()]).size:
            raise CookbookError(
                f"{files}: {name!r} is no whole number in {len(broken):,} of {len(truth):,} rows, {broken[0]:g} for one, and "
                f"pointwise.loss={p.loss} has a place for whole ones alone: use mse or huber, or round the scores."
            )
