"""Reinforcement learning's data: a policy answers prompts, and its answers become the next steps' batches.

engine    who answers: a plain transformers model with the policy's weights (engine.py), or vLLM (vllm.py)
weights   from the trained shards to whole weights under plain names, tensor by tensor
judged    answers -> rewards -> groups worth learning from -> old and reference log-probabilities -> advantages
store     a round as a file in the run's folder: to look at, and to go on from
stream    all of it behind the face of a loader
"""

from cookbook_lib.training.rollouts.engine import Engine as Engine
from cookbook_lib.training.rollouts.engine import Generated as Generated
from cookbook_lib.training.rollouts.engine import OwnEngine as OwnEngine
