#!/bin/sh
# Makes what one-step.yaml (or another study of these problems) reads, and runs it; the same command
# once more goes on.
#     sh one-step.sh MODEL FOLDER [one-step|one-step-base|one-step-full|forgetting]     (DFTUNE: the command, dftune if left out)
set -e
model=$1
out=$2
study=${3:-one-step}
here=$(cd "$(dirname "$0")" && pwd)
dftune=${DFTUNE:-dftune}
mkdir -p "$out"
cd "$out"

problems="node $here/../preferences/problems.mjs"
$problems 128 1 train > train.jsonl
$problems 48 2 validation > validation.jsonl
$problems 60 3 test > test.jsonl
# what is not in the data: paragraphs of dftune's pages, and the heads of its files
rows=8
[ "$study" = forgetting ] && rows=24
node "$here/held-out-text.mjs" $rows > text.jsonl
node "$here/held-out-text.mjs" $rows code > code.jsonl

# RFT and DPO: the model's own samples of the same problems, the correct ones of them, and pairs
if [ "$study" = one-step ] || [ "$study" = forgetting ]; then
  $dftune generate "$model" --prompts train.jsonl --n 4 --temperature 0.5 --max-new-tokens 48 --out samples.jsonl
  $dftune grade samples.jsonl --keep correct --out correct.jsonl
  $dftune grade samples.jsonl --pairs all --max-per-prompt 2 --out pairs.jsonl
fi

sed -E "s#HuggingFaceTB/SmolLM2-135M-Instruct|google/gemma-3-270m#$model#" "$here/$study.yaml" > "$study.yaml"
$dftune study "$study.yaml"
