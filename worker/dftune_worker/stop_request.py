"""A run is asked to stop."""

import signal
from pathlib import Path

from .parallel import World

STOP_FILE = "stop"
INTERRUPTED = 130
"""The exit code of a run that stopped with a checkpoint."""


class StopRequest:
    """A signal to any process, or a file named `stop` in the run folder: all ranks stop after the same step."""

    def __init__(self, folder: Path, world: World):
        self.file, self.world, self._signalled = folder / STOP_FILE, world, False
        if world.first:
            self.file.unlink(missing_ok=True)
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._note)

    def _note(self, *_):
        self._signalled = True

    def requested(self) -> bool:
        mine = self._signalled or (self.world.first and self.file.exists())
        return self.world.largest(float(mine)) > 0
