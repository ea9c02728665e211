"""Reward converters of published formats. Importing this package registers them all."""

from cookbook_lib.data.reward.converters import gsm8k as gsm8k
from cookbook_lib.data.reward.converters import helpsteer2 as helpsteer2
from cookbook_lib.data.reward.converters import helpsteer3 as helpsteer3
from cookbook_lib.data.reward.converters import hh as hh
from cookbook_lib.data.reward.converters import kto as kto
from cookbook_lib.data.reward.converters import label_studio as label_studio
from cookbook_lib.data.reward.converters import oasst as oasst
from cookbook_lib.data.reward.converters import openjudge as openjudge
from cookbook_lib.data.reward.converters import preferences as preferences
from cookbook_lib.data.reward.converters import ultrafeedback as ultrafeedback
from cookbook_lib.data.reward.registry import REWARD_CONVERTERS as REWARD_CONVERTERS
from cookbook_lib.data.reward.registry import register_reward_converter as register_reward_converter
