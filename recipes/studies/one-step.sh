#!/bin/sh
# Makes what one-step.yaml reads, and runs it; the same command once more goes on.
#     sh one-step.sh MODEL FOLDER        (DFTUNE: the command, dftune if left out)
set -e
model=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
dftune=${DFTUNE:-dftune}
mkdir -p "$out"
cd "$out"

problems="node $here/../preferences/problems.mjs"
$problems 128 1 train > train.jsonl
$problems 48 2 validation > validation.jsonl
$problems 60 3 test > test.jsonl
# what is not in the data: paragraphs of dftune's pages, and the heads of its files
node "$here/held-out-text.mjs" 8 > text.jsonl
node "$here/held-out-text.mjs" 8 code > code.jsonl

# RFT: the model's own samples of the same problems, the correct ones of them
$dftune generate "$model" --prompts train.jsonl --n 4 --temperature 0.5 --max-new-tokens 48 --out samples.jsonl
$dftune grade samples.jsonl --keep correct --out correct.jsonl

sed "s|HuggingFaceTB/SmolLM2-135M-Instruct|$model|" "$here/one-step.yaml" > one-step.yaml
$dftune study one-step.yaml
