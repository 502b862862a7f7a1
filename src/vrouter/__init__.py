# SPDX-License-Identifier: Apache-2.0
"""A virtual router for overlay networks: eBPF in the kernel, Python around it."""

__version__ = "0.1.0"
