#!/bin/sh
# Makes what coder-humaneval.yaml reads, and runs it; the same command once more goes on.
#     sh coder-humaneval.sh MODEL HUMANEVAL.jsonl FOLDER     (DFTUNE: the command, dftune if left out)
# HUMANEVAL.jsonl is the benchmark's file of 164 problems (openai/openai_humaneval, split test).
set -e
model=$1
problems=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
out=$3
here=$(cd "$(dirname "$0")" && pwd)
dftune=${DFTUNE:-dftune}
mkdir -p "$out"
cd "$out"

node "$here/coder-humaneval.mjs" split "$problems"
node "$here/held-out-text.mjs" 8 > text.jsonl
$dftune eval "$model" --suite humaneval --suite-dir train --n 4 --temperature 1 \
  --max-new-tokens 256 --dtype bf16 --out samples
node "$here/coder-humaneval.mjs" rows samples/humaneval.jsonl > correct.jsonl

sed "s#Qwen/Qwen2.5-Coder-0.5B-Instruct#$model#" "$here/coder-humaneval.yaml" > coder-humaneval.yaml
$dftune study coder-humaneval.yaml
