# SPDX-License-Identifier: Apache-2.0
"""What VMs are served by TCP: DNS, metadata, link-local services.

The kernel's own TCP takes their connections, in a network namespace for each network, since
tenants' addresses overlap. The namespace is behind a vif of its own, is made of the first packet,
and has no name: it goes with the agent's process, whose sockets it holds.
"""
