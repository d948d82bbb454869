"""Prints [step, loss] of an offline run below a folder, from W&B's file of records."""

import glob
import json
import struct
import sys

from wandb.proto import wandb_internal_pb2

MAGIC, BLOCK, HEADER = 7, 32768, 7


def records(data: bytes):
    """LevelDB's log format: blocks of parts, each with a checksum, a length and a type."""
    at, whole = MAGIC, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _checksum, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # full, last
            yield whole
            whole = b""


root, run_id = sys.argv[1:]
[path] = glob.glob(f"{root}/wandb/offline-run-*-{run_id}/*.wandb")
found = []
with open(path, "rb") as file:
    for data in records(file.read()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") != "history":
            continue
        told = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        if "train/loss" in told:
            found.append([int(told["_step"]), json.loads(told["train/loss"])])
print(json.dumps(found))
