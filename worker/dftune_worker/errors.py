"""Two kinds of error, as in the TypeScript: what the user can fix, and everything else."""


class InputError(Exception):
    """Something the user can fix. The message says where, what was expected, what came, what to do."""


class TrainingStopped(Exception):
    """The run cannot go on (NaN in a loss, memory ran out). The last good checkpoint stays."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
