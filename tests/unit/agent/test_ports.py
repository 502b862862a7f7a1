# SPDX-License-Identifier: Apache-2.0
"""A file that is applied takes no port its device, and gets what a port had made before."""

from __future__ import annotations

import msgspec
from tests.unit.agent.builders import BLUE, interface

from vrouter.agent.desired.ports import with_ports
from vrouter.agent.desired.records import Interface
from vrouter.agent.desired.state import State

UUID = "00000000-0000-0000-0000-00000000000a"
BOUND = interface(1, uuid=UUID)
IN_FILE = msgspec.structs.replace(BOUND, device="")


def test_a_device_that_a_port_brought_stays() -> None:
    state = State()
    state.change([BLUE, IN_FILE], (), "file")
    state.change([BOUND], (), "file")
    assert with_ports(state, [BLUE, IN_FILE]) == ([BLUE, BOUND], [])
    other = msgspec.structs.replace(BOUND, device="tap9")
    assert with_ports(state, [other]) == ([other], [])


def test_what_a_port_made_gives_way() -> None:
    state = State()
    made = msgspec.structs.replace(BOUND, name=UUID)
    state.change([BLUE], (), "file")
    state.change([made], (), "port")
    records, way = with_ports(state, [BLUE, IN_FILE])
    assert (records, way) == ([BLUE, BOUND], [("interface", UUID)])
    state.change(records, way, "file")
    assert [one.name for one in state.all(Interface)] == ["vm1"]


def test_others_are_left_alone() -> None:
    state = State()
    state.change([BLUE, interface(2)], (), "file")
    assert with_ports(state, [BLUE, interface(2), IN_FILE]) == ([BLUE, interface(2), IN_FILE], [])
