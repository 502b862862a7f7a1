# SPDX-License-Identifier: Apache-2.0
"""Tests with other implementations at the far end."""
