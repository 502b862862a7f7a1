# SPDX-License-Identifier: Apache-2.0
"""From the desired state to entries of dp-core's tables: pure, object by object."""
