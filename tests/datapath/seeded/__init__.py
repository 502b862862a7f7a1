# SPDX-License-Identifier: Apache-2.0
"""Bugs on purpose: what the tests of the data path must notice."""
