# SPDX-License-Identifier: Apache-2.0
"""The os-vif plugin `vrouter`: a tap for each VIFGeneric, and a port for it.

As upstream's nova driver: the tap is made, the port's file is written, the agent is told; where
no agent answers the file suffices.
"""

from __future__ import annotations

import os
from typing import Any

from os_vif import exception, objects, plugin

from vrouter.api import client, portfile
from vrouter.api.paths import ports_dir
from vrouter.dpcore.errors import VrouterError
from vrouter.osvif import privileged

AUTHOR = "os-vif"
DEFAULT_MTU = 1500
_NONE = portfile.NIL


class VRouterPlugin(plugin.PluginBase):  # type: ignore[misc]
    """Plugs and unplugs VIFs of type VIFGeneric."""

    def describe(self) -> Any:
        """What nova asks at its start: the types and versions of VIF that this takes."""
        return objects.host_info.HostPluginInfo(
            plugin_name="vrouter",
            vif_info=[
                objects.host_info.HostVIFInfo(
                    vif_object_name=objects.vif.VIFGeneric.__name__,
                    min_version="1.0",
                    max_version="1.0",
                )
            ],
        )

    def plug(self, vif: Any, instance_info: Any) -> None:
        """Make the tap and add the port. Raises PlugException."""
        self._check(vif, exception.PlugException)
        try:
            port = portfile.check_port(_port(vif, instance_info))
            privileged.make_tap(vif.vif_name, _mtu(vif))
            file = ports_dir(_instance()) / vif.id
            portfile.write(file, portfile.stamped(port, AUTHOR))
            _call("POST", "/port", port)
        except (VrouterError, portfile.BadPort, OSError) as error:
            raise exception.PlugException(vif=vif, err=str(error)) from error

    def unplug(self, vif: Any, instance_info: Any) -> None:
        """Remove the port and its tap; what is gone already is no error. Raises UnplugException."""
        self._check(vif, exception.UnplugException)
        try:
            (ports_dir(_instance()) / portfile.check_uuid(vif.id, "id")).unlink(missing_ok=True)
            _call("DELETE", f"/port/{vif.id}")
            privileged.delete(vif.vif_name)
        except (VrouterError, portfile.BadPort, OSError) as error:
            raise exception.UnplugException(vif=vif, err=str(error)) from error

    def _check(self, vif: Any, refused: Any) -> None:
        if isinstance(vif, objects.vif.VIFGeneric):
            return
        why = f"{type(vif).__name__} is not one that vRouter plugs: it takes VIFGeneric (a tap)"
        if isinstance(vif, objects.vif.VIFVHostUser):
            why = (
                "VIFVHostUser needs DPDK, which this vRouter has not: its ports are netdevices; "
                "give the network or the flavor no vhost-user and no huge pages"
            )
        raise refused(vif=vif, err=why)


def _instance() -> str:
    return os.environ.get("VROUTER_NAME") or "vrouter"


def _mtu(vif: Any) -> int:
    mtu = vif.network.mtu if "network" in vif and "mtu" in vif.network else None
    return int(mtu or DEFAULT_MTU)


def _port(vif: Any, instance: Any) -> dict[str, Any]:
    addresses = list(_addresses(vif))
    four = next((one for one in addresses if ":" not in one), "0.0.0.0")
    six = next((one for one in addresses if ":" in one), "None")
    project = instance.project_id if "project_id" in instance else None
    return {
        "id": vif.id,
        "instance-id": instance.uuid,
        "vn-id": vif.network.id,
        "vm-project-id": project or _NONE,
        "display-name": instance.name,
        "ip-address": four,
        "ip6-address": six,
        "system-name": vif.vif_name,
        "mac-address": vif.address,
        "type": 0,
        "rx-vlan-id": -1,
        "tx-vlan-id": -1,
    }


def _addresses(vif: Any) -> list[str]:
    """The addresses that neutron gave the port: first those of the first subnet."""
    if "subnets" not in vif.network:
        return []
    found = []
    for subnet in vif.network.subnets:
        found += [str(one.address) for one in subnet.ips] if "ips" in subnet else []
    return found


def _call(method: str, url: str, body: Any = None) -> None:
    try:
        status, answer = client.call(client.find_socket(_instance()), method, url, body)
    except client.NoAgent:
        return  # it reads the file at its start
    if status != 200:
        why = answer if isinstance(answer, str) else answer.get("error", status)
        raise VrouterError(f"the vRouter agent refused: {str(why).strip('{}')}")
