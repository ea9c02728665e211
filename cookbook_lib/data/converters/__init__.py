"""Converters of published formats. Importing this package registers them all."""

from cookbook_lib.data.converters import char_count as char_count
from cookbook_lib.data.converters import gsm8k as gsm8k
from cookbook_lib.data.converters import gym as gym
from cookbook_lib.data.converters import helpsteer2 as helpsteer2
from cookbook_lib.data.converters import instruction as instruction
from cookbook_lib.data.converters import judge as judge
from cookbook_lib.data.converters import openai as openai
from cookbook_lib.data.converters import sharegpt as sharegpt
from cookbook_lib.data.converters.registry import CONVERTERS as CONVERTERS
from cookbook_lib.data.converters.registry import Options as Options
from cookbook_lib.data.converters.registry import check_options as check_options
from cookbook_lib.data.converters.registry import converter_named as converter_named
from cookbook_lib.data.converters.registry import register_converter as register_converter
