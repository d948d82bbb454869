"""Tells W&B or Trackio of a run, by the package that is installed here.

Reads one JSON object a line: {"start": {...}}, {"log": [[step, {name: value}], ...]}, {"end": exit code}.
Writes one JSON object a line: {"id": ...} after the start, {"done": true} after the end, {"error": ...}.
Whatever the packages print goes to stderr.
"""

import importlib.util
import json
import os
import signal
import sys


def main() -> None:
    package = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**said) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    # Ctrl-C is for the run, which says when it is over
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if importlib.util.find_spec(package) is None:
        answer(error=f"{sys.executable} has no package {package}; pip install {package}")
        return
    answer(ready=True)
    run = None
    try:
        module = __import__(package)
        for line in sys.stdin:
            said = json.loads(line)
            if "start" in said:
                run = start(package, module, said["start"])
                answer(id=getattr(run, "id", None) or said["start"]["name"])
            for step, values in said.get("log", []):
                run.log(values, step=step)
            if "end" in said:
                finish(package, run, said["end"])
                run = None
                answer(done=True)
        if run is not None:
            finish(package, run, 1)
    except BaseException as error:  # whatever the package raises is told
        answer(error=f"{type(error).__name__}: {error}")


def start(package: str, module, given: dict):
    name, config, run_id = given["name"], given["settings"], given["id"]
    if package == "wandb":
        project = os.environ.get("WANDB_PROJECT") or "dftune"
        return module.init(project=project, name=name, config=config, id=run_id, resume="allow")
    project = os.environ.get("TRACKIO_PROJECT") or "dftune"
    return module.init(project=project, name=run_id or name, config=config, resume="allow")


def finish(package: str, run, code: int) -> None:
    if package == "wandb":
        run.finish(exit_code=code)
    else:
        run.finish()


if __name__ == "__main__":
    main()
