# SPDX-License-Identifier: Apache-2.0
"""Results and errors in the form of each version of CNI."""

from __future__ import annotations

import ipaddress
from typing import Any

from vrouter.agent.desired.records import Interface, Network, Subnet
from vrouter.cni.request import VERSIONS, CniError, Request

Json = dict[str, Any]


def error(request_version: object, problem: CniError) -> Json:
    """An error as it is printed; of the newest version where the request's is unknown."""
    version = request_version if request_version in VERSIONS else VERSIONS[-1]
    found: Json = {"cniVersion": version, "code": problem.code, "msg": str(problem)}
    return {**found, "details": problem.details} if problem.details else found


def subnet_of(network: Network, address: str) -> Subnet:
    """The subnet that an address of the network is in."""
    return next(
        one
        for one in network.subnets
        if ipaddress.ip_address(address) in ipaddress.ip_network(one.prefix)
    )


def success(request: Request, interface: Interface, network: Network, mac: str, mtu: int) -> Json:
    """What ADD prints. mac: of the host's end of the veth."""
    host: Json = {"name": interface.device, "mac": mac}
    inside: Json = {"name": request.ifname, "mac": interface.mac, "sandbox": request.netns[-1]}
    if request.version == "1.1.0":
        host["mtu"] = inside["mtu"] = mtu
    subnets = {address: subnet_of(network, address) for address in interface.addresses}
    return {
        "cniVersion": request.version,
        "interfaces": [host, inside],
        "ips": [_ip(request.version, *one) for one in subnets.items()],
        "routes": routes(request, list(subnets.values())),
        "dns": _dns(list(subnets.values())),
    }


def _ip(version: str, address: str, subnet: Subnet) -> Json:
    length = ipaddress.ip_network(subnet.prefix).prefixlen
    found: Json = {"address": f"{address}/{length}", "interface": 1}
    if subnet.gateway:
        found["gateway"] = subnet.gateway
    if version in ("0.3.1", "0.4.0"):
        found["version"] = "6" if ":" in address else "4"
    return found


def routes(request: Request, subnets: list[Subnet]) -> list[Json]:
    """The routes that a container gets: by default, and those of its subnets."""
    found: list[Json] = []
    for subnet in subnets:
        if subnet.gateway and request.default_route:
            whole = "::/0" if ":" in subnet.gateway else "0.0.0.0/0"
            found.append({"dst": whole, "gw": subnet.gateway})
        found += [{"dst": one.prefix, "gw": one.next_hop} for one in subnet.host_routes]
    return found


def _dns(subnets: list[Subnet]) -> Json:
    servers: list[str] = []
    for one in subnets:
        own = one.dns or one.gateway
        servers += one.dns_servers or ([own] if own else [])
    found: Json = {"nameservers": list(dict.fromkeys(servers))} if servers else {}
    domains = list(dict.fromkeys(one.domain for one in subnets if one.domain))
    if domains:
        found |= {"domain": domains[0], "search": domains}
    return found
