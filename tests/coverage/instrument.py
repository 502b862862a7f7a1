# SPDX-License-Identifier: Apache-2.0
"""A dp-core that counts where it comes by.

clang's own instrumentation, -fprofile-instr-generate -fcoverage-mapping, puts a counter at the
start of every region of the source and writes down which is which. What it expects of a process
(a runtime that writes a file at the end) a BPF program does not have: its counters are put into
the section .data, of which libbpf makes a map, and all else that the kernel cannot take is left
out of the object that is loaded. The object with the mapping is for llvm-cov alone.
"""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from vrouter.dpcore.btf import elf_section

# for size, and counters that are not exact when two CPUs count at once: the stack is short, and
# what was reached is reached all the same
FLAGS = ("-g", "-Os", "-target", "bpf", "-mcpu=v3")
COUNTERS = (
    *("-fprofile-instr-generate", "-fcoverage-mapping"),
    *("-mllvm", "-disable-vp=true"),
)
_COUNTER = re.compile(r"@__profc_(\S+) = .*global \[(\d+) x i64\] zeroinitializer")
_RECORD = re.compile(
    r"@__profd_(\S+) = .* \{ i64 (-?\d+), i64 (-?\d+), i64 sub \(i64 ptrtoint \(ptr @__profc_(\S+) to"
)
_LIST = re.compile(r"(@\S+ = appending global )\[\d+ x ptr\] \[(.*)\](.*)")
_OF_THE_RUNTIME = ("@__profd_", "@__covrec_", "@__llvm_")
_U64 = (1 << 64) - 1


@dataclass(frozen=True)
class Function:
    """A function's counters: `count` u64 at `offset` of the map. name, hash: as the profile has
    them."""

    name: str
    hash: int
    offset: int
    count: int


@dataclass(frozen=True)
class Instrumented:
    """object: to be loaded; mapping: for llvm-cov; size: bytes of the map of counters."""

    object: Path
    mapping: Path
    functions: tuple[Function, ...]
    size: int


def build(clang: str, source: Path, folder: Path) -> Instrumented:
    """Compiles `source` into `folder`. Raises CalledProcessError, ValueError if this compiler
    writes its counters in another way than the known one."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = [source.parent, source.parent / "vendor"]
    headers.append(Path(f"/usr/include/{platform.machine()}-linux-gnu"))
    command = [clang, *FLAGS, *COUNTERS, *(f"-I{one}" for one in headers), str(source)]
    mapping, code = folder / "mapping.o", folder / "counting.ll"
    subprocess.run([*command, "-S", "-emit-llvm", "-o", code], check=True)
    to_object = [_beside(clang, "llc"), "-march=bpf", "-mcpu=v3", "-filetype=obj", str(code), "-o"]
    subprocess.run([*to_object, str(mapping)], check=True)
    text = code.read_text()
    code.write_text(_loadable(text))
    target = folder / "vrouter.bpf.o"
    subprocess.run([*to_object, str(target)], check=True)
    subprocess.run([_beside(clang, "llvm-strip"), "-g", target], check=True)
    functions = _functions(text, _names(mapping), _offsets(clang, target))
    size = len(elf_section(target.read_bytes(), b".data", target))
    return Instrumented(target, mapping, functions, size)


def _beside(clang: str, tool: str) -> str:
    """The LLVM tool of the compiler's own version."""
    return clang.replace("clang", tool)


def _loadable(text: str) -> str:
    """The module with its counters in .data, and without what only the runtime reads."""
    kept, gone = [], set()
    for line in text.splitlines():
        if counter := _COUNTER.match(line):
            name, size = counter.groups()
            line = f"@__profc_{name} = internal global [{size} x i64] zeroinitializer"
            line += ', section ".data", align 8'
        elif line.startswith(_OF_THE_RUNTIME):
            gone.add(line.split(" ", 1)[0])
            continue
        elif line.startswith("$__"):  # their comdats
            continue
        elif found := _LIST.match(line):
            used = [one for one in found[2].split(", ") if one.split()[1] not in gone]
            line = f"{found[1]}[{len(used)} x ptr] [{', '.join(used)}]{found[3]}" if used else ""
        kept.append(line)
    return "\n".join(kept) + "\n"


def _names(mapping: Path) -> dict[int, str]:
    """Full names of functions by their hash: the low 64 bits of their MD5."""
    raw = elf_section(mapping.read_bytes(), b"__llvm_prf_names", mapping)
    plain, at = _leb(raw, 0)
    packed, at = _leb(raw, at)
    data = zlib.decompress(raw[at : at + packed]) if packed else raw[at : at + plain]
    names = data.decode().split("\1")
    return {
        int.from_bytes(hashlib.md5(name.encode()).digest()[:8], "little"): name for name in names
    }


def _leb(raw: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        value |= (raw[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not raw[at - 1] & 0x80:
            return value, at


def _offsets(clang: str, target: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of every function's counters in .data."""
    command = [_beside(clang, "llvm-nm"), "--print-size", str(target)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in lines.splitlines() if " __profc_" in line]
    return {
        name.removeprefix("__profc_"): (int(at, 16), int(size, 16)) for at, size, _, name in rows
    }


def _functions(
    text: str, names: dict[int, str], offsets: dict[str, tuple[int, int]]
) -> tuple[Function, ...]:
    found = []
    for line in text.splitlines():
        if record := _RECORD.match(line):
            name = names[int(record[2]) & _U64]
            if record[4] in offsets:  # else the optimizer has found that it is never called
                at, size = offsets[record[4]]
                found.append(Function(name, int(record[3]) & _U64, at, size // 8))
    if not found:
        raise ValueError("this clang writes its counters in a way that is not known here")
    return tuple(found)
