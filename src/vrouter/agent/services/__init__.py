# SPDX-License-Identifier: Apache-2.0
"""What the agent answers to VMs through pkt0: one file per packet service.

A service is sans-io: a trapped packet and the time go in, actions come out; `agent/pkt0.py`
carries them out.
"""
