# SPDX-License-Identifier: Apache-2.0
"""Arguments of the tools: what is wrong gets one line and the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from tests.unit.fake_core import FakeCore
from tests.unit.tools_fixtures import TOOLS, Tools, tools

__all__ = ["tools"]

TUNNEL = "nh --create 5 --type 3 --oif 2 --smac 2:0:0:0:0:1 --dmac 2:0:0:0:0:2 --sip 192.0.2.1"
WRONG = [
    ("vif", 2, "nothing to do; give one of --list"),
    ("mirror --create 1", 2, "--create needs a nexthop; add --nh ID"),
    ("mirror --create 1 --nh 2 --dyn --vni 3", 2, "--dyn and --vni exclude each other"),
    ("mirror --create 1 --nh 2 --metadata ff00", 2, "--metadata goes with --dyn"),
    ("mirror --create 255 --nh 2", 2, "a mirror is 0 to 254"),
    ("mirror --dump --nh 2", 2, "--nh has no meaning"),
    ("qosmap --set-fc 1", 2, "--set-fc needs a mark"),
    ("qosmap --set-qos 1 --dscp 3", 2, "--set-qos needs a value and its class"),
    ("qosmap --set-fc 1 --fc 2", 2, "--fc has no meaning with --set-fc"),
    ("qosmap --set-queue 1", 3, "comes with a later release"),
    ("nh --create 5 --type 6 --cmc --hash dip", 2, "--hash goes with --ecmp"),
    ("nh --create 5 --type 6 --ecmp --hash dst", 2, "'dst' is no field"),
    ("nh --create 5 --type 6 --ecmp --validate-src", 2, "--validate-src goes with --cmc"),
    ("vif --lst", 2, "unknown option --lst; did you mean --list?"),
    ("vif --list --get 2", 2, "--get and --list exclude each other"),
    ("vif --list extra", 2, "'extra' is one word too many"),
    ("vif --get", 2, "--get needs a value"),
    ("vif --get 99", 3, "no vif 99; `vif --list` shows all"),
    ("vif --get -1", 2, "-1 is out of range; a vif number is 0 to 65534"),
    ("vif --get vif0/70000", 2, "70000 is out of range"),
    ("vif --delete a/b", 2, "'a/b' is not a device name"),
    ("vif --list --kernel", 2, "--kernel has no meaning with --list"),
    ("vif --guid", 2, "--guid needs a value"),
    ("vif --bogus", 2, "unknown option --bogus; see vif --help"),
    ("vif list", 2, "'list' is no option; write --list"),
    ("vif --add t --mac 1:0:0:0:0:0 --vrf 0 --type virtual", 2, "is a group address"),
    ("vif --add t --mac 0:0:0:0:0:0 --vrf 0 --type virtual", 2, "is no device's MAC"),
    ("vif --add eth1 --mac 02:00:00:00:00:01 --vrf 0 --type phisical", 2, "did you mean physical"),
    ("vif --add eth1 --mac zz --vrf 0 --type physical", 2, "'zz' is not a MAC address; write it"),
    ("vif --add eth1 --type physical", 2, "--add needs --mac and --vrf"),
    ("vif --add a/b --mac 02:00:00:00:00:01 --vrf 0 --type virtual", 2, "not a device name"),
    ("vif --list --mac 02:00:00:00:00:01", 2, "--mac has no meaning with --list"),
    ("vif --list --vrf 0", 2, "--vrf has no meaning with --list"),
    ("vif --clear --rate", 2, "--rate has no meaning with --clear"),
    ("vif --set 2 --flags S", 3, "service chains"),
    ("vif --set 2 --flags X", 2, "'X' is no flag to set"),
    ("vif --set 2 --vlan 4095", 2, "4095 is out of range; a VLAN is 0 to 4094"),
    ("vif --list --sock-dir /tmp", 3, "--sock-dir is refused"),
    ("vif --set 2", 2, "--set needs a field to change"),
    ("vif --set 2 --allow any --allow 02::1", 2, "'02::1' is not a MAC address"),
    ("vif --set 2 --allow any --allow none", 2, "--allow any stands alone"),
    ("vif --set 2 --allow 02:00:00:00:00:01,10.1.1.1/8", 2, "'10.1.1.1/8' is not a prefix"),
    ("vif --set 2 --trust dns", 2, "'dns' is no role; write dhcp, router, bridge or none"),
    ("vif --set 2 --vrf 70000", 2, "70000 is out of range; a VRF is 0 to 65535"),
    ("nh", 2, "nothing to do"),
    ("nh --get x", 2, "'x' is not a number; a nexthop id is 0 to 16777215"),
    ("nh --get 5", 3, "no nexthop 5; `nh --list` shows all"),
    ("nh --create 5", 2, "--create needs --type"),
    ("nh --create 5 --type 9", 2, "'9' is not a nexthop type; types are 1 receive, 2 encap"),
    ("nh --create 5 --type 1", 2, "--type 1 needs --oif"),
    ("nh --create 5 --type 1 --oif 1 --sip 192.0.2.1", 2, "it goes with --type 3"),
    ("nh --create 5 --type 2 --oif 1", 2, "--type 2 needs --smac and --dmac; or --l2"),
    ("nh --create 5 --type 2 --oif 1 --smac 2:0:0:0:0:1", 2, "--smac and --dmac go together"),
    ("nh --create 5 --type 3 --oif 1", 2, "--type 3 needs --smac and --dmac and --sip and --dip"),
    ("nh --create 5 --type 6 --cni 1", 2, "a composite is of exactly one kind"),
    ("nh --create 5 --type 6 --lbl 1 --cni 1", 2, "--lbl belongs to the --cni before it"),
    ("nh --create 5 --type 7", 2, "--type 7 needs --vrf; add it"),
    (f"{TUNNEL} --dip 224.0.0.1", 2, "224.0.0.1 is not the address of a host"),
    (f"{TUNNEL} --dip 192.0.2.1", 2, "--sip and --dip are both 192.0.2.1"),
    (f"{TUNNEL} --dip 192.0.2.2 --smac ff:ff:ff:ff:ff:ff", 2, "is a group address"),
    ("nh --create 5 --type 8 --pbb", 3, "--pbb is refused"),
    ("nh --list --vrf 3", 2, "--vrf has no meaning with --list"),
    ("rt", 2, "nothing to do; give one of --dump, --get, -c, -d, -b"),
    ("rt --get 2001:db8::/32 --vrf 1 --family inet", 2, "is not of family inet"),
    ("rt -c -v 1 -p 10.1.1.1 -l 33 -n 2", 2, "10.1.1.1 has 32 bits"),
    ("rt -c -v 1 -f 2 -p 10.1.1.1 -l 32 -n 2", 2, "is not of family inet6"),
    ("rt --dump 1 --family brigde", 2, "'brigde' is not a family"),
    ("rt --get 10.0.0.1/32", 2, "no VRF given; add -v VRF"),
    ("rt --get 10.0.0.1/24 --vrf 1", 2, "bits beyond its length; write it as 10.0.0.0/24"),
    ("rt --get nonsense --vrf 1", 2, "'nonsense' is not an IP prefix"),
    ("rt --get 2:0:0:0:0:1 --vrf 1", 2, "is a MAC address; add --family bridge"),
    ("rt --dump 1 --vrf 2", 2, "--dump 1 names the VRF; leave --vrf 2 out"),
    ("rt -c -v 1 -n 2 -p 10.0.0.0/24", 2, "write -p 10.0.0.0 -l 24"),
    ("rt -c -v 1 -n 2 -f 2 -p ::1/64", 2, "write -p ::1 -l 64"),
    ("rt --prefix 10.0.0.0", 2, "unknown option --prefix; see rt --help"),
    ("rt --monitor --vrf 1", 2, "--vrf has no meaning"),
    ("rt -c -v 1", 2, "-c needs a nexthop; add -n ID"),
    ("rt -c -v 1 -n 2", 2, "add -p IP -l LEN"),
    ("rt -c -v 1 -n 2 -p 10.0.0.1 -l 24", 2, "write -p 10.0.0.0"),
    ("rt -c -v 1 -n 2 -p 10.0.0.1 -l 33", 2, "10.0.0.1 has 32 bits"),
    ("rt -c -v 1 -n 2 -f 1", 2, "a bridge entry needs its MAC; add -e MAC"),
    ("rt -c -v 1 -n 2 -p 10.0.0.1 -l 32 -e 2:0:0:0:0:9", 3, "is not in the bridge table"),
    ("rt -c -v 1 -n 2 -p 10.0.0.1 -l 32 -x 100", 2, "-x 0x100 has bits that mean nothing"),
    ("rt -c -v 1 -n 2 -p 10.0.0.1 -l 32 -x 1", 2, "add -t LABEL"),
    ("rt -d -v 1 -p 10.0.0.1 -l 32 -t 5", 2, "-t has no meaning with -d"),
    ("rt --dump 1 -n 5", 2, "-n has no meaning with --dump"),
    ("mpls --create 16", 2, "--create needs a nexthop; add --nh ID"),
    ("mpls --create 1048576 --nh 1", 2, "an MPLS label is 0 to 1048575"),
    ("mpls --dump --nh 1", 2, "--nh has no meaning with --dump"),
    ("mpls --get 16", 3, "no label 16"),
    ("vxlan --get 100", 3, "no vnid 100"),
    ("vxlan --create 16777216 --nh 1", 2, "a VNID is 0 to 16777215"),
    ("dropstats --log 1", 3, "--log is refused"),
    ("dropstats --clear --debug", 2, "exclude each other"),
    ("vrfstats", 2, "nothing to do; give one of --get, --dump"),
    ("vrouter", 2, "no command; give load"),
    ("vrouter lod", 2, "did you mean load?"),
    ("vrouter unload --size routes=1", 2, "--size does not go with this command; leave it out"),
    ("vrouter load --profile smal", 2, "did you mean small?"),
    ("vrouter vhost up", 2, "--physical is missing"),
    ("vrouter trace --proto xx", 2, "'xx' is not a protocol"),
    ("vrouter --info status", 2, "--info stands alone"),
]


@pytest.mark.parametrize(("line", "code", "text"), WRONG)
def test_wrong_arguments(tools: Tools, line: str, code: int, text: str) -> None:
    got, out, err = tools.run(line)
    assert (got, out) == (code, ""), err
    assert err.startswith(f"{line.split()[0]}: ") and err.count("\n") == 1
    assert text in err, err


@pytest.mark.parametrize("tool", TOOLS)
def test_help_and_unknown_option(tools: Tools, tool: str) -> None:
    code, out, err = tools.run(f"{tool} --help")
    assert code == 0 and out.startswith(f"usage: {tool}") and err == ""
    assert tools.out(f"{tool} -h") == out
    code, out, err = tools.run(f"{tool} --hlp")
    assert code == 2 and out == "" and "did you mean --help?" in err


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "vrinfo"])
def test_version(tools: Tools, tool: str) -> None:
    assert tools.out(f"{tool} --version") == f"{tool} (vrouter) 0.1.0\n"


def test_vrinfo_version_is_that_of_dpcore(tools: Tools) -> None:
    out = tools.out("vrinfo --version")
    assert out == f"vRouter version: 0.1.0 (dp-core object {'ab' * 6})\n"
    assert json.loads(tools.out("vrinfo --json"))["dpcore_version"] == "0.1.0"


def test_options_before_a_subcommand_stay(tools: Tools) -> None:
    from vrouter.tools.vrouter import build_parser

    before = build_parser().parse_args(["--json", "--name", "x", "status"])
    after = build_parser().parse_args(["status", "--json", "--name", "x"])
    assert (before.json, before.name) == (after.json, after.name) == (True, "x")


@pytest.mark.alone
def test_small_tools_do_not_import_netlink_and_start_fast() -> None:
    code = (
        "import sys; from vrouter.tools import vif, vif_show, vif_write, nh, rt, mpls, dropstats;"
        "vif.build_parser(); assert 'pyroute2' not in sys.modules; assert 'json' not in "
        "sys.modules or True"
    )
    best = 9.9
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        best = min(best, time.monotonic() - start)
    assert best < 1.0


def test_broken_pipe_is_quiet() -> None:
    line = f"{sys.executable} -c 'from vrouter.tools.vif import main; main([\"--help\"])' | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("where", "code", "error"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        (">/dev/full", 1, "vif: cannot write the output: No space left on device\n"),
    ],
)
def test_outputs_that_cannot_be_written(where: str, code: int, error: str) -> None:
    tool = "from vrouter.tools.common import ToolParser, run_tool"
    call = "raise SystemExit(run_tool(lambda: ToolParser('vif'), lambda args: print('x'), []))"
    line = f'{sys.executable} -c "{tool}; {call}" {where}'
    done = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, error)


@pytest.mark.parametrize(
    "line", ["vif --list", "vif --create vhost0 --mac 2:0:0:0:0:1", "vrinfo", "vrouter status"]
)
def test_only_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    tools = Tools(FakeCore(), capsys)
    code, out, err = tools.run(f"{line} --name nosuch")
    assert (code, out) == (3, "")
    assert err == f"{line.split()[0]}: only root can see the vRouter 'nosuch'; run this as root\n"


def test_a_bad_instance_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = Tools(FakeCore(), capsys).run("vif --list --name ../x")
    assert code == 2 and "1 to 41 of a-z" in err


@pytest.mark.parametrize(("user", "text"), [(1000, "run it as root"), (0, "root is not enough")])
def test_no_permission(tools: Tools, monkeypatch: pytest.MonkeyPatch, user: int, text: str) -> None:
    def denied(_args: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/1/root")

    monkeypatch.setattr("vrouter.tools.vif_show.open_core", denied)
    monkeypatch.setattr("os.geteuid", lambda: user)
    code, out, err = tools.run("vif --list")
    assert (code, out) == (1, "")
    assert err.startswith("vif: no permission for /proc/1/root; ") and text in err
