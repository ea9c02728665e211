"""The values of a recipe, typed: keys (schema), layers (load), what is refused (rules)."""

from cookbook_lib.config.errors import CookbookError as CookbookError
from cookbook_lib.config.load import load_config as load_config
from cookbook_lib.config.policy_schema import AlgorithmConfig as AlgorithmConfig
from cookbook_lib.config.policy_schema import DpoConfig as DpoConfig
from cookbook_lib.config.policy_schema import JudgeConfig as JudgeConfig
from cookbook_lib.config.policy_schema import RewardConfig as RewardConfig
from cookbook_lib.config.policy_schema import RolloutConfig as RolloutConfig
from cookbook_lib.config.schema import BradleyTerryConfig as BradleyTerryConfig
from cookbook_lib.config.schema import Config as Config
from cookbook_lib.config.schema import DataConfig as DataConfig
from cookbook_lib.config.schema import FsdpConfig as FsdpConfig
from cookbook_lib.config.schema import ModelConfig as ModelConfig
from cookbook_lib.config.schema import MultiturnConfig as MultiturnConfig
from cookbook_lib.config.schema import OptimConfig as OptimConfig
from cookbook_lib.config.schema import PointwiseConfig as PointwiseConfig
from cookbook_lib.config.schema import TrainerConfig as TrainerConfig
from cookbook_lib.config.show import config_table as config_table
from cookbook_lib.config.show import save_resolved as save_resolved
