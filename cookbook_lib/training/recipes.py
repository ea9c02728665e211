"""A whole recipe in one call, for whoever wants the run and not its story: config -> Run, ready for `fit`.

notebooks 20, 30 to 33    the same builders, one a cell
notebook 41, scripts      open_recipe(config, mesh), fit, the next recipe
"""

from collections.abc import Sequence

from cookbook_lib.config.schema import Config
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.tracking.tracker import Tracker
from cookbook_lib.training.builders import Base, open_base, open_data, open_loader, open_model, open_plan, open_run
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.sft import SFT
from cookbook_lib.training.policy_builders import (
    open_answers,
    open_policy,
    open_policy_objective,
    open_reference,
    open_referenced_pairs,
    open_rewards,
    open_rollouts,
    open_tasks,
)
from cookbook_lib.training.reward_builders import open_objective, open_pairs, open_score_model, open_scores
from cookbook_lib.training.run import Run
from cookbook_lib.training.score_self_test import score_self_test
from cookbook_lib.training.self_test import self_test


def open_recipe(config: Config, mesh: Mesh, watch: Sequence[Tracker] = ()) -> Run:
    """Data, model (tested), objective and everything else that the config's recipe needs. A collective call."""
    base = open_base(config, mesh)
    if config.recipe.startswith("generative"):
        return _reinforced(config, base, mesh, watch)
    model: PackedModel
    if config.recipe in ("sft", "dpo"):
        model = open_model(config, base, mesh)
        self_test(model, mesh, config)
        data = (
            open_data(config, base, mesh)
            if config.recipe == "sft"
            else open_referenced_pairs(config, base, mesh, model)
        )
        objective: Objective = SFT() if config.recipe == "sft" else open_policy_objective(config, mesh)
    else:
        data = (open_scores if config.recipe == "pointwise" else open_pairs)(config, base, mesh)
        model = scorer = open_score_model(config, base, mesh, data)
        objective = open_objective(config, mesh)
        score_self_test(scorer, mesh, config)
    loader = open_loader(config, data.train, base, mesh, model)
    plan = open_plan(config, loader, data, mesh)
    return open_run(config, mesh, base, data, model, objective, loader, plan, watch)


def _reinforced(config: Config, base: Base, mesh: Mesh, watch: Sequence[Tracker]) -> Run:
    data = open_tasks(config, base, mesh)
    reward = open_rewards(config, data)
    model = open_policy(config, base, mesh)
    self_test(model, mesh, config)
    policy = open_answers(config, base, mesh, model, open_reference(config, base, mesh))
    loader = open_rollouts(config, data.train, base, mesh, policy, reward)
    val = data.val and open_rollouts(config, data.val, base, mesh, policy, reward, training=False)
    plan = open_plan(config, loader, data, mesh)
    objective = open_policy_objective(config, mesh)
    return open_run(config, mesh, base, data, model, objective, loader, plan, watch, val_loader=val)
