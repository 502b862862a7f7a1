# SPDX-License-Identifier: Apache-2.0
"""A whole network of hosts and VMs in namespaces, for the demo, for tests and for learning."""
