# SPDX-License-Identifier: Apache-2.0
"""Are the tables what the desired state comes to? Asked from outside, with an agent or without."""

from __future__ import annotations

from vrouter.agent import tap, watch
from vrouter.agent.daemon import database
from vrouter.agent.plan.entries import Diff
from vrouter.agent.reconcile import Reconciler
from vrouter.dpcore.instance import Instance


def difference(instance: Instance) -> Diff:
    """What the tables lack, and have too much, of a plan made from scratch of what is stored.

    Call it in the instance's network namespace. Changes nothing.
    """
    tables = Reconciler(instance, database(instance))
    try:
        tables.load()
        tables.read_fabric()
        tables.facts.pkt0 = watch.read_device(tap.PKT0)
        tables.read_groups()
        tables.planner.replan(tables.planner.all_units())
        return tables.difference()
    finally:
        tables.close()
