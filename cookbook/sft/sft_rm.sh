#!/usr/bin/env bash
# Supervised fine-tuning: notebooks/20_sft.ipynb with the values of trainer.yaml, headless on this machine's GPUs.
#   bash sft_rm.sh                                       without a GPU: a rehearsal on the embedded model
#   MODEL_PATH=Qwen/Qwen2.5-7B-Instruct bash sft_rm.sh optim.lr=1e-5
#   bash sft_rm.sh --help
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
launch sft 20_sft prepare_sft_data.py sharegpt "$@"
