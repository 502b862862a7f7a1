# SPDX-License-Identifier: Apache-2.0
"""The reference model: what dp-core must do with a packet, in plain Python.

It is a specification that people read and tests run. It imports nothing of the
product: numbers, headers and rules stand here a second time, on purpose.

Read in this order: `state` (the tables), `forward` (a packet's way in),
`l2` and `l3` (look-ups), `nexthop`, `tunnel`, `composite`, `decap`, `arp`.
"""
