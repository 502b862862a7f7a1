# SPDX-License-Identifier: Apache-2.0
"""Compile BPF sources in a test, with the compiler and flags of `make bpf`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def compile_bpf(source: Path, target: Path, include: Path = ROOT / "bpf") -> Path:
    """Compile `source` against dp-core's headers in `include`; returns `target`."""
    clang = os.environ.get("CLANG", "clang-19")
    if shutil.which(clang) is None:
        pytest.skip(f"{clang} is not installed: `make bpf` says how")
    includes = [include, ROOT / "bpf/vendor", f"/usr/include/{platform.machine()}-linux-gnu"]
    options = ["-g", "-O2", "-target", "bpf", "-mcpu=v3", *(f"-I{one}" for one in includes)]
    subprocess.run([clang, *options, "-c", source, "-o", target], check=True)
    return target
