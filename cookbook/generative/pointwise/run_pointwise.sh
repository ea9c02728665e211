#!/usr/bin/env bash
# A generative judge of single answers: notebooks/32_generative_pointwise.ipynb with the values of trainer.yaml, headless on this
# machine's GPUs.
#   bash run_pointwise.sh                                without a GPU: a rehearsal on the embedded model
#   MODEL_PATH=../../sft/judge_checkpoints/sft-final bash run_pointwise.sh optim.lr=5e-7
#   bash run_pointwise.sh --help
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../common.sh"
launch generative/pointwise 32_generative_pointwise "prepare_reward_data.py --kind score-judge" helpsteer2 "$@"
