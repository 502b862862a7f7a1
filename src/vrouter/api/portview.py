# SPDX-License-Identifier: Apache-2.0
"""Ports as GET /port and /vm show them: upstream's keys, and a few of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from vrouter.agent.desired.records import Interface, Network


def view(
    interface: Interface | None, network: Network | None, data: Mapping[str, Any]
) -> dict[str, Any]:
    """A port as GET shows it: `data`, and what the desired state makes of it."""
    shown: dict[str, Any] = dict(data)
    if interface is None:
        return shown
    shown |= {
        "id": interface.uuid or interface.name,
        "vmi-uuid": interface.uuid or interface.name,
        "instance-id": interface.vm_uuid,
        "display-name": interface.vm,
        "vn-id": (network.uuid if network is not None else "") or data.get("vn-id", ""),
        "vn-name": interface.network,
        "vm-project-id": interface.project,
        "mac-address": interface.mac,
        "system-name": interface.device,
        "rx-vlan-id": interface.vlan or -1,
        "tx-vlan-id": interface.vlan or -1,
        "sub-interface": bool(interface.parent),
        "vlan-id": interface.vlan,
    }
    for key, address in zip(("", "v6-"), _first(interface.addresses), strict=True):
        if address:
            shown[f"{key}ip-address"] = address
            shown |= _subnet(network, address, key)
    return shown


def _first(addresses: Iterable[str]) -> tuple[str, str]:
    """The first address of each version, "" for none."""
    found = list(addresses)
    four = next((one for one in found if ":" not in one), "")
    return four, next((one for one in found if ":" in one), "")


def _subnet(network: Network | None, address: str, key: str) -> dict[str, Any]:
    for one in network.subnets if network is not None else ():
        prefix = ip_network(one.prefix)
        if ip_address(address) in prefix:
            return {
                f"{key}plen": prefix.prefixlen,
                f"{key}gateway": one.gateway,
                f"{key}dns-server": one.dns or one.gateway,
            }
    return {}
