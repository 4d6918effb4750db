"""Makes the programs in the folder above importable, for the benchmarks that run their steps."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
