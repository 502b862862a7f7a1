# SPDX-License-Identifier: Apache-2.0
"""`vif`: the ports of dp-core."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vrouter.dpcore.errors import UsageError
from vrouter.dpcore.labels import VIF_TRANSPORT_NAMES, VIF_TYPE_NAMES
from vrouter.tools import argtypes
from vrouter.tools.common import Later, ToolParser, refuse_with, run_tool

EXAMPLES = """\
  vif --list                   every vif with its counters
  vif --get 2                  one vif, by number or device name
  vif --get 2 --get-drop-stats why that vif dropped packets
  vif --create vhost0 --mac 02:00:00:00:01:01
                               make the device vhost0
  vif --add eth1 --mac 02:00:00:00:01:01 --vrf 0 --type physical --vhost-phys
  vif --add vhost0 --mac 02:00:00:00:01:01 --vrf 0 --type vhost --xconnect eth1
                               the fabric's NIC and the host's port, cross-connected
  vif --add tap1 --mac 00:00:5e:00:01:00 --vrf 1 --type virtual
                               a VM's port
  vif --set 5 --vrf 2          move a vif to another VRF
  vif --delete tap1            forget a vif; its device stays
"""


def build_parser() -> ToolParser:
    """The parser of `vif`."""
    parser = ToolParser(
        "vif",
        "Show and change vifs, the ports of dp-core; each is bound to a netdevice. RX is what "
        "dp-core received from the device, TX what it sent to it.",
        EXAMPLES,
    )
    group = parser.add_argument_group("actions")
    actions = group.add_mutually_exclusive_group(required=True)
    add = actions.add_argument
    add("--list", action="store_true", help="show every vif")
    add(
        "--get",
        type=argtypes.vif,
        metavar="VIF",
        help="show one vif, by number or device name",
    )
    add(
        "--create",
        type=argtypes.device_name,
        metavar="NAME",
        help="make the vhost device NAME; needs --mac",
    )
    add(
        "--add",
        type=argtypes.device_name,
        metavar="NAME",
        help="make a vif of device NAME; needs --mac, --vrf and --type",
    )
    add(
        "--delete",
        type=argtypes.vif,
        metavar="VIF",
        help="remove a vif, by number or device name",
    )
    add("--set", type=argtypes.vif, metavar="VIF", help="change a vif; needs --vrf")
    add("--clear", action="store_true", help="set counters to 0: of all vifs, or of --id")
    _add_fields(parser)
    parser.add_common()
    parser.set_defaults(prog="vif")
    return parser


def _add_fields(parser: ToolParser) -> None:
    add = parser.add_argument_group("fields").add_argument
    add("--mac", type=argtypes.unicast_mac, metavar="MAC", help="MAC address of the vif")
    add("--vrf", type=argtypes.vrf, metavar="VRF", help="VRF of the vif; 65535 is none")
    add("--type", choices=list(VIF_TYPE_NAMES), metavar="TYPE", help=", ".join(VIF_TYPE_NAMES))
    add(
        "--transport",
        choices=list(VIF_TRANSPORT_NAMES),
        metavar="HOW",
        help="virtual, eth (default), pmd, socket",
    )
    add(
        "--id",
        type=argtypes.vif_id,
        metavar="N",
        help="number of the vif (default: the device's ifindex where that is free and below "
        "4350, else the lowest free number); with --clear the vif to clear",
    )
    add("--xconnect", metavar="DEV", help="physical device that a vhost vif is the twin of")
    add("--policy", action="store_true", help="policy is applied (P)")
    add("--vhost-phys", action="store_true", help="the physical device of a vhost (Vp)")
    add("--dhcp-enable", action="store_true", help="DHCP requests are trapped (D)")
    add(
        "--gateway",
        action="append",
        type=argtypes.host_ip,
        metavar="IP",
        help="the router's address towards the guest, of IPv4 or IPv6; may be given once for each: "
        "the source of ICMP errors to the guest",
    )
    add("--core", type=argtypes.cpu, metavar="N", help="show only what CPU N counted")
    add("--get-drop-stats", action="store_true", help="with --get: drops by reason")
    add(
        "--kernel",
        action="store_true",
        help="with --get: VIF is the ifindex of a netdevice (`ip link` shows it)",
    )
    for option in ("--rate", "--pmd", "--vif"):
        nargs = 1 if option == "--vif" else 0
        add(option, action=Later, nargs=nargs, help=argparse.SUPPRESS)
    for option in ("--pci", "--vlan", "--guid", "--loopback_ip"):
        add(option, action=Later, nargs=1, help=argparse.SUPPRESS)


# Options that an action has a use for, besides the common ones.
USES = {
    "list": ("core",),
    "get": ("core", "get_drop_stats", "kernel"),
    "create": ("mac",),
    "add": (
        *("mac", "vrf", "type", "transport", "id", "xconnect"),
        *("policy", "vhost_phys", "dhcp_enable", "gateway"),
    ),
    "delete": (),
    "set": ("vrf",),
    "clear": ("id",),
}
FIELDS = tuple(dict.fromkeys(name for names in USES.values() for name in names))


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    action = next(name for name in USES if getattr(args, name) not in (None, False))
    refuse_with(args, f"--{action}", [name for name in FIELDS if name not in USES[action]])
    if action in ("list", "get"):
        from vrouter.tools import vif_show  # noqa: PLC0415 - half of the module each

        vif_show.show(args)
        return
    from vrouter.tools import vif_write  # noqa: PLC0415

    needed = {"create": ("mac",), "add": ("mac", "vrf", "type"), "set": ("vrf",)}
    missing = [f"--{name}" for name in needed.get(action, ()) if getattr(args, name) is None]
    if missing:
        raise UsageError(f"--{action} needs {' and '.join(missing)}; see vif --help")
    getattr(vif_write, action)(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vif`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
