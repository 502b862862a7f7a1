# SPDX-License-Identifier: Apache-2.0
"""dp-core seen from Python: load it, attach it, read and write its tables.

The only package that calls bpf(2). Import the module that you need
(`vrouter.dpcore.core`, `vrouter.dpcore.loader`, ...): this file imports
nothing, so that a small tool starts fast.
"""
