# SPDX-License-Identifier: Apache-2.0
"""What dp-core needs of Linux: namespaces, netdevices, and vhost0 in the place of a NIC."""
