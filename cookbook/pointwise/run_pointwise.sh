#!/usr/bin/env bash
# Scores on a scale: notebooks/31_pointwise.ipynb with the values of trainer.yaml, headless on this machine's GPUs.
#   bash run_pointwise.sh                                without a GPU: a rehearsal on the embedded model
#   MODEL_PATH=../sft/checkpoints/sft-final bash run_pointwise.sh pointwise.loss=ordinal
#   bash run_pointwise.sh --help
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
launch pointwise 31_pointwise "prepare_reward_data.py --kind scores" helpsteer2 "$@"
