# SPDX-License-Identifier: Apache-2.0
"""`vrouter-cni`: puts the CNI plugin where a runtime looks for it, or is it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from vrouter.cni import shim

USAGE: Final = f"""\
usage: vrouter-cni --install DIR
{shim.USAGE} --install puts it into DIR, the runtime's folder of plugins."""
# the distribution's own starts sooner than one with its library apart, and outlives a venv
_PYTHONS: Final = ("/usr/bin/python3", sys.executable)
_COMPILE: Final = """\
import marshal, sys
code = compile(sys.stdin.buffer.read(), "vrouter-cni", "exec", optimize=2)
print((sys.implementation.cache_tag, marshal.dumps(code)))
"""
_PLUGIN: Final = """\
#!{python} -IS
# The CNI plugin of the vRouter, made by `vrouter-cni --install`: compiled, so that a runtime waits
# 3 ms less each time; its source for any other Python than the one that it was made by.
from marshal import loads
from sys import implementation
TAG, CODE = {compiled}
exec(loads(CODE) if implementation.cache_tag == TAG else {source!r})
"""


def plugin() -> str:
    """The text of the plugin. Raises OSError: no Python compiles it."""
    source = Path(shim.__file__).read_text(encoding="utf-8")
    for python in map(os.path.realpath, _PYTHONS):
        words = [python, "-IS", "-c", _COMPILE]
        try:
            done = subprocess.run(words, input=source.encode(), capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return _PLUGIN.format(python=python, compiled=done.stdout.decode().strip(), source=source)
    raise OSError(0, f"neither {' nor '.join(_PYTHONS)} compiles it")


def install(folder: str) -> int:
    """Put the plugin into `folder` as `vrouter-cni`; the exit code."""
    target = Path(folder, "vrouter-cni")
    fresh = Path(f"{target}.{os.getpid()}")
    try:
        fresh.write_text(plugin(), encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(target)
    except OSError as error:
        print(f"vrouter-cni: cannot write {target}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"vrouter-cni: installed {target}")
    return 0


def main() -> int:
    """The command."""
    words = sys.argv[1:]
    if len(words) == 2 and words[0] == "--install":
        return install(words[1])
    if not words and "CNI_COMMAND" in os.environ:
        shim.main()
    helped = words in (["-h"], ["--help"])
    print(USAGE, file=sys.stdout if helped else sys.stderr)
    return 0 if helped else 2
