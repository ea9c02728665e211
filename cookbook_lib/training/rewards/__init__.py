"""What a completion earns: scores, preferences, format, length, verifiable answers, and a user's own function.

reward = open_reward(config.reward, lowest=0, highest=4, max_new_tokens=512)
reward.check(tasks)                 before the first step: every task can be judged
result = reward(samples)            total, parts and parsed, one value a sample
"""

from cookbook_lib.training.rewards.base import Part as Part
from cookbook_lib.training.rewards.base import RewardFunction as RewardFunction
from cookbook_lib.training.rewards.base import RewardResult as RewardResult
from cookbook_lib.training.rewards.base import Sample as Sample
from cookbook_lib.training.rewards.base import begun_by as begun_by
from cookbook_lib.training.rewards.combine import Reward as Reward
from cookbook_lib.training.rewards.combine import open_reward as open_reward
