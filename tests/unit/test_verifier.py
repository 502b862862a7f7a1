# SPDX-License-Identifier: Apache-2.0
"""How much of the verifier's limit dp-core takes: what is near it fails on another kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.conftest import SUMMARY

from vrouter.dpcore import libbpf, loader
from vrouter.dpcore.exchange import ENTRY, MAIN
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.sizes import SMALL

# BPF_COMPLEXITY_LIMIT_INSNS of <linux/bpf.h>: instructions that the verifier follows at most
KERNEL_LIMIT = 1_000_000
LIMIT = KERNEL_LIMIT // 2


@pytest.mark.parametrize("test_mode", [False, True], ids=["as-installed", "test-mode"])
def test_half_of_the_verifiers_limit_is_enough(
    instance: Instance, test_mode: bool, record_property: Callable[[str, object], None]
) -> None:
    loader.load(instance, SMALL, test_mode=test_mode)
    pins = sorted(instance.prog_dir.iterdir())
    assert {ENTRY, MAIN} <= {pin.name for pin in pins}
    counts = {pin.name: libbpf.pinned_program(pin).verified_insns for pin in pins}
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    mode = " (test mode)" if test_mode else ""
    record_property(SUMMARY, f"instructions verified{mode}: {told}; limit {LIMIT:,}")
    assert all(0 < count <= LIMIT for count in counts.values()), counts
