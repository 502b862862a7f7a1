# SPDX-License-Identifier: Apache-2.0
"""Who gave the NIC its addresses, and whether they can be carried on by vhost0.

systemd-networkd and NetworkManager are known by their state under /run (sd-network's link files,
NetworkManager's device files), ifupdown by its ifstate, DHCP clients by their processes.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from vrouter.host.holders import dhclient, processes
from vrouter.host.holders.dhclient import Client
from vrouter.host.holders.finding import Finding
from vrouter.host.nic import addresses
from vrouter.host.nic.snapshot import Snapshot

_GUIDE = "docs/how-to/take-over-a-nic.md"


def find(snapshot: Snapshot, root: Path, *, home: bool) -> tuple[list[Finding], list[Client]]:
    """What manages the NIC, and the DHCP clients that will follow its address.

    `root` is where /run is; `home`: this is the machine's own network namespace, in which
    networkd, NetworkManager and ifupdown work.
    """
    name = snapshot.device.name
    found: list[Finding] = []
    if home:
        found += [*_networkd(snapshot, root), *_network_manager(snapshot, root)]
        found += _ifupdown(name, root)
    clients, odd = dhclient.find(name)
    found += [Finding("dhcp", text, f"give {name} a dhclient of its own", True) for text in odd]
    found += _other_clients(name)
    if not any(one.blocks for one in found):
        found += _unowned(snapshot, clients)
    return found, clients


def _networkd(snapshot: Snapshot, root: Path) -> list[Finding]:
    name = snapshot.device.name
    state = _settings(root / f"run/systemd/netif/links/{snapshot.device.ifindex}")
    if state.get("ADMIN_STATE", "unmanaged") in ("unmanaged", "pending", "initialized"):
        return []
    file = state.get("NETWORK_FILE", "a .network file")
    remedy = (
        f"in {file} let [Match] say Name=vhost0, add [Match] Name={name} [Link] Unmanaged=yes as "
        f"/etc/systemd/network/05-{name}.network, enable vrouter-vhost@{name}.service and reboot "
        f"({_GUIDE})"
    )
    return [Finding("manager", f"systemd-networkd manages {name} by {file}", remedy, True)]


def _network_manager(snapshot: Snapshot, root: Path) -> list[Finding]:
    name = snapshot.device.name
    state = _settings(root / f"run/NetworkManager/devices/{snapshot.device.ifindex}")
    connection = state.get("connection-uuid")
    if not connection or state.get("managed") == "false":
        return []
    remedy = (
        f"let connection {connection} name vhost0 (nmcli connection modify {connection} "
        f"connection.interface-name vhost0), set unmanaged-devices=interface-name:{name} in "
        f"/etc/NetworkManager/conf.d, enable vrouter-vhost@{name}.service and reboot ({_GUIDE})"
    )
    text = f"NetworkManager manages {name} by connection {connection}"
    return [Finding("manager", text, remedy, True)]


def _ifupdown(name: str, root: Path) -> list[Finding]:
    with contextlib.suppress(OSError):
        lines = (root / "run/network/ifstate").read_text(encoding="utf-8").splitlines()
        if any(line.partition("=")[0] == name for line in lines):
            text = f"ifupdown brought up {name}"
            remedy = (
                f"run no ifdown {name} before `vrouter vhost down`; for the next boot let "
                f"/etc/network/interfaces configure vhost0, `vrouter-physical {name}` ({_GUIDE})"
            )
            return [Finding("manager", text, remedy, False)]
    return []


def _other_clients(name: str) -> list[Finding]:
    found = []
    for one in processes.called("dhcpcd", "udhcpc", "busybox"):
        if one.argv[:1] and "udhcpc" in " ".join(one.argv[:2]) and name in one.argv:
            text = f"udhcpc (process {one.pid}) leases {name}'s address"
            remedy = f"run dhclient instead, or start udhcpc -i vhost0 at boot ({_GUIDE})"
            found.append(Finding("dhcp", text, remedy, True))
        elif "dhcpcd" in one.exe:
            text = f"dhcpcd (process {one.pid}) may manage {name}"
            remedy = f"put `denyinterfaces {name}` into dhcpcd.conf and reboot ({_GUIDE})"
            found.append(Finding("dhcp", text, remedy, True))
    return found


def _unowned(snapshot: Snapshot, clients: list[Client]) -> list[Finding]:
    """Addresses that would end one day with nobody to renew them on vhost0."""
    families = {client.family for client in clients}
    stable = snapshot.sysctls.get("ipv6/conf/addr_gen_mode") in ("2", "3")
    found = []
    for body in snapshot.addresses:
        if not addresses.is_leased(body) or addresses.is_temporary(body):
            continue
        text = addresses.text(body)
        if addresses.is_advertised(body):
            if stable:
                remedy = f"set net.ipv6.conf.{snapshot.device.name}.addr_gen_mode=0 first"
                why = "is of a kind (stable-privacy) that vhost0 would not get again"
                found.append(Finding("address", f"{text} {why}", remedy, True))
        elif ("4" if len(addresses.key(body)[2]) == 4 else "6") not in families:
            remedy = "make it permanent, or lease it with dhclient"
            found.append(Finding("address", f"{text}: nobody renews it", remedy, True))
    return found


def _settings(file: Path) -> dict[str, str]:
    """KEY=VALUE lines of a state file; {} when it is not there."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = [line.partition("=") for line in lines if "=" in line]
    return {key.strip(): value.strip() for key, _, value in pairs}
