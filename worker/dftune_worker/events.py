"""events.jsonl, as src/run/events.ts defines it: one event a line, flushed."""

import json
import math
from datetime import datetime, timezone
from pathlib import Path


class EventLog:
    """Rank 0's; on the other ranks it writes nothing."""

    def __init__(self, path: Path, writes: bool):
        self._file = open(path, "a", encoding="utf-8") if writes else None

    def write(self, type_: str, step: int, **fields) -> None:
        if self._file is None:
            return
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {"type": type_, "time": time, "step": step, **{k: _finite(v) for k, v in fields.items()}}
        self._file.write(json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _finite(value):
    """JSON has no NaN; null says that there is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
