# shellcheck shell=bash
# What every launcher does: look at the machine, check the values, say what will run, run the recipe's notebook.
#
#   source ../common.sh && launch sft 20_sft prepare_sft_data.py sharegpt "$@"
#
# that is: the recipe's folder under cookbook/, its notebook, the script of scripts/ that writes its data, and a published
# source of such.
# The notebook runs headless (`cookbook run`), and this shell becomes it (exec): a scheduler's SIGTERM reaches it at once,
# it saves a checkpoint and the executed notebook, and its exit status is the launcher's.

COOKBOOK_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

launcher_help() {
  cat <<EOF
usage: [VARIABLE=value ...] bash $(basename "$0") [--overlay NAME|FILE] [--dry-run] [--help] [key=value ...]

key=value    any key of docs/reference/config.md, for instance optim.lr=1e-5 'trainer.logger=[console,swanlab]'
--overlay    a YAML file laid over the recipe, by path or by name under cookbook/ (smoke)
--dry-run    check everything and say what would run

values       MODEL_PATH TRAIN_FILE VAL_FILE TOTAL_BATCH_SIZE MICRO_BATCH_SIZE SP_SIZE TOTAL_EPOCHS MAX_LENGTH
             SAVE_PATH PROJECT_NAME EXPERIMENT_NAME
machine      N_GPUS_PER_NODE  ranks on this node             default: its GPUs; without one, 1 CPU rank
             NNODES           nodes (or WORLD_SIZE)          default: 1
             NODE_RANK        which one this is (or RANK)    default: 0
             MASTER_ADDR, MASTER_PORT  of node 0             default: 127.0.0.1, 29500
             COOKBOOK_AUTHKEY one secret for all nodes       default: ~/.cookbook/authkey, made on first use
EOF
}

fail() {
  echo "error: $*" >&2
  exit 2
}

# launch RECIPE NOTEBOOK PREPARE SOURCE [argument ...]
launch() {
  local recipe=$1 notebook=$2 published=$4 prepare
  read -ra prepare <<<"$3" # the script and its options
  shift 4
  local overlays=() overrides=() dry_run=""
  read_arguments "$@"
  find_python
  look_at_machine
  choose_smoke
  prepare_values
  [ "$NODE_RANK" != 0 ] || check_files
  banner
  [ -z "$dry_run" ] || exit 0
  [ "$NODE_RANK" != 0 ] || prepare_embedded_data
  run_notebook
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) launcher_help && exit 0 ;;
      --dry-run) dry_run=yes ;;
      --overlay) [ $# -gt 1 ] || fail "--overlay needs a name or a file"; overlays+=("$2"); shift ;;
      --overlay=*) overlays+=("${1#*=}") ;;
      -*) fail "$1 is not an option; see --help" ;;
      *=*) overrides+=("$1") ;;
      *) fail "'$1' is not of the form key=value (lists without spaces: trainer.logger=[console,swanlab])" ;;
    esac
    shift
  done
}

find_python() {
  if [ -x "$COOKBOOK_HOME/.venv/bin/cookbook" ]; then
    PATH=$COOKBOOK_HOME/.venv/bin:$PATH
  fi
  command -v cookbook >/dev/null || fail "the cookbook is not installed; run 'make setup' in $COOKBOOK_HOME, or activate its environment"
}

# A scheduler's WORLD_SIZE and RANK count nodes, as its users know them. The ranks inside get their own.
look_at_machine() {
  gpus=$(count_gpus)
  ranks=${N_GPUS_PER_NODE:-$((gpus > 0 ? gpus : 1))}
  NNODES=${NNODES:-${WORLD_SIZE:-1}}
  NODE_RANK=${NODE_RANK:-${RANK:-0}}
  MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
  MASTER_PORT=${MASTER_PORT:-29500}
  unset WORLD_SIZE RANK LOCAL_RANK
  whole N_GPUS_PER_NODE "$ranks" 1
  whole NNODES "$NNODES" 1
  whole NODE_RANK "$NODE_RANK" 0
  whole MASTER_PORT "$MASTER_PORT" 1
  [ "$NODE_RANK" -lt "$NNODES" ] || fail "NODE_RANK is $NODE_RANK, but $NNODES nodes count from 0 to $((NNODES - 1))"
  [ "$gpus" = 0 ] || [ "$ranks" -le "$gpus" ] || fail "N_GPUS_PER_NODE is $ranks, but this node has $gpus GPUs"
  [ "$NNODES" = 1 ] || share_secret
}

# Those that CUDA_VISIBLE_DEVICES leaves, where it is set.
count_gpus() {
  local all visible
  all=$({ nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU ' || true)
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    IFS=, read -ra visible <<<"$CUDA_VISIBLE_DEVICES"
    [ "${#visible[@]}" -ge "$all" ] || all=${#visible[@]}
  fi
  echo "$all"
}

whole() {
  [[ $2 =~ ^[0-9]+$ ]] && [ "$2" -ge "$3" ] || fail "$1 is '$2', but must be a whole number, at least $3"
}

# Nodes recognise each other by one secret. A home folder that they share is enough.
share_secret() {
  [ -z "${COOKBOOK_AUTHKEY:-}" ] || return 0
  local file=$HOME/.cookbook/authkey
  secret_from="$file, which every node must have alike"
  if ! [ -s "$file" ]; then
    (umask 077 && mkdir -p "${file%/*}" && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$file.$$" && { ln "$file.$$" "$file" 2>/dev/null || [ -s "$file" ]; } && rm -f "$file.$$") ||
      fail "$file cannot be written; export the same COOKBOOK_AUTHKEY (any long secret) on every node"
  fi
  COOKBOOK_AUTHKEY=$(<"$file")
}

# On a machine without a GPU and without a word about the model, the run is a rehearsal; and so is one that starts from
# the outcome of another.
choose_smoke() {
  smoke=""
  [ "$gpus" = 0 ] && [ ${#overlays[@]} = 0 ] || return 0
  [ -z "${MODEL_PATH:-}" ] || is_rehearsed "$MODEL_PATH" || return 0
  local override
  for override in ${overrides[@]+"${overrides[@]}"}; do
    [[ $override != model.partial_pretrain=* && $override != actor_rollout_ref.model.path=* ]] || return 0
  done
  overlays=(smoke)
  smoke="no MODEL_PATH: a rehearsal with the embedded tiny model"
  [ -z "${MODEL_PATH:-}" ] || smoke="MODEL_PATH is a rehearsal's outcome: the rehearsal goes on"
}

# A checkpoint says what it was trained from.
is_rehearsed() {
  grep -Eqs '"base": ".*/tiny-(judge-)?[0-9a-f]+"' "$1/cookbook.json"
}

# Problems of the values are told now, in one message, and not by N ranks later.
prepare_values() {
  local options=(--parameters) name lines
  for name in ${overlays[@]+"${overlays[@]}"}; do options+=(--overlay "$name"); done
  for name in model.partial_pretrain data.train_files data.val_files trainer.default_local_dir; do options+=(--value "$name"); done
  lines=$(python "$COOKBOOK_HOME/scripts/show_config.py" "$recipe" "${options[@]}" ${overrides[@]+"${overrides[@]}"}) || exit 2
  { read -r model && read -r train_files && read -r val_files && read -r save_path && read -r parameters; } <<<"$lines"
  unset MODEL_PATH TRAIN_FILE VAL_FILE TOTAL_BATCH_SIZE MICRO_BATCH_SIZE SP_SIZE TOTAL_EPOCHS MAX_LENGTH SAVE_PATH PROJECT_NAME EXPERIMENT_NAME
}

# Node 0 alone: the others may see the files only once it has prepared them.
check_files() {
  local file
  for file in "$train_files" "$val_files"; do
    if [[ $file == "["* || $file == None || -e $file ]] || needs_embedded_data; then continue; fi
    fail "$file does not exist; prepare data (python scripts/${prepare[*]} --source $published --output ${file%/*}), or name it: TRAIN_FILE=... VAL_FILE=... (null = no validation)"
  done
}

banner() {
  local kind=GPU
  [ "$gpus" != 0 ] || kind=CPU
  echo "=== $recipe ==="
  echo "recipe    cookbook/$recipe/trainer.yaml ${overlays[*]+with ${overlays[*]}} ${overrides[*]-}"
  [ -z "$smoke" ] || echo "          no GPU here and $smoke (cookbook/smoke.yaml)"
  echo "model     $model"
  echo "data      $train_files, validation ${val_files/#None/none}"
  needs_embedded_data && echo "          not there yet: the embedded data is prepared first"
  if [ "$NODE_RANK" = 0 ]; then
    echo "notebook  notebooks/$notebook.ipynb, executed copy $save_path/run.ipynb"
  else
    echo "notebook  the one that node 0 runs, with node 0's values; this node lends its ranks"
  fi
  echo "machine   $NNODES node(s) x $ranks $kind rank(s), this is node $NODE_RANK, node 0 is at $MASTER_ADDR:$MASTER_PORT"
  [ -z "${secret_from:-}" ] || echo "secret    $secret_from"
  echo "==="
}

# Only for the rehearsal, and only where the recipe's own place is empty: files that a person named are never made up.
needs_embedded_data() {
  [ -n "$smoke" ] && [ "$train_files" = "$COOKBOOK_HOME/cookbook/$recipe/data/train.parquet" ] && ! [ -e "$train_files" ]
}

prepare_embedded_data() {
  ! needs_embedded_data || python "$COOKBOOK_HOME/scripts/${prepare[0]}" "${prepare[@]:1}" --source embedded --output "${train_files%/*}"
}

run_notebook() {
  mkdir -p "$save_path" 2>/dev/null && [ -w "$save_path" ] || fail "$save_path cannot be written; name another folder: SAVE_PATH=..."
  export NNODES NODE_RANK MASTER_ADDR MASTER_PORT COOKBOOK_AUTHKEY
  exec cookbook run "$COOKBOOK_HOME/notebooks/$notebook.ipynb" --output "$save_path/run.ipynb" -y "$parameters" \
    -n "$ranks" --nnodes "$NNODES" --node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "$MASTER_PORT"
}
