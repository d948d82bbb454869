"""Prints [step, loss] of a run, as Trackio's own API tells it."""

import json
import sys

from trackio.sqlite_storage import SQLiteStorage

logs = SQLiteStorage.get_logs("dftune", sys.argv[2])
print(json.dumps([[log["step"], log["train/loss"]] for log in logs if "train/loss" in log]))
