# SPDX-License-Identifier: Apache-2.0
"""The units as a real systemd runs them, with all that confines the agent."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.system.booted import Booted, booted
from tests.system.helpers import unique

pytestmark = pytest.mark.timeout(300)
VM = """
ip link add tap-{name} type veth peer name {name}
ip netns add {name}
ip link set {name} netns {name} address {mac}
ip link set tap-{name} up
ip -n {name} link set {name} up
ip -n {name} address add {address}/24 dev {name}
ip -n {name} route add default via 10.1.1.254
"""
STATE = """
[[network]]
name = "blue"
vni = 5001
subnets = [{ prefix = "10.1.1.0/24", gateway = "10.1.1.254" }]
[[link-local]]
name = "metadata"
address = "169.254.169.254"
port = 80
target = "172.30.9.1"
target_port = 8775
metadata = true
"""
PORT = """
[[interface]]
name = "{name}"
network = "blue"
device = "tap-{name}"
mac = "{mac}"
addresses = ["{address}"]
"""
VMS = [{"name": f"vm{n}", "mac": f"02:00:0a:01:01:0{n}", "address": f"10.1.1.{n}"} for n in (1, 2)]
PING = "ip netns exec vm1 ping -q -i 0.01 -W 1 -c"
CONF = json.dumps({"cniVersion": "1.0.0", "name": "pods", "type": "vrouter-cni", "network": "blue"})


def test_the_units_in_their_order(package: Path, tmp_path: Path) -> None:
    """One boot for all of it."""
    with booted(unique("boot"), tmp_path, package) as host:
        host.run("systemctl start vrouter-load vrouter-vhost@eth0 vrouter-agent")
        state = STATE + "".join(PORT.format(**vm) for vm in VMS)
        host.run("".join(VM.format(**vm) for vm in VMS))
        host.run(f"cat >/root/state.toml <<'END'\n{state}END\nvrouter apply /root/state.toml")
        the_host_is_at_stage_3(host)
        what_systemd_does_to_the_agent_stops_no_packet(host)
        the_group_reaches_what_is_for_it(host)
        containers_are_reached_and_tcp_is_served(host)
        the_nic_is_given_back(host)


def the_host_is_at_stage_3(host: Booted) -> None:
    assert host.run("systemctl is-active vrouter-agent vrouter-vhost@eth0") == "active\nactive\n"
    assert "172.30.9.1" in host.run("ip -4 address show vhost0")
    assert re.search(r"agent +vif0/2, alive\n", host.run("vrouter status"))
    assert "0% packet loss" in host.run(f"{PING} 3 10.1.1.2")
    said = host.run("systemctl show -p StatusText vrouter-agent")
    assert said == "StatusText=forwarding, tables as wanted\n"


def what_systemd_does_to_the_agent_stops_no_packet(host: Booted) -> None:
    host.run(f"{PING} 600 10.1.1.2 >/root/ping & echo $! >/root/pid")
    host.run("systemctl restart vrouter-agent")
    host.run("systemctl kill -s KILL vrouter-agent; sleep 2.5; systemctl reload vrouter-agent")
    host.run("systemctl stop vrouter-agent; sleep 0.3; systemctl start vrouter-agent")
    said = host.run("tail --pid=$(cat /root/pid) -f /dev/null; cat /root/ping")
    assert "600 packets transmitted, 600 received" in said


def the_group_reaches_what_is_for_it(host: Booted) -> None:
    folder = "/var/lib/vrouter/vrouter"
    assert host.run(f"stat -c '%a %G' {folder} {folder}/ports {folder}/token") == (
        "750 vrouter\n2770 vrouter\n640 vrouter\n"
    )
    member = "setpriv --reuid=nobody --regid=vrouter --clear-groups"
    assert len(host.run(f"{member} cat {folder}/token").strip()) > 30
    curl = "curl -sS --unix-socket /run/vrouter/vrouter/api.sock http://localhost/v1/network/blue"
    assert json.loads(host.run(f"{member} {curl}"))["vni"] == 5001
    assert "10.1.1.0/24" in host.run(f"{member} vrouter get network")
    other = member.replace("vrouter", "nogroup")
    for what in (f"cat {folder}/token", curl):
        with pytest.raises(AssertionError, match=r"Permission denied|Couldn't connect"):
            host.run(f"{other} {what}")


def containers_are_reached_and_tcp_is_served(host: Booted) -> None:
    host.run("mkdir -p /opt/cni/bin; vrouter-cni --install /opt/cni/bin; ip netns add c1")
    call = (
        f"echo '{CONF}' | env CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=/run/netns/c1 "
        "CNI_PATH=/opt/cni/bin CNI_COMMAND=%s /opt/cni/bin/vrouter-cni"
    )
    address = json.loads(host.run(call % "ADD"))["ips"][0]["address"].partition("/")[0]
    assert "0% packet loss" in host.run(f"{PING} 3 {address}")
    host.run(call % "DEL")
    # nobody is behind the proxy, and no Nova has told it a secret
    asked = "curl -sS -m 10 -o /dev/null -w '%{http_code}' http://169.254.169.254/"
    assert host.run(f"ip netns exec vm1 {asked}") == "404"
    dig = "dig +tcp +tries=1 +time=5 +short vm2 @10.1.1.254"
    assert host.run(f"ip netns exec vm1 {dig}") == "10.1.1.2\n"


def the_nic_is_given_back(host: Booted) -> None:
    host.run("systemctl stop vrouter-agent vrouter-vhost@eth0")
    assert "172.30.9.1" in host.run("ip -4 address show eth0")
    with pytest.raises(AssertionError, match="vhost0"):
        host.run("ip link show vhost0")
    assert subprocess.run(["ip", "link", "show", "vhost0"], capture_output=True).returncode
