# SPDX-License-Identifier: Apache-2.0
"""What a netdevice has of the host's network, read so that another device can be given it.

A file for each kind: addresses, routes, rules, neighbours, groups (multicast), sysctls. Where the
kernel talks netlink, what is kept are its own messages as bytes, so what is put back has every
attribute that it had. `snapshot` holds all of it for one device, `handover` gives and takes it.
"""
