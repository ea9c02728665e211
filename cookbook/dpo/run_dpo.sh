#!/usr/bin/env bash
# DPO: the recipe with the values of trainer.yaml, headless on this machine's GPUs.
#   bash run_dpo.sh                                      without a GPU: a rehearsal on the embedded model
#   MODEL_PATH=../sft/checkpoints/sft-final bash run_dpo.sh dpo.beta=0.05
#   bash run_dpo.sh --help
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
launch dpo 34_dpo "prepare_reward_data.py --kind pairs" helpsteer2 "$@"
