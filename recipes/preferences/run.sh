#!/bin/sh
# DPO, KTO and offline DFT from one model's own graded samples, beside the model as it was.
#     sh run.sh MODEL FOLDER        (DFTUNE: the command, dftune if left out; PROBLEMS, TESTS, STEPS: sizes)
# The same command once more goes on where it was interrupted.
set -e
model=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
dftune=${DFTUNE:-dftune}
problems=${PROBLEMS:-128}
tests=${TESTS:-60}
steps=${STEPS:-12}
mkdir -p "$out"
cd "$out"

# No calculation of a test is among those that are learnt.
node "$here/problems.mjs" "$problems" 1 train > train.jsonl
node "$here/problems.mjs" "$tests" 3 test > test.jsonl

$dftune generate "$model" --prompts train.jsonl --n 4 --temperature 0.5 --max-new-tokens 48 --out samples.jsonl
$dftune grade samples.jsonl --pairs all --max-per-prompt 2 --out pairs.jsonl
$dftune grade samples.jsonl --labels --out labels.jsonl
$dftune grade samples.jsonl --keep correct --out correct.jsonl

try_model() {
  $dftune eval "$2" --suite test.jsonl --n 1 --temperature 0 --max-new-tokens 48 --out "evals/$1-greedy"
  $dftune eval "$2" --suite test.jsonl --n 2 --temperature 1 --max-new-tokens 48 --out "evals/$1-sampled"
}

try_model base "$model"
for objective in dpo kto dft; do
  case $objective in dpo) rows=pairs ;; kto) rows=labels ;; dft) rows=correct ;; esac
  if [ ! -d "runs/$objective/model" ]; then
    $dftune train "$here/$objective.yaml" --resume --set "model=$model" \
      --set "data.train=$rows.jsonl" --set "max_steps=$steps" --set "output_dir=runs/$objective"
  fi
  try_model "$objective" "runs/$objective"
done
for objective in dpo kto dft; do
  $dftune compare evals/base-greedy "evals/$objective-greedy"
  $dftune compare evals/base-sampled "evals/$objective-sampled"
done
