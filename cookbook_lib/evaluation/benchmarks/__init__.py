"""The public benchmarks of reward models and judges, by their official formulas.

items = benchmark_named("rm_bench").load("folder/")
result = evaluate(judge, "rm_bench", items)             a fraction, its interval, parts, a row per item, notes
table_rows([result, evaluate(LengthJudge(), "rm_bench", items)])
"""

from cookbook_lib.evaluation.benchmarks.base import BENCHMARKS as BENCHMARKS
from cookbook_lib.evaluation.benchmarks.base import Benchmark as Benchmark
from cookbook_lib.evaluation.benchmarks.base import benchmark_named as benchmark_named
from cookbook_lib.evaluation.benchmarks.base import evaluate as evaluate
from cookbook_lib.evaluation.benchmarks.hearing import Scores as Scores
from cookbook_lib.evaluation.benchmarks.items import Item as Item
from cookbook_lib.evaluation.benchmarks.judgebench import JUDGEBENCH as JUDGEBENCH
from cookbook_lib.evaluation.benchmarks.judgebench import stored_scores as stored_scores
from cookbook_lib.evaluation.benchmarks.llmbar import LLMBAR as LLMBAR
from cookbook_lib.evaluation.benchmarks.result import BenchmarkResult as BenchmarkResult
from cookbook_lib.evaluation.benchmarks.result import Part as Part
from cookbook_lib.evaluation.benchmarks.result import table_rows as table_rows
from cookbook_lib.evaluation.benchmarks.rewardbench import REWARDBENCH as REWARDBENCH
from cookbook_lib.evaluation.benchmarks.rewardbench2 import REWARDBENCH2 as REWARDBENCH2
from cookbook_lib.evaluation.benchmarks.rm_bench import RM_BENCH as RM_BENCH
from cookbook_lib.evaluation.benchmarks.rm_bench import matrix as matrix
from cookbook_lib.evaluation.benchmarks.rmb import RMB as RMB
