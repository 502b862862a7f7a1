# SPDX-License-Identifier: Apache-2.0
"""The demo: bring up two hosts, let VMs talk, and prove that dp-core carried it.

The lab stays up under an id of its own. Running the demo again uses the same lab.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from vrouter.agent.tap import PKT0
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.instance import find_instance
from vrouter.host.vhost import VHOST
from vrouter.lab import agents, build, node, proof, topology
from vrouter.lab.topology import NIC, Lab
from vrouter.tools.vrouter_trace import event_line

COUNT = 20
_TRIES = 5
_VIF = "import sys; from vrouter.tools.vif import main; sys.exit(main())"
_WAIT = 300  # seconds for another demo to end


def run(lab_id: str, encap: str) -> int:
    """Run the whole demo; 0 if everything held. Raises VrouterError naming what did not."""
    with _alone(lab_id):
        lab = build.up(
            topology.plan("two-hosts", lab_id, encap=encap, forwarding="l2", wire="tso"), _indent
        )
        for host in lab.hosts:  # a demo that was killed may have left them off
            proof.attach_all(find_instance(lab.instance(host.name)))
        agents.settle(lab)
        _pings(lab)
        _vifs(lab)
        _path(lab)
        _counters(lab)
        _capture(lab)
        _detached(lab)
        _next(lab)
    return 0


@contextlib.contextmanager
def _alone(lab_id: str) -> Iterator[None]:
    """One demo at a time on a lab: its counts would be wrong otherwise."""
    _title(f"two hosts, one overlay: lab {lab_id}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        end = time.monotonic() + _WAIT
        told = False
        while True:
            try:
                lock.bind(f"\0vrouter-demo-{lab_id}")  # gone with the process, whatever ends it
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise VrouterError(f"another demo is running on lab {lab_id}") from error
                if not told:
                    _indent("another demo is running on this lab: waiting for it")
                    told = True
                time.sleep(0.5)
        yield


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _indent(text: str) -> None:
    print("\n".join(f"   {line}" for line in text.splitlines()), flush=True)


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise VrouterError(f"the demo failed: {what}")


def _pings(lab: Lab) -> None:
    _title("the VMs talk (a vm is a network namespace behind a veth)")
    ip = {name: data["ip"] for name, data in lab.describe()["nodes"].items()}
    pairs = (
        ("vm1", "vm2", "same host, network blue"),
        ("vm1", "vm3", "across the wire, network blue"),
        ("vm4", "vm5", "across the wire, network red: the same addresses as blue"),
        ("h1", "h2", "host to host, vhost0 to vhost0"),
    )
    for source, target, text in pairs:
        result = proof.ping(lab, source, ip[target], 3)
        _indent(
            f"{source} -> {target:3} {ip[target]:10}  {result.answered} of {result.sent} answered, "
            f"{result.rtt} ms   {text}"
        )
        _must(result.answered == result.sent, f"ping {source} -> {target} lost packets")


def _vifs(lab: Lab) -> None:
    _title("vif --list on h1")
    result = node.call(lab, "h1", [sys.executable, "-c", _VIF, "--list"])
    _indent(result.stdout)
    _must(result.returncode == 0, f"vif --list: exit code {result.returncode}")


def _path(lab: Lab) -> None:
    _title("the path of one packet vm1 -> vm3, as dp-core tells it")
    passes = proof.path(lab, "vm1", lab.vm("vm3").ip)
    for host, events in passes:
        with proof.open_host(lab, host) as core:
            names = {vif.idx: f"vif0/{vif.idx}({vif.name})" for vif in core.vifs.items()}
        _indent(f"{host}:")
        for event in events:
            _indent("  " + event_line(event, names.__getitem__, events[0].ns))
    hosts = [host for host, _ in passes]
    _must(hosts == ["h1", "h2"], f"the packet's events came from {hosts}, not from h1 and h2")


def _counters(lab: Lab) -> None:
    _title(f"proof 1: the vif counters of both hosts, {COUNT} pings vm1 -> vm3")
    change = _counted(lab, lab.vm("vm3").ip)
    for (host, vif), one in sorted(change.items()):
        _indent(f"{host} {vif:8} RX +{one.rx:<3} TX +{one.tx:<3} drops +{one.drops}")
    through = [("h1", "tap-vm1"), ("h1", NIC), ("h2", NIC), ("h2", "tap-vm3")]
    wanted = {key: proof.Counters(COUNT, COUNT, 0) for key in through}
    _must(
        change == wanted,
        "the counters did not rise by exactly the packets sent (does anything else send in "
        f"lab {lab.id}?)",
    )
    _indent("exactly the packets sent, on these vifs and no other")


def _counted(lab: Lab, target: str) -> dict[tuple[str, str], proof.Counters]:
    """How the counters rose by the pings alone: counted again when a host (ARP) or its agent
    (router advertisements) spoke meanwhile."""
    own = {(host.name, vif) for host in lab.hosts for vif in (VHOST, PKT0)}
    for _ in range(_TRIES):
        proof.forget_neighbours(lab)
        proof.ping(lab, "vm1", target, 1)
        before = proof.counters(lab)
        result = proof.ping(lab, "vm1", target, COUNT)
        change = proof.risen(before, proof.counters(lab))
        _must(result.answered == COUNT, f"only {result.answered} of {COUNT} pings were answered")
        if not own & change.keys():
            break
    return change


def _capture(lab: Lab) -> None:
    _title(f"proof 2: the same ping on the wire (tcpdump on {NIC} of h1)")
    lines = proof.capture(lab, "vm1", lab.vm("vm3").ip).splitlines()
    # tcpdump does not look for Ethernet behind an MPLS label: it shows that part as bytes
    dump = "".join("".join(line.split()[1:9]) for line in lines if line.startswith("\t0x"))
    text = "\n".join(line for line in lines if not line.startswith("\t"))
    _indent(text)
    outer, inner = lab.host("h2").ip, IPv4Address(lab.vm("vm3").ip)
    words = {"vxlan": f"VXLAN, flags [I] (0x08), vni {lab.network('blue').vni}"}
    wanted = words.get(lab.encap, f"MPLS (label {lab.vm('vm3').l2_label},")
    _must(outer in text and wanted in text, "the capture shows no outer header")
    _must(str(inner) in text or inner.packed.hex() in dump, "the capture shows no inner packet")
    if dump:
        _indent(f"(the frame behind the label, {inner} in it, is what vm1 sent)")


def _detached(lab: Lab) -> None:
    _title("proof 3: without dp-core's programs the same ping fails")
    target = lab.vm("vm3").ip
    with contextlib.ExitStack() as stack:
        for host in lab.hosts:
            count = stack.enter_context(proof.detached(find_instance(lab.instance(host.name))))
            _indent(f"detached from {count} vifs of {host.name}")
        result = proof.ping(lab, "vm1", target, 3, wait=1)
        _indent(f"{result.answered} of {result.sent} answered")
    _must(result.answered == 0, "pings were answered without dp-core")
    agents.settle(lab)
    result = proof.ping(lab, "vm1", target, 3)
    _indent(f"attached again: {result.answered} of {result.sent} answered")
    _must(result.answered == 3, "pings were lost after dp-core was attached again")


def _next(lab: Lab) -> None:
    _title(f"everything held. The lab {lab.id} stays up; try next:")
    # make puts nothing on the caller's PATH
    command = f"{sys.executable.rpartition('/')[0]}/vrouter lab"
    named = f"--id {lab.id}"
    for arguments, text in (
        (f"show {named}", "all nodes"),
        (f"exec {named} vm1 -- ping 10.1.1.3", "any command in a VM"),
        (f"exec {named} h1 -- vrouter trace", "while that runs: every packet's path"),
        (f"exec {named} h1 -- nh --list", "likewise rt --dump 1, dropstats, vrfstats --dump"),
        (f"exec {named} h1 -- tcpdump -ni {NIC}", "what is on the wire"),
        ("up two-hosts --encap mplsoudp", "another lab beside this one"),
        (f"down {named}", "remove it all"),
    ):
        _indent(f"{command} {arguments:45} # {text}")
