# SPDX-License-Identifier: Apache-2.0
"""Netdevices that the door makes, their packets and counters, and the agent's packets."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.doors import GATEWAY_MAC, DoorHost, add_vif, door_host
from tests.system.frames import ETH_IPV4, Tap, ethernet, udp
from tests.system.helpers import wait_until
from vrouter.host import netns, offload
from vrouter.sandesh import ADD, DEL, RESET, Client, SandeshError

VM1, VM2 = bytes.fromhex("02000a010101"), bytes.fromhex("02000a010102")
BROADCAST = b"\xff" * 6
PACKET = udp("10.1.1.1", "10.1.1.2", 1000, 2000, b"some payload, long enough for a frame")
AGENT_HEAD = struct.Struct("!HHHIIIIIB3x")


@pytest.fixture(scope="module")
def host() -> Iterator[DoorHost]:
    with door_host() as made:
        made.start()
        yield made


@pytest.fixture
def client(host: DoorHost) -> Iterator[Client]:
    if host.process is None:
        host.start()
    with host.client() as made:
        made.request("vrouter_ops", RESET)
        yield made


def two_vms(client: Client) -> None:
    """Two VMs in VRF 1, bridged."""
    for idx, mac in ((11, VM1), (12, VM2)):
        add_vif(client, idx, f"tap{idx}", vifr_flags=0x80)
        client.request(
            "vr_nexthop_req",
            ADD,
            nhr_id=idx,
            nhr_type=2,
            nhr_family=7,
            nhr_flags=1,
            nhr_vrf=1,
            nhr_encap_oif_id=(idx, -1, -1),
        )
        client.request("vr_route_req", ADD, rtr_vrf_id=1, rtr_family=7, rtr_mac=mac, rtr_nh_id=idx)


def counters(client: Client, idx: int) -> tuple[int, int, int, int]:
    one = client.get("vr_interface_req", vifr_idx=idx)
    return one.vifr_ipackets, one.vifr_ibytes, one.vifr_opackets, one.vifr_obytes


def test_the_pair_stands_in_both_namespaces(host: DoorHost, client: Client) -> None:
    add_vif(client, 11, "tap11")
    assert "tap11" in host.devices(host.near) & host.devices(host.far)
    for space in (host.near, host.far):
        with netns.enter(space):
            features = offload.get("tap11")
            assert "LOWER_UP" in host.sh("ip link show tap11", space)
        on = {name for name, is_on in features.items() if is_on}
        assert not {name for name in on if name.startswith("tx-") and "checksum" in name}
        assert not {name for name in on if name.endswith("-segmentation")}
    client.request("vr_interface_req", DEL, vifr_idx=11)
    assert "tap11" not in host.devices(host.near) | host.devices(host.far)


def test_a_device_that_is_there_is_used_and_stays(host: DoorHost, client: Client) -> None:
    host.sh("ip link add dev there type veth peer name therep")
    try:
        add_vif(client, 11, "there")
        assert client.get("vr_interface_req", vifr_idx=11).vifr_name == "there"
        assert "there" not in host.devices(host.far)
        client.request("vr_interface_req", DEL, vifr_idx=11)
        assert "there" in host.devices(host.near)
        add_vif(client, 11, "there", vifr_transport=1)
        client.request("vrouter_ops", RESET)
        assert "there" in host.devices(host.near)
    finally:
        host.sh("ip link del dev there")


def test_a_far_end_whose_name_is_taken(host: DoorHost, client: Client) -> None:
    host.sh("ip link add dev tap11 type veth peer name tap11p", host.far)
    try:
        with pytest.raises(SandeshError) as caught:
            add_vif(client, 11, "tap11")
        assert caught.value.errno == errno.EEXIST
        assert "tap11" not in host.devices(host.near)
    finally:
        host.sh("ip link del dev tap11", host.far)


def test_counters_are_exact_and_at_once(host: DoorHost, client: Client) -> None:
    """Nobody listens at the far end of the second VM."""
    two_vms(client)
    frame = ethernet(VM2, VM1, ETH_IPV4, PACKET)
    with Tap(host.far, "tap11") as sender:
        for number in range(1, 201):
            sender.send(frame)
            size = number * len(frame)
            assert counters(client, 11) == (number, size, 0, 0)
            assert counters(client, 12) == (0, 0, number, size)
    client.request("vr_interface_req", RESET, vifr_idx=11)
    assert counters(client, 11) == (0, 0, 0, 0)
    assert counters(client, 12)[2] == 200
    client.request("vr_interface_req", RESET, vifr_idx=-1)
    assert counters(client, 12) == (0, 0, 0, 0)


def test_frames_arrive_whole(host: DoorHost, client: Client) -> None:
    two_vms(client)
    frame = ethernet(VM2, VM1, ETH_IPV4, PACKET)
    with Tap(host.far, "tap11") as sender, Tap(host.far, "tap12") as receiver:
        sender.send(frame)
        select.select([receiver], [], [], 5)
        assert [data for _, data in receiver.read()] == [frame]


def test_drops_are_counted_by_reason(host: DoorHost, client: Client) -> None:
    two_vms(client)
    with Tap(host.far, "tap11") as sender:
        for _ in range(3):
            sender.send(ethernet(bytes.fromhex("02000a0101aa"), VM1, ETH_IPV4, PACKET))
        assert client.get("vr_drop_stats_req").vds_l2_no_route == 3
    assert client.get("vr_interface_req", vifr_idx=11).vifr_dpackets == 3
    cpus = range(1, (os.cpu_count() or 1) + 1)
    by_cpu = [client.get("vr_drop_stats_req", vds_core=cpu).vds_l2_no_route for cpu in cpus]
    assert sum(by_cpu) == 3
    client.request("vr_drop_stats_req", RESET)
    assert client.get("vr_drop_stats_req").vds_l2_no_route == 0


def test_a_vif_made_anew_counts_from_zero(host: DoorHost, client: Client) -> None:
    two_vms(client)
    with Tap(host.far, "tap11") as sender:
        sender.send(ethernet(VM2, VM1, ETH_IPV4, PACKET))
    assert counters(client, 12)[2] == 1
    client.request("vr_interface_req", DEL, vifr_idx=12)
    add_vif(client, 12, "tap12")
    assert counters(client, 12) == (0, 0, 0, 0)


def test_without_a_far_namespace_nothing_is_made(host: DoorHost, client: Client) -> None:
    client.close()
    host.stop()
    host.start(far=False)
    with host.client() as other, pytest.raises(SandeshError) as caught:
        add_vif(other, 11, "tap11")
    assert caught.value.errno == errno.EINVAL
    host.stop()
    host.start("--far-netns", "no-such-namespace", far=False)
    with host.client() as other, pytest.raises(SandeshError) as caught:
        add_vif(other, 11, "tap11")
    assert caught.value.errno == errno.EINVAL
    assert "tap11" not in host.devices(host.near)
    host.stop()


def test_a_door_that_is_started_again_knows_its_devices(host: DoorHost, client: Client) -> None:
    two_vms(client)
    client.request("vr_vrf_req", ADD, vrf_idx=1, vrf_flags=1)
    frame = ethernet(VM2, VM1, ETH_IPV4, PACKET)
    with Tap(host.far, "tap11") as sender:
        sender.send(frame)
        host.stop(9)
        sender.send(frame)  # forwarding needs no door
        host.start()
        with host.client() as again:
            assert counters(again, 12)[2] == 2
            assert [one.vrf_idx for one in again.dump("vr_vrf_req")] == [1]
            add_vif(again, 11, "tap11", vifr_flags=0x80)
            sender.send(frame)
            assert counters(again, 12)[2] == 3
            again.request("vr_interface_req", DEL, vifr_idx=11)
            assert "tap11" not in host.devices(host.near) | host.devices(host.far)
            again.request("vrouter_ops", RESET)
    assert "tap12" not in host.devices(host.near) | host.devices(host.far)


def test_sockets_and_exit(host: DoorHost, client: Client) -> None:
    for name in ("dpdk_netlink", "dpdk_pkt0"):
        mode = (host.folder / name).stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    client.close()
    assert host.stop() == 0
    assert not (host.folder / "dpdk_netlink").exists()
    assert not (host.folder / "dpdk_pkt0").exists()


def test_a_fabric_and_a_host_of_the_doors(host: DoorHost, client: Client) -> None:
    """As upstream's DPDK start: the NIC, vhost0 joined with it, then the agent."""
    nic, vhost = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
    add_vif(client, 0, "fab0", 2, vifr_vrf=0, vifr_flags=0x200, vifr_mac=nic)
    add_vif(client, 1, "vhost0", 0, vifr_vrf=0, vifr_mac=vhost, vifr_cross_connect_idx=(0,))
    frame = ethernet(nic, vhost, ETH_IPV4, PACKET)
    with Tap(host.far, "fab0") as wire, Tap(host.far, "vhost0") as stack:
        for one, other in ((stack, wire), (wire, stack)):
            one.send(frame)
            select.select([other], [], [], 5)
            assert [data for _, data in other.read()] == [frame]
    for idx in (0, 1):
        assert client.get("vr_interface_req", vifr_idx=idx).vifr_flags & 2
    add_vif(client, 2, "pkt0", 1, vifr_vrf=0xFFFF)
    for idx in (0, 1):
        assert not client.get("vr_interface_req", vifr_idx=idx).vifr_flags & 2
    with pytest.raises(SandeshError) as caught:
        client.request("vr_interface_req", DEL, vifr_idx=0)
    assert caught.value.errno == errno.EBUSY
    client.request("vrouter_ops", RESET)
    assert not {"fab0", "vhost0", "pkt0"} & (host.devices(host.near) | host.devices(host.far))
    with host.core() as core:
        assert not core.vifs.end_bypass()


def test_a_host_vif_of_a_device_that_is_there(host: DoorHost, client: Client) -> None:
    host.sh(f"ip link add dev vhost0 type veth peer name vhost0 netns {host.far}")
    try:
        for space in (host.near, host.far):
            host.sh("ip link set dev vhost0 up", space)
        add_vif(client, 0, "fab0", 2, vifr_vrf=0, vifr_flags=0x200)
        add_vif(client, 1, "vhost0", 0, vifr_vrf=0, vifr_cross_connect_idx=(0,))
        frame = ethernet(VM1, VM2, ETH_IPV4, PACKET)
        with Tap(host.far, "fab0") as wire, Tap(host.far, "vhost0") as stack:
            stack.send(frame)
            select.select([wire], [], [], 5)
            assert frame in [data for _, data in wire.read()]
        client.request("vrouter_ops", RESET)
        assert "vhost0" in host.devices(host.near)
    finally:
        host.sh("ip link del dev vhost0")


# ---- the agent's packets ------------------------------------------------------------------


@contextlib.contextmanager
def agent(folder: Path) -> Iterator[socket.socket]:
    """What an agent binds."""
    path = folder / "agent_pkt0"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(5)
        try:
            yield sock
        finally:
            path.unlink()


def trapping(client: Client) -> None:
    """An Agent vif, and a VM whose DHCP is trapped."""
    add_vif(client, 2, "pkt0", 1, vifr_transport=3, vifr_vrf=0xFFFF, vifr_flags=0x40)
    add_vif(client, 11, "tap11", vifr_flags=0x1C0)


DHCP = udp("0.0.0.0", "255.255.255.255", 68, 67, b"\x01\x01\x06\x00" + bytes(240))


@contextlib.contextmanager
def open_tap(host: DoorHost, name: str) -> Iterator[int]:
    """A tap that somebody has open, as an agent has its pkt0; its file descriptor."""
    with netns.enter(host.near):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        try:
            # TUNSETIFF with IFF_TAP and IFF_NO_PI
            fcntl.ioctl(fd, 0x400454CA, struct.pack("=16sH22x", name.encode(), 0x1002))
            host.sh(f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1")
            host.sh(f"ip link set dev {name} up")
            yield fd
        finally:
            os.close(fd)


def pkt0_of_another(host: DoorHost, made: bool) -> contextlib.AbstractContextManager[int]:
    return contextlib.nullcontext(-1) if made else open_tap(host, "pkt0")


@pytest.mark.parametrize("made", [True, False])
def test_traps_go_to_the_netdevice_and_the_socket(
    host: DoorHost, client: Client, made: bool
) -> None:
    with pkt0_of_another(host, made) as fd:
        trapping(client)
        frame = ethernet(BROADCAST, VM1, ETH_IPV4, DHCP)
        with agent(host.folder) as sock, Tap(host.far, "tap11") as vm:
            with Tap(host.far, "pkt0") if made else contextlib.nullcontext() as device:
                vm.send(frame)
                trapped = sock.recv(4096)
                if device is not None:
                    select.select([device], [], [], 5)
                    assert [data for _, data in device.read()] == [trapped]
                else:
                    assert os.read(fd, 4096) == trapped
        assert trapped[:14] == GATEWAY_MAC * 2 + b"\x08\x00"
        vif, vrf, command, *_ = AGENT_HEAD.unpack_from(trapped, 14)
        assert (vif, vrf, command) == (11, 1, 7)  # L3_PROTOCOLS
        assert trapped[44:] == frame
        # without anybody at the socket the netdevice has it all the same
        before = counters(client, 2)[2]
        with Tap(host.far, "tap11") as vm:
            vm.send(frame)
        assert counters(client, 2)[2] == before + 1
        client.request("vrouter_ops", RESET)


@pytest.mark.parametrize("made", [True, False])
def test_what_an_agent_sends_is_received_on_its_vif(
    host: DoorHost, client: Client, made: bool
) -> None:
    with pkt0_of_another(host, made):
        trapping(client)
        answer = ethernet(VM1, GATEWAY_MAC, ETH_IPV4, PACKET)
        head = AGENT_HEAD.pack(11, 1, 0, 0, 0, 0, 0, 0, 0)
        frame = GATEWAY_MAC * 2 + b"\x08\x00" + head + answer
        with agent(host.folder) as sock, Tap(host.far, "tap11") as vm:
            for number in range(1, 51):
                sock.sendto(frame, str(host.folder / "dpdk_pkt0"))
                assert counters(client, 2)[:2] == (number, number * len(frame))
            end = time.monotonic() + 5
            got: list[bytes] = []
            while len(got) < 50 and time.monotonic() < end:
                select.select([vm], [], [], 0.2)
                got += [data for _, data in vm.read()]
            assert got == [answer] * 50
        client.request("vrouter_ops", RESET)


def test_packets_of_wrong_sizes_harm_nothing(host: DoorHost, client: Client) -> None:
    trapping(client)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for size in (0, 1, 13, 14, 43, 44, 57, 58, 3712, 3713, 60000):
            sock.sendto(bytes(size), str(host.folder / "dpdk_pkt0"))
    wait_until(lambda: "a packet of 60000 bytes" in host.log())
    assert client.get("vr_drop_stats_req").vds_invalid_packet >= 5


# ---- unloaded, loaded anew ------------------------------------------------------------------


def test_other_tables_under_the_door(host: DoorHost, client: Client) -> None:
    from vrouter.dpcore.loader import load
    from vrouter.dpcore.sizes import SMALL

    two_vms(client)
    with netns.enter(host.near):
        load(host.instance, type(SMALL)(**{**SMALL.as_dict(), "labels": 3000, "nexthops": 5000}))
    client.request("vr_mpls_req", ADD, mr_label=2999, mr_nhid=11)
    assert client.get("vrouter_ops").vo_mpls_labels == 3000
    assert [one.mr_label for one in client.dump("vr_mpls_req")] == [2999]


def test_an_instance_that_is_unloaded_ends_the_door() -> None:
    from vrouter.dpcore.loader import unload

    with door_host() as other:
        other.start()
        assert other.process is not None
        unload(other.instance)
        assert other.process.wait(10) == 4
        assert "is not loaded" in other.log()
        assert not (other.folder / "dpdk_netlink").exists()
