# SPDX-License-Identifier: Apache-2.0
"""Speed of dp-core, side by side with the kernel's own forwarding in the same run."""
