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
  vif --list --rate            how much each carries now
  vif --get 2 --get-drop-stats why that vif dropped packets
  vif --create vhost0 --mac 02:00:00:00:01:01
                               make the device vhost0
  vif --add eth1 --mac 02:00:00:00:01:01 --vrf 0 --type physical --vhost-phys
  vif --add vhost0 --mac 02:00:00:00:01:01 --vrf 0 --type vhost --xconnect eth1
                               the fabric's NIC and the host's port, cross-connected
  vif --add tap1 --mac 00:00:5e:00:01:00 --vrf 1 --type virtual
                               a VM's port
  vif --add sub1 --mac 00:00:5e:00:01:00 --vrf 2 --type virtual-vlan --vif tap1 --vlan 100
                               the frames of VLAN 100 of tap1 are a port of their own
  vif --set 5 --vrf 2          move a vif to another VRF
  vif --set tap1 --allow 02:00:0a:01:01:01,10.1.1.1 --allow 02:00:0a:01:01:01,fd00:1::1
                               all that may speak on a VM's port; --allow any: do not check
  vif --set tap1 --mirror 1    copy what passes the vif, see mirror(1)
  vif --set tap1 --qos 2       classify what the vif receives, see qosmap(1)
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
    add("--set", type=argtypes.vif, metavar="VIF", help="change what the fields name of a vif")
    add(
        "--clear",
        action="store_true",
        help="set counters to 0: of all vifs, or of --id; with --core of one CPU",
    )
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
        "--allow",
        type=argtypes.source,
        action="append",
        metavar="MAC[,PREFIX]",
        help="with --set: a MAC that a VM may use, with the prefix that it may use with it; "
        "several make the whole table. none: nothing may speak; any: no table, no check",
    )
    add(
        "--trust",
        type=argtypes.roles,
        metavar="ROLES",
        help="with --set: what a VM with such a table may be besides, any of dhcp, router, bridge "
        "with commas between, or none",
    )
    add("--mirror", type=argtypes.mirror, metavar="N", help="with --set: copies go to mirror N")
    add(
        "--mirror-direction",
        choices=["rx", "tx", "both", "none"],
        metavar="HOW",
        help="rx (what the vif receives), tx, both (default) or none",
    )
    add(
        "--qos",
        type=argtypes.qos_map_or_none,
        metavar="N",
        help="with --set: QoS map of what the vif receives, or none",
    )
    add(
        "--gateway",
        action="append",
        type=argtypes.host_ip,
        metavar="IP",
        help="the router's address towards the guest, of IPv4 or IPv6; may be given once for each: "
        "the source of ICMP errors to the guest",
    )
    add("--core", type=argtypes.cpu, metavar="N", help="show, or clear, only what CPU N counted")
    add("--get-drop-stats", action="store_true", help="with --get: drops by reason")
    add(
        "--kernel",
        action="store_true",
        help="with --get: VIF is the ifindex of a netdevice (`ip link` shows it)",
    )
    add("--vif", type=argtypes.vif, metavar="VIF", help="vif that a virtual-vlan vif is part of")
    add("--vlan", type=argtypes.vlan, metavar="VLAN", help="VLAN of the frames that it receives")
    add(
        "--ovlan",
        type=argtypes.vlan,
        metavar="VLAN",
        help="VLAN of the frames that it sends (default: that of --vlan)",
    )
    add(
        "--src-mac",
        type=argtypes.unicast_mac,
        action="append",
        metavar="MAC",
        help="receive frames of this sender only; up to four",
    )
    add(
        "--flags",
        type=argtypes.vif_flags,
        metavar="FLAGS",
        help="flags to set and, with a minus, to clear: P,Ig,-D; any of " + argtypes.FLAG_WORDS,
    )
    add(
        "--rate",
        action="store_true",
        help="with --list and --get: packets and bits a second, over one second, instead",
    )
    add("--pmd", action=Later, nargs=0, help=argparse.SUPPRESS)
    for option in ("--pci", "--guid", "--loopback_ip"):
        add(option, action=Later, nargs=1, help=argparse.SUPPRESS)


# Options that an action has a use for, besides the common ones.
USES = {
    "list": ("core", "rate"),
    "get": ("core", "get_drop_stats", "kernel", "rate"),
    "create": ("mac",),
    "add": (
        *("mac", "vrf", "type", "transport", "id", "xconnect"),
        *("policy", "vhost_phys", "dhcp_enable", "gateway"),
        *("vif", "vlan", "ovlan", "src_mac", "flags"),
    ),
    "delete": (),
    "set": (
        *("vrf", "vlan", "ovlan", "src_mac", "flags", "policy", "dhcp_enable", "allow", "trust"),
        *("mirror", "mirror_direction", "qos"),
    ),
    "clear": ("id", "core"),
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
    if action == "set":
        from vrouter.tools import vif_set  # noqa: PLC0415

        vif_set.set_fields(args)
        return
    from vrouter.tools import vif_write  # noqa: PLC0415

    needed = {"create": ("mac",), "add": ("mac", "vrf", "type")}
    missing = [f"--{name}" for name in needed.get(action, ()) if getattr(args, name) is None]
    if missing:
        raise UsageError(f"--{action} needs {' and '.join(missing)}; see vif --help")
    getattr(vif_write, action)(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vif`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
