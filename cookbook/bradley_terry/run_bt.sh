#!/usr/bin/env bash
# Bradley-Terry: notebooks/30_bradley_terry.ipynb with the values of trainer.yaml, headless on this machine's GPUs.
#   bash run_bt.sh                                       without a GPU: a rehearsal on the embedded model
#   MODEL_PATH=../sft/checkpoints/sft-final bash run_bt.sh optim.lr=2e-6
#   bash run_bt.sh --help
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
launch bradley_terry 30_bradley_terry "prepare_reward_data.py --kind pairs" helpsteer2 "$@"
