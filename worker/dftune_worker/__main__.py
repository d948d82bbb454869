"""`python -m dftune_worker RUN_SPEC.json`, alone or under torchrun."""

import contextlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

from .errors import InputError
from .parallel import die_with_parent, join_world, leave_world


def main(arguments: list[str]) -> None:
    die_with_parent()
    if len(arguments) != 1:
        print("usage: python -m dftune_worker RUN_SPEC.json", file=sys.stderr)
        _end(2)
    spec = None
    try:
        from . import trainer
        from .spec import read_spec

        spec = read_spec(Path(arguments[0]))
        world = join_world()
        code = trainer.train(trainer.start(spec, world))
    except BaseException as error:
        _failed(error, spec, Path(arguments[0]))
    leave_world(world)
    # Under torchrun a code other than 0 is a failed rank; run.end in events.jsonl tells the
    # difference.
    _end(0 if "TORCHELASTIC_RUN_ID" in os.environ else code)


def _end(code: int) -> None:
    """At once: gloo's threads may still run while the interpreter takes itself down, which aborts now and then."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads it any more
            if stream is not None:  # closed before this process began
                stream.flush()
    os._exit(code)


def _failed(error: BaseException, spec, spec_path: Path) -> None:
    """Says why on stderr and in rank-N.error.json beside the spec, then ends at once: other ranks may wait in a collective."""
    if isinstance(error, SystemExit):
        raise error
    try:
        from .explain import explain

        kind, message = explain(error, spec)
    except ImportError as missing:
        kind, message = "input", f"{missing}; dftune torch setup installs what the worker needs"
    if isinstance(error, ModuleNotFoundError):
        kind, message = "input", f"{error}; dftune torch setup installs what the worker needs"
    rank = os.environ.get("RANK", "0")
    record = {
        "rank": int(rank),
        "kind": kind,
        "message": message,
        "time": time.time(),
        "traceback": traceback.format_exc(),
    }
    try:
        place = spec_path.parent / f"rank-{rank}.error.json"
        half = place.with_suffix(".tmp")  # whoever waits for it reads it at any moment
        half.write_text(json.dumps(record, indent=1))
        half.replace(place)
    except OSError as unwritable:
        message = f"{message} ({unwritable})"
    with contextlib.suppress(OSError):
        if kind == "bug":
            traceback.print_exc()
        print(f"dftune_worker: rank {rank}: {message}", file=sys.stderr, flush=True)
    _end(2 if isinstance(error, InputError) or kind == "input" else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
