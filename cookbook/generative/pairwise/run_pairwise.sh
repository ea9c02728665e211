#!/usr/bin/env bash
# A generative judge of pairs: notebooks/33_generative_pairwise.ipynb with the values of trainer.yaml, headless on this machine's
# GPUs.
#   bash run_pairwise.sh                                 without a GPU: a rehearsal on the embedded model
#   MODEL_PATH=../../sft/judge_checkpoints/sft-final bash run_pairwise.sh optim.lr=5e-7
#   bash run_pairwise.sh --help
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../common.sh"
launch generative/pairwise 33_generative_pairwise "prepare_reward_data.py --kind preference-judge" helpsteer2 "$@"
