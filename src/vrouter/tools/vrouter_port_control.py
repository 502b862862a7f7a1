# SPDX-License-Identifier: Apache-2.0
"""`vrouter-port-control`: add, delete and switch a port, with upstream's options.

The port's file is written first, so that a port is not lost while no agent runs: the agent reads
the files at its start (ctl:vnsw/agent/port_ipc/vrouter-port-control).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vrouter.api import client, portfile
from vrouter.api.paths import ports_dir, socket_path
from vrouter.dpcore.errors import Refused, UsageError
from vrouter.dpcore.instance import find_instance
from vrouter.tools.common import ToolParser, report, run_tool

EXAMPLES = """\
  vrouter-port-control --oper=add --uuid=6b2a6e1e-5d3c-4c39-9d4e-0d6a6f9f2a01 \\
    --instance_uuid=b2c7e3a0-9b1f-4f0e-8a55-0c8d1a2b3c4d \\
    --vn_uuid=11111111-2222-3333-4444-555555555555 --vm_name=vm1 --ip_address=10.1.1.1 \\
    --mac=02:00:0a:01:01:01 --tap_name=tap6b2a6e1e-5d
  vrouter-port-control --oper=delete --uuid=6b2a6e1e-5d3c-4c39-9d4e-0d6a6f9f2a01
"""
AUTHOR = "vrouter-port-control"
_NONE = "00000000-0000-0000-0000-000000000000"


def build_parser() -> ToolParser:
    """The parser of `vrouter-port-control`."""
    parser = ToolParser(
        "vrouter-port-control",
        "Add a port of a VM or container to the vRouter, delete it, switch it on or off. Its file "
        "is written first; where no agent answers that suffices: the agent reads it at its start.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("--oper", required=True, choices=["add", "delete", "enable", "disable"], help="what to do")
    add("--uuid", required=True, metavar="UUID", help="the port (virtual-machine interface)")
    add("--instance_uuid", default=_NONE, metavar="UUID", help="the VM")
    add("--vn_uuid", default=_NONE, metavar="UUID", help="the network, by its UUID or its name")
    add("--vm_project_uuid", default=_NONE, metavar="UUID", help="the VM's project")
    add(
        "--ip_address",
        default="0.0.0.0",
        metavar="IP",
        help="its IPv4 address; 0.0.0.0 or None: as the desired state says",
    )
    add("--ipv6_address", default="None", metavar="IP", help="its IPv6 address, or None")
    add("--vm_name", default="", metavar="NAME", help="name of the VM")
    add("--mac", metavar="MAC", help="the VM's MAC address")
    add("--tap_name", metavar="DEV", help="the netdevice that carries it")
    add(
        "--port_type",
        default="NovaVMPort",
        choices=["NovaVMPort", "NameSpacePort", "ESXiPort", "RemotePort"],
        help="what it belongs to; only an ESXiPort can be switched",
    )
    add("--vif_type", default="Vrouter", choices=["Vrouter", "VhostUser"], help="Vrouter only")
    add("--tx_vlan_id", type=int, default=-1, metavar="N", help="-1, for none")
    add("--rx_vlan_id", type=int, default=-1, metavar="N", help="-1, for none")
    add("--vhostuser_mode", type=int, metavar="N", help="taken and kept; there is no DPDK here")
    add("--vhostuser_socket", metavar="PATH", help=argparse.SUPPRESS)
    add("--vnic_type", metavar="TYPE", help=argparse.SUPPRESS)
    add("--pci_dev", metavar="DEV", help=argparse.SUPPRESS)
    add("--no_persist", action="store_true", help="write no file")
    parser.add_common()
    parser.set_defaults(prog="vrouter-port-control")
    return parser


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    if args.vif_type == "VhostUser" or args.vhostuser_socket or args.pci_dev:
        raise Refused(
            "ports of DPDK (VhostUser) and of offloading NICs have no netdevice that dp-core could "
            "be attached to: use a tap, with --vif_type=Vrouter"
        )
    try:
        portfile.check_uuid(args.uuid, "--uuid")
        port = _port(args) if args.oper == "add" else None
    except portfile.BadPort as error:
        raise UsageError(str(error)) from None
    instance = find_instance(args.name)
    file = None if args.no_persist else ports_dir(instance.name) / args.uuid
    socket = str(socket_path(instance.run_dir))
    if port is not None:
        _add(args, port, file, socket)
    elif args.oper == "delete":
        if file is not None:
            file.unlink(missing_ok=True)
        _call(args, socket, "DELETE", f"/port/{args.uuid}")
    else:
        _call(args, socket, "PUT", f"/{args.oper}-port/{args.uuid}")


def _port(args: argparse.Namespace) -> dict[str, Any]:
    for option in ("mac", "tap_name"):
        if getattr(args, option) is None:
            raise UsageError(f"--{option} is missing: --oper add needs it")
    mode = {} if args.vhostuser_mode is None else {"vhostuser-mode": args.vhostuser_mode}
    return portfile.check_port(
        {
            "id": args.uuid,
            "instance-id": args.instance_uuid,
            "vn-id": args.vn_uuid,
            "vm-project-id": args.vm_project_uuid,
            "display-name": args.vm_name,
            "ip-address": args.ip_address,
            "ip6-address": args.ipv6_address,
            "system-name": args.tap_name,
            "mac-address": args.mac,
            "type": portfile.TYPES[args.port_type],
            "rx-vlan-id": args.rx_vlan_id,
            "tx-vlan-id": args.tx_vlan_id,
            **mode,
        }
    )


def _add(args: argparse.Namespace, port: dict[str, Any], file: Path | None, socket: str) -> None:
    """The file of a port that the agent refuses is put back as it was."""
    before = file.read_bytes() if file is not None and file.exists() else None
    if file is not None:
        portfile.write(file, portfile.stamped(port, AUTHOR))
    try:
        _call(args, socket, "POST", "/port", port)
    except Refused:
        if file is not None and before is not None:
            file.write_bytes(before)
        elif file is not None:
            file.unlink(missing_ok=True)
        raise


def _call(args: argparse.Namespace, socket: str, method: str, url: str, body: Any = None) -> None:
    """Raises Refused with what the agent says; no agent is no error where a file is enough."""
    done = f"{args.oper} of port {args.uuid}"
    try:
        status, answer = client.call(socket, method, url, body)
    except client.NoAgent as error:
        if args.oper in ("enable", "disable"):
            raise Refused(f"{done}: the agent does not answer ({error})") from None
        report(args, f"{done}: in its file; the agent does not answer ({error})", changed=True)
        return
    if status != 200:
        why = answer if isinstance(answer, str) else str(answer.get("error", status))
        raise Refused(f"{done} is refused: {why.strip('{}')}")
    report(args, f"{done}: done", changed=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vrouter-port-control`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
