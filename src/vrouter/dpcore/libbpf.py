# SPDX-License-Identifier: Apache-2.0
"""libbpf.so.1 by ctypes: prototypes, structs of bpf(2), and its log.

libbpf's messages are collected, not printed: `capture()` gives those of a
block of code, to be attached to an error.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Final

from .errors import KernelLacks, from_errno

MIN_VERSION: Final = (1, 1)

MAP_HASH, MAP_ARRAY, MAP_PROG_ARRAY, MAP_PERCPU_ARRAY = 1, 2, 3, 6
MAP_LPM_TRIE, MAP_RINGBUF = 11, 27
F_MMAPABLE: Final = 1 << 10
F_NO_PREALLOC: Final = 1
ANY, NOEXIST, EXIST = 0, 1, 2
TCX_INGRESS: Final = 46
LINK_TYPE_TCX: Final = 11
LOG_WARN, LOG_INFO, LOG_DEBUG = 0, 1, 2


class MapInfo(ctypes.Structure):
    """struct bpf_map_info"""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("btf_id", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("pad", c_uint32),
        ("map_extra", c_uint64),
    )


class BtfInfo(ctypes.Structure):
    """struct bpf_btf_info"""

    _fields_ = (
        ("btf", c_uint64),
        ("btf_size", c_uint32),
        ("id", c_uint32),
        ("name", c_uint64),
        ("name_len", c_uint32),
        ("kernel_btf", c_uint32),
    )


class LinkInfo(ctypes.Structure):
    """struct bpf_link_info of a tcx link"""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("pad", c_uint32),
        ("ifindex", c_uint32),
        ("attach_type", c_uint32),
        ("rest", c_uint32 * 10),
    )


class ProgInfo(ctypes.Structure):
    """The start of struct bpf_prog_info"""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_char * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("gpl_compatible", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("jited_line_info_rec_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
        ("recursion_misses", c_uint64),
        ("verified_insns", c_uint32),
        ("attach_btf_obj_id", c_uint32),
        ("attach_btf_id", c_uint32),
    )


class TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts"""

    __test__ = False
    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


PRINT_FN = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
SAMPLE_FN = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)

_U32P = POINTER(c_uint32)
_P, _S, _I, _U, _L = c_void_p, c_char_p, c_int, c_uint32, c_uint64
_PROTOTYPES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "libbpf_major_version": (_U, []),
    "libbpf_minor_version": (_U, []),
    "libbpf_set_print": (_P, [PRINT_FN]),
    "libbpf_num_possible_cpus": (_I, []),
    "bpf_map_create": (_I, [_I, _S, _U, _U, _U, _P]),
    "bpf_map_update_elem": (_I, [_I, _P, _P, _L]),
    "bpf_map_lookup_elem": (_I, [_I, _P, _P]),
    "bpf_map_delete_elem": (_I, [_I, _P]),
    "bpf_map_get_next_key": (_I, [_I, _P, _P]),
    "bpf_map_lookup_batch": (_I, [_I, _P, _P, _P, _P, _U32P, _P]),
    "bpf_map_update_batch": (_I, [_I, _P, _P, _U32P, _P]),
    "bpf_map_delete_batch": (_I, [_I, _P, _U32P, _P]),
    "bpf_obj_pin": (_I, [_I, _S]),
    "bpf_obj_get": (_I, [_S]),
    "bpf_obj_get_info_by_fd": (_I, [_I, _P, _U32P]),
    "bpf_btf_get_fd_by_id": (_I, [_U]),
    "bpf_prog_get_fd_by_id": (_I, [_U]),
    "bpf_map_get_fd_by_id": (_I, [_U]),
    "bpf_prog_load": (_I, [_I, _S, _S, _P, c_size_t, _P]),
    "bpf_prog_query": (_I, [_I, _I, _U, _U32P, _U32P, _U32P]),
    "bpf_prog_test_run_opts": (_I, [_I, POINTER(TestRunOpts)]),
    "bpf_link_create": (_I, [_I, _I, _I, _P]),
    "bpf_link_update": (_I, [_I, _I, _P]),
    "bpf_link_detach": (_I, [_I]),
    "bpf_object__open_file": (_P, [_S, _P]),
    "bpf_object__load": (_I, [_P]),
    "bpf_object__close": (None, [_P]),
    "bpf_object__btf": (_P, [_P]),
    "btf__raw_data": (_P, [_P, _U32P]),
    "bpf_object__next_map": (_P, [_P, _P]),
    "bpf_object__next_program": (_P, [_P, _P]),
    "bpf_map__name": (_S, [_P]),
    "bpf_map__fd": (_I, [_P]),
    "bpf_map__type": (_I, [_P]),
    "bpf_map__key_size": (_U, [_P]),
    "bpf_map__value_size": (_U, [_P]),
    "bpf_map__max_entries": (_U, [_P]),
    "bpf_map__btf_key_type_id": (_U, [_P]),
    "bpf_map__btf_value_type_id": (_U, [_P]),
    "bpf_map__set_max_entries": (_I, [_P, _U]),
    "bpf_map__reuse_fd": (_I, [_P, _I]),
    "bpf_map__initial_value": (_P, [_P, POINTER(c_size_t)]),
    "bpf_map__set_initial_value": (_I, [_P, _P, c_size_t]),
    "bpf_program__name": (_S, [_P]),
    "bpf_program__fd": (_I, [_P]),
    "ring_buffer__new": (_P, [_I, SAMPLE_FN, _P, _P]),
    "ring_buffer__free": (None, [_P]),
    "ring_buffer__poll": (_I, [_P, _I]),
    "ring_buffer__consume": (_I, [_P]),
    "ring_buffer__epoll_fd": (_I, [_P]),
}

_lib: ctypes.CDLL | None = None
_log: list[str] = []
_LOG_MAX: Final = 2000
_MESSAGE_MAX: Final = 4 << 20


def _print(level: int, form: bytes, arguments: int) -> int:
    """Keeps what libbpf would print; the verifier's log comes in one piece."""
    if level > LOG_INFO or len(_log) >= _LOG_MAX:
        return 0
    # A va_list can be walked only once, so its length cannot be asked first.
    buffer = ctypes.create_string_buffer(_MESSAGE_MAX)
    _libc.vsnprintf(buffer, len(buffer), form, arguments)
    _log.append(buffer.value.decode(errors="replace").rstrip("\n"))
    return 0


_libc = ctypes.CDLL(None, use_errno=True)
_libc.vsnprintf.argtypes = [c_char_p, c_size_t, c_char_p, c_void_p]
_libc.vsnprintf.restype = c_int
_print_callback = PRINT_FN(_print)


def lib() -> ctypes.CDLL:
    """libbpf, loaded once; KernelLacks if it is missing or too old."""
    global _lib
    if _lib is None:
        _lib = _open()
    return _lib


def _open() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        remedy = "install the package of your system (Debian: apt install libbpf1)"
        raise KernelLacks("libbpf.so.1 is not installed", remedy) from None
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    found = (library.libbpf_major_version(), library.libbpf_minor_version())
    if found < MIN_VERSION:
        raise KernelLacks(f"libbpf {found[0]}.{found[1]} is too old", "install libbpf 1.1 or newer")
    library.libbpf_set_print(_print_callback)
    return library


@contextmanager
def capture() -> Iterator[list[str]]:
    """Collects what libbpf says inside the block, one string per message."""
    _log.clear()
    yield _log


def check(result: int, doing: str, *, hint: str = "", log: str = "") -> int:
    """`result` if it is not an error (libbpf 1.x returns -errno), else raises.

    Raises VrouterError with `errno` set.
    """
    if result < 0:
        raise from_errno(-result, doing, hint=hint, log=log)
    return result


def object_info(fd: int, info: ctypes.Structure) -> None:
    """Fills `info` with what the kernel says about the map, program, link or BTF `fd`."""
    length = c_uint32(ctypes.sizeof(info))
    result = lib().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length))
    check(result, "cannot ask the kernel about a BPF object")


def obj_get(path: os.PathLike[str]) -> int:
    """Opens a pin; the file descriptor closes on exec. FileNotFoundError if it is not there."""
    result: int = lib().bpf_obj_get(os.fsencode(path))
    if result == -2:
        raise FileNotFoundError(2, os.strerror(2), os.fspath(path))
    return check(result, f"cannot open the pinned object {os.fspath(path)}")


def obj_pin(fd: int, path: os.PathLike[str]) -> None:
    """Pins a map, program or link at `path` of a bpffs."""
    check(lib().bpf_obj_pin(fd, os.fsencode(path)), f"cannot pin {os.fspath(path)}")


def pinned_program(path: os.PathLike[str]) -> ProgInfo:
    """What the kernel says of the program pinned at `path`. FileNotFoundError if there is none."""
    fd = obj_get(path)
    try:
        info = ProgInfo()
        object_info(fd, info)
        return info
    finally:
        os.close(fd)


def possible_cpus() -> int:
    """How many CPUs the kernel may ever have: values of a per-CPU map per entry."""
    return check(lib().libbpf_num_possible_cpus(), "cannot read the number of CPUs")


def last_line(log: list[str]) -> str:
    """The line of a log that tells most: the last that is not a summary."""
    lines = [line.strip() for part in log for line in part.splitlines() if line.strip()]
    noise = ("-- ", "processed ", "libbpf: failed to load object", "libbpf: prog ")
    telling = [line for line in lines if not line.startswith(noise)]
    return (telling or lines or [""])[-1].removeprefix("libbpf: ")
