"""From a config to trained weights: the verbs that the notebooks call, in their order."""

from cookbook_lib.training.builders import open_base as open_base
from cookbook_lib.training.builders import open_data as open_data
from cookbook_lib.training.builders import open_loader as open_loader
from cookbook_lib.training.builders import open_mesh as open_mesh
from cookbook_lib.training.builders import open_model as open_model
from cookbook_lib.training.builders import open_plan as open_plan
from cookbook_lib.training.builders import open_run as open_run
from cookbook_lib.training.loop import fit as fit
from cookbook_lib.training.objectives.sft import SFT as SFT
from cookbook_lib.training.recipes import open_recipe as open_recipe
from cookbook_lib.training.reward_builders import open_objective as open_objective
from cookbook_lib.training.reward_builders import open_pairs as open_pairs
from cookbook_lib.training.reward_builders import open_score_model as open_score_model
from cookbook_lib.training.reward_builders import open_scores as open_scores
from cookbook_lib.training.run import Run as Run
from cookbook_lib.training.run import validate as validate
from cookbook_lib.training.score_self_test import score_self_test as score_self_test
from cookbook_lib.training.self_test import self_test as self_test
from cookbook_lib.training.summary import write_summary as write_summary
