#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/run.py [CASE...] [--list] [--json FILE] [--rounds N] [--seconds S]"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from bench.cli import main  # noqa: E402 - found by the path above

if __name__ == "__main__":
    sys.exit(main())
