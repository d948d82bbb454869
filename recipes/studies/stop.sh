#!/bin/sh
# Makes what stop.yaml reads, and runs it; the same command once more goes on.
#     sh stop.sh MODEL FOLDER     (DFTUNE: the command, dftune if left out)
# MODEL is a folder of SmolLM2-135M-Instruct, or another whose template is ChatML and which has a token <|endoftext|>.
set -e
model=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
dftune=${DFTUNE:-dftune}
mkdir -p "$out"

[ -d "$out/model" ] || node "$here/stop.mjs" "$model" "$out/model"
cd "$out"
problems="node $here/../preferences/problems.mjs"
$problems 128 1 train > train.jsonl
$problems 60 3 test > test.jsonl
cp "$here/stop.jinja" "$here/stop.yaml" .
$dftune study stop.yaml
