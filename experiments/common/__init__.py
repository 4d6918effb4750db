"""What the programs share: their flags, and the way from flags to a folder of results.

- `config`: the flags
- `program`: from the command line to an exit status
- `task`: network, data and flags, joined and checked
- `run`: the runs of a task, one a seed
- `memory`: an allocation setting that training on a CPU gains by
- `markdown`: tables
- `timing`: turns of contestants in a benchmark
- `scaling_report`: the tables of `scaling.py`
"""

from common.config import Config
from common.program import main
from common.task import Normalise, Tuning

__all__ = ["Config", "Normalise", "Tuning", "main"]
