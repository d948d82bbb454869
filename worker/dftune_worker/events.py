"""events.jsonl, as src/run/events.ts defines it: one event a line, flushed. Samples go to samples.jsonl too."""

import json
import math
from datetime import datetime, timezone
from pathlib import Path


class EventLog:
    """Rank 0's; on the other ranks it writes nothing."""

    def __init__(self, folder: Path, writes: bool):
        def open_log(name):
            return open(folder / name, "a", encoding="utf-8") if writes else None

        self._file, self._samples = open_log("events.jsonl"), open_log("samples.jsonl")

    def write(self, type_: str, step: int, **fields) -> None:
        if self._file is None:
            return
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = {"step": step, **{k: _finite(v) for k, v in fields.items()}}
        _append(self._file, {"type": type_, "time": time, **told})
        if type_ == "sample":
            _append(self._samples, {"type": type_, **told})


def _append(file, record: dict) -> None:
    file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    file.flush()


def _finite(value):
    """JSON has no NaN; null says that there is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
