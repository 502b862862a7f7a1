# SPDX-License-Identifier: Apache-2.0
"""CNI: `shim` is what a container runtime runs, the rest is the agent's side of it."""
