# SPDX-License-Identifier: Apache-2.0
"""Packets through dp-core, one at a time, compared with the model."""
