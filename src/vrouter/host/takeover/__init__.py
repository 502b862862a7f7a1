# SPDX-License-Identifier: Apache-2.0
"""vhost0 takes a NIC's place, and gives it back.

`up` and `down` make a list of steps from what is there; `steps` runs them. `state` is what is
written to disk before the first one, enough to go back after a kill or a reboot. `guard` is the
process that goes back when the command is killed or nobody confirms.
"""
