"""How good a model is: against the one it came from, on conversations that neither has seen, with intervals."""

from cookbook_lib.evaluation.benchmarks import table_rows as result_rows
from cookbook_lib.evaluation.held_out import compare_with_base as compare_with_base
from cookbook_lib.evaluation.held_out_answers import judge_pairs as judge_pairs
from cookbook_lib.evaluation.held_out_answers import judge_scores as judge_scores
from cookbook_lib.evaluation.held_out_answers import score_pairs as score_pairs
from cookbook_lib.evaluation.held_out_judgements import compare_judges as compare_judges
from cookbook_lib.evaluation.pipeline import on_benchmarks as on_benchmarks
from cookbook_lib.evaluation.pipeline import pipeline_rows as pipeline_rows
from cookbook_lib.evaluation.report import sample_cards as sample_cards
from cookbook_lib.evaluation.report import table_rows as table_rows
from cookbook_lib.evaluation.sft import Comparison as Comparison
from cookbook_lib.evaluation.sft import Settings as Settings
from cookbook_lib.evaluation.sft import compare as compare
