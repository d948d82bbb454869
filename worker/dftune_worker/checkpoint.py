"""Checkpoints: a folder written under a temporary name, verified, renamed; readable by any number of processes.

checkpoints/step-000050/   the model in Hugging Face's layout, trainer.json, and distributed/ (masters and moments)
"""

import json
import os
import shutil
from concurrent.futures import Future
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp

from .averages import PREFIX as AVERAGE
from .errors import InputError, check
from .export import export_model
from .parallel import World

PREFIX = "step-"
TEMPORARY = ".writing-"


class Checkpoints:
    """Writes into `folder`. On a GPU the distributed part is written behind the next steps' back; on a CPU it is not,
    because a copy of the masters and moments would double the memory."""

    def __init__(self, folder: Path, world: World, keep: int | None, on_done):
        self.folder, self.world, self.keep, self.on_done = folder, world, keep, on_done
        self.best: int | None = None
        """The step whose checkpoint is kept beside the last ones."""
        self.last: int | None = None
        """The step that was saved last."""
        self._pending: tuple[Future, int] | None = None
        self._asynchronous = world.device.type == "cuda"
        if world.first:
            folder.mkdir(parents=True, exist_ok=True)
            for stale in folder.glob(f"{TEMPORARY}*"):
                shutil.rmtree(stale)
        world.barrier()

    def path_of(self, step: int) -> Path:
        return self.folder / f"{PREFIX}{step:06d}"

    def save(self, step: int, run, trainer_state: dict, beside=None) -> None:
        """All ranks together; the first one writes more `beside` the rest. Returns when the state may change again."""
        self.finish()
        self.last = step
        temporary = self.folder / f"{TEMPORARY}{step:06d}"
        if self.world.first:
            temporary.mkdir()
            (temporary / "trainer.json").write_text(json.dumps(trainer_state, indent=1))
            if beside is not None:
                beside(temporary)
        self.world.barrier()
        export_model(run, temporary)
        state, writer = _state_of(run), dcp.FileSystemWriter(str(temporary / "distributed"), sync_files=True)
        if self._asynchronous:
            self._pending = (
                dcp.async_save(state, storage_writer=writer, process_group=_control_group(self.world)),
                step,
            )
        else:
            dcp.save(state, storage_writer=writer, no_dist=self.world.size == 1)
            self._complete(step)

    def poll(self) -> None:
        """Finishes a background save if every rank's part is written. Called by all ranks after each step."""
        if self._pending is not None:
            unfinished = torch.tensor(float(not self._pending[0].done()), device=self.world.device)
            if self.world.sum(unfinished).item() == 0:
                self.finish()

    def finish(self) -> None:
        if self._pending is None:
            return
        future, step = self._pending
        self._pending = None
        future.result()
        self._complete(step)

    def _complete(self, step: int) -> None:
        self.world.barrier()
        if self.world.first:
            temporary, final = self.folder / f"{TEMPORARY}{step:06d}", self.path_of(step)
            verify(temporary)
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            _sync_folder(self.folder)
            self.on_done(step, final)
            self._prune()
        self.world.barrier()

    def _prune(self) -> None:
        if self.keep is not None:
            own = [path for path in self.folder.glob(f"{PREFIX}*") if (path / "trainer.json").is_file()]
            best = None if self.best is None else self.path_of(self.best)
            for old in sorted(own)[: -self.keep]:
                if old != best:
                    shutil.rmtree(old)


def _state_of(run) -> dict[str, torch.Tensor]:
    return run.optimizer.state() | ({} if run.average is None else run.average.state())


def _control_group(world: World):
    return torch.distributed.group.WORLD if world.size > 1 else None


def verify(folder: Path) -> None:
    """Reads the index back: every file it names must be there, as long as it must be."""
    metadata = dcp.FileSystemReader(str(folder / "distributed")).read_metadata()
    ends: dict[str, int] = {}
    for info in metadata.storage_data.values():
        ends[info.relative_path] = max(ends.get(info.relative_path, 0), info.offset + info.length)
    for name, end in ends.items():
        path = folder / "distributed" / name
        check(path.is_file() and path.stat().st_size >= end, f"{path}: the checkpoint is not whole")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def trainer_state_of(folder: Path) -> dict:
    path = folder / "trainer.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; --resume needs a checkpoint of engine: torch") from error


def _missing(folder: Path, name: str, known: dict) -> str:
    if name.startswith(AVERAGE) and not any(other.startswith(AVERAGE) for other in known):
        return f"{folder}: keeps no average of the weights; ema_decay was not set when it was made, and a run cannot begin one on the way"
    plain = name.split(".rank-")[0]
    if any(other != name and other.split(".rank-")[0] == plain for other in known):
        return f"{folder}: adamw-8bit goes on with the number of processes that it had; its blocks run over each one's part"
    return f"{folder}: {name} is missing; the checkpoint is of another model, adapter or optimizer"


def restore(folder: Path, run, world: World) -> dict:
    """Fills masters, moments and counters from a checkpoint of any number of processes; returns its trainer.json."""
    trainer_state = trainer_state_of(folder)
    check(
        (folder / "distributed").is_dir(), f"{folder}: has no distributed/ folder; it is a checkpoint of another engine"
    )
    verify(folder)
    if run.average is not None and trainer_state.get("averaged", trainer_state["optimizer_steps"] > 0):
        run.average.begin()
    state = _state_of(run)
    known = dcp.FileSystemReader(str(folder / "distributed")).read_metadata().state_dict_metadata
    for name, tensor in state.items():
        check(name in known, _missing(folder, name, known))
        check(
            tuple(known[name].size) == tuple(tensor.shape),
            f"{folder}: {name} is {list(known[name].size)}, this run needs {list(tensor.shape)}",
        )
    dcp.load(state, checkpoint_id=str(folder / "distributed"), no_dist=world.size == 1)
    run.optimizer.restore(state, trainer_state["optimizer_steps"])
    return trainer_state


def take_best(folder: Path, run) -> None:
    """Puts the weights of a checkpoint of this run, or their average where one is kept, in the weights' place."""
    path = folder / f"{PREFIX}{run.best.step:06d}"
    check(
        (path / "distributed").is_dir(),
        f"{path}: the checkpoint of the best evaluation is not there, so load_best_model_at_end has nothing to load; "
        "the last checkpoint is good",
    )
    verify(path)
    masters = run.optimizer.masters() if run.average is None else run.average.state()
    dcp.load(masters, checkpoint_id=str(path / "distributed"), no_dist=run.world.size == 1)
    if run.average is None:
        run.optimizer.restore_masters(masters)
    else:
        run.average.exchange()
