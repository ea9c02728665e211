"""Reinforcement learning's data: a policy answers prompts, and its answers become the next steps' batches.

stream      all of it behind the face of a loader
rounds      one round: asked, answered, judged, told, settled
prompts     which prompts          answering   by whom, drawn from which seeds      judging    text, reward, spread
columns     what the training's own forward says of the answers                    settling   advantages
forwards    which completions go through the model together                        store      a round as a file
engine      who answers: a plain transformers model with the policy's weights      vllm       or vLLM
weights     from the trained shards to whole weights under plain names, tensor by tensor
"""

from cookbook_lib.training.rollouts.answering import Asking as Asking
from cookbook_lib.training.rollouts.columns import policy_columns as policy_columns
from cookbook_lib.training.rollouts.columns import reference_columns as reference_columns
from cookbook_lib.training.rollouts.engine import Engine as Engine
from cookbook_lib.training.rollouts.engine import Generated as Generated
from cookbook_lib.training.rollouts.engine import OwnEngine as OwnEngine
from cookbook_lib.training.rollouts.forwards import Forwards as Forwards
from cookbook_lib.training.rollouts.rounds import Policy as Policy
from cookbook_lib.training.rollouts.rounds import Rules as Rules
from cookbook_lib.training.rollouts.settling import advantages_by as advantages_by
from cookbook_lib.training.rollouts.store import read_round as read_round
from cookbook_lib.training.rollouts.store import round_file as round_file
from cookbook_lib.training.rollouts.stream import RolloutStream as RolloutStream
