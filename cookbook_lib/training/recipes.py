"""A whole recipe in one call, for whoever wants the run and not its story: config -> Run, ready for `fit`.

notebooks 20, 30, 31    the same builders, one a cell
notebook 41, scripts    open_recipe(config, mesh), fit, the next recipe
"""

from collections.abc import Sequence

from cookbook_lib.config.schema import Config
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.parallel.mesh import Mesh
from cookbook_lib.tracking.tracker import Tracker
from cookbook_lib.training.builders import open_base, open_data, open_loader, open_model, open_plan, open_run
from cookbook_lib.training.objectives.base import Objective
from cookbook_lib.training.objectives.sft import SFT
from cookbook_lib.training.reward_builders import open_objective, open_pairs, open_score_model, open_scores
from cookbook_lib.training.run import Run
from cookbook_lib.training.score_self_test import score_self_test
from cookbook_lib.training.self_test import self_test


def open_recipe(config: Config, mesh: Mesh, watch: Sequence[Tracker] = ()) -> Run:
    """Data, model (tested), objective and everything else that the config's recipe needs. A collective call."""
    base = open_base(config, mesh)
    if config.recipe == "sft":
        data = open_data(config, base, mesh)
        model: PackedModel = open_model(config, base, mesh)
        objective: Objective = SFT()
        self_test(model, mesh, config)
    else:
        data = (open_scores if config.recipe == "pointwise" else open_pairs)(config, base, mesh)
        model = scorer = open_score_model(config, base, mesh, data)
        objective = open_objective(config, mesh)
        score_self_test(scorer, mesh, config)
    loader = open_loader(config, data.train, base, mesh, model)
    plan = open_plan(config, loader, data, mesh)
    return open_run(config, mesh, base, data, model, objective, loader, plan, watch)
