# SPDX-License-Identifier: Apache-2.0
"""What the runtime folder of an instance says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vrouter.dpcore.errors import NotLoaded

if TYPE_CHECKING:
    from vrouter.dpcore.instance import Instance


def registered(instance: Instance) -> dict[str, Any]:
    """The record that `vrouter load` left; NotLoaded if there is none or dp-core is gone."""
    record = instance.registered()
    if record is None or not instance.is_loaded():
        raise NotLoaded(instance.name)
    return record
