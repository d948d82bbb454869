"""torchrun, ended by the kernel when dftune is: `python -m dftune_worker.agent TORCHRUN_ARGUMENTS`."""

import sys

from .parallel import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    from torch.distributed.run import main

    main(sys.argv[1:])
