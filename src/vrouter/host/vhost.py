# SPDX-License-Identifier: Apache-2.0
"""vhost0 in the place of a NIC, and back: `up`, `confirm`, `down`.

One take-over at a time is under the instance's lock. What was on the NIC is on disk before the
first change, and a guard process runs: a failing step goes back by itself, a killed command is
taken back by the guard, and so is a take-over that nobody confirms in time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vrouter.dpcore import netns as dpcore_netns
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import Busy, DeviceError, NotLoaded, Refused, VrouterError
from vrouter.dpcore.instance import Instance
from vrouter.host import agent_lock
from vrouter.host import holders as looking
from vrouter.host.holders import Finding, Holders
from vrouter.host.holders.find import is_home
from vrouter.host.netlink import ARPHRD_ETHER, Link, Netlink
from vrouter.host.nic import snapshot
from vrouter.host.takeover import guard, pair, state, steps
from vrouter.host.takeover.down import GiveBack
from vrouter.host.takeover.pair import VHOST, Host, inner_end
from vrouter.host.takeover.state import LEAVING, TAKEN, State
from vrouter.host.takeover.up import TakeOver

__all__ = ["INNER", "VHOST", "Plan", "confirm", "create", "down", "forget", "inner_end",
           "physical_of", "plan_down", "plan_up", "up"]  # fmt: skip

INNER = inner_end()
Say = Callable[[str], None]
_PATIENCE = 30.0  # seconds for another command to end
_AT_ONCE = 0.3


@dataclass(frozen=True)
class Plan:
    """What would be done, line by line, and who holds the NIC."""

    lines: list[str]
    findings: list[Finding]


def _silent(line: str) -> None:
    """Nobody wants to know."""


def create(mac: bytes, *, name: str = VHOST, mtu: int = 1500) -> bool:
    """Make the vhost0 pair in the current namespace with `mac` (6 bytes) on the host's end.

    Both ends are up afterwards. False when it exists; DeviceError when it is no veth.
    """
    with Netlink() as links:
        return pair.make(links, name, mac, mtu)


def up(
    instance: Instance,
    physical: str,
    *,
    confirm_within: float | None = None,
    force: bool = False,
    holders: Holders | None = None,
    say: Say = _silent,
) -> list[str]:
    """Put vhost0 in the place of NIC `physical`; returns a line for each thing done.

    Idempotent. `confirm_within`: seconds after which the NIC gets everything back unless
    `confirm` is called. `force`: also when somebody holds the NIC; `holders` are who does, when
    the caller knows (None: look). `say` is told why it waits. Raises Refused, DeviceError or
    VrouterError; after an error the NIC is as it was.
    """
    with _opened(instance, say) as host:
        assert host.core is not None
        there = _current(host)
        if there is not None and there.phase == TAKEN:
            if there.physical != physical and not there.rebooted:
                raise Refused(
                    f"{VHOST} stands for {there.physical} already: run `vrouter vhost down` first"
                )
            if _is_whole(host, there):
                return [f"{VHOST} is up on {physical} already"]
        done = _settle_earlier(host, there)
        nic = _usable(host, physical)
        before = snapshot.take(host.links, nic)
        found = looking.find(host.links, nic, before) if holders is None else holders
        if found.blocking and not force:
            raise Refused(_refusal(physical, found.blocking))
        deadline = None if confirm_within is None else snapshot.boot_time() + confirm_within
        now = state.new(before, home=is_home(), clients=found.clients, deadline=deadline)
        with guard.watching(instance, now.token, deadline) as watch:
            state.write(instance, now)
            done.append(f"write what {physical} has to {state.path(instance)}")
            with _rollback(host, now):
                done += steps.run(TakeOver(host.core, host.links, nic, now).steps())
                state.advance(instance, now, phase=TAKEN)
            watch.done()
        if confirm_within is not None:
            done.append(
                f"run `vrouter vhost confirm` within {confirm_within:g} s, else {physical} gets "
                "everything back"
            )
        return done


def confirm(instance: Instance, *, say: Say = _silent) -> list[str]:
    """Keep a take-over that was made with a time to confirm. Raises Refused if there is none."""
    with _opened(instance, say, must_be_loaded=False) as host:
        there = _current(host)
        if there is None or there.phase != TAKEN:
            raise Refused(f"{VHOST} is not up: there is nothing to confirm")
        if there.deadline is None:
            return [f"{VHOST} on {there.physical} needs no confirmation: nothing changed"]
        state.advance(instance, there, deadline=None)
        return [f"{VHOST} stays in the place of {there.physical}"]


def down(instance: Instance, *, say: Say = _silent, token: str | None = None) -> list[str]:
    """Give the NIC back what it had and remove vhost0. Idempotent; lines as `up`.

    dp-core need not be loaded. `token`: only if that take-over is the present one. Refused
    while an agent runs.
    """
    agent = agent_lock.holder(instance)
    if agent is not None and token is None:
        raise Refused(
            f"the agent of vRouter {instance.name!r} runs (process {agent}) and needs {VHOST}: "
            "stop it first"
        )
    with _opened(instance, say, must_be_loaded=False) as host:
        there = _current(host)
        if there is None or token not in (None, there.token):
            return [f"{VHOST} is not up: nothing to do"]
        with guard.watching(instance, there.token, None) as watch:
            leaving = state.advance(instance, there, phase=_leaving(there))
            done = _give_back(host, leaving)
            watch.done()
        return done


def plan_up(instance: Instance, physical: str) -> Plan:
    """What `up` would do. Changes nothing; raises as `up`, but for what blocks."""
    with _opened(instance, _silent, lock=False) as host:
        there = _current(host)
        if there is not None and there.phase == TAKEN and _is_whole(host, there):
            return Plan([f"{VHOST} is up on {there.physical} already"], [])
        lines = []
        if there is not None:
            lines.append(f"give {there.physical} back what an earlier attempt took")
        nic = _usable(host, physical, left_over=there is not None)
        before = snapshot.take(host.links, nic)
        found = looking.find(host.links, nic, before)
        now = state.new(before, home=is_home(), clients=found.clients, deadline=None)
        lines.append("start a guard, which goes back if the command dies")
        lines.append(f"write what {physical} has to {state.path(instance)}")
        for step in TakeOver(host.core, host.links, nic, now).steps():
            lines += step.lines
        return Plan(lines, found.findings)


def plan_down(instance: Instance) -> Plan:
    """What `down` would do. Changes nothing."""
    with _opened(instance, _silent, must_be_loaded=False, lock=False) as host:
        there = _current(host)
        if there is None:
            return Plan([f"{VHOST} is not up: nothing to do"], [])
        planned = GiveBack(host, there).steps()
        return Plan([line for step in planned for line in step.lines], [])


def physical_of(instance: Instance) -> str | None:
    """Name of the NIC that vhost0 stands for; None when vhost0 is not up."""
    there = state.read(instance)
    if there is None or there.phase != TAKEN or there.rebooted:
        return None
    registered = instance.registered()
    if registered is not None and not there.is_of(registered["netns_cookie"]):
        return None
    return there.physical


def forget(instance: Instance) -> None:
    """Drop the saved state of a NIC that goes away with its namespace; changes nothing else.

    The guard's log goes with it.
    """
    state.forget(instance)
    (instance.run_dir / guard.LOG).unlink(missing_ok=True)


# ---- parts -----------------------------------------------------------------------


@contextlib.contextmanager
def _opened(
    instance: Instance, say: Say, *, must_be_loaded: bool = True, lock: bool = True
) -> Iterator[Host]:
    """The instance's tables and namespace, under its lock. Raises NotLoaded, Busy, Refused."""
    with contextlib.ExitStack() as stack:
        if lock:
            stack.enter_context(_locked(instance, say))
        core: DpCore | None = None
        if must_be_loaded or instance.is_loaded():
            core = stack.enter_context(DpCore.open(instance))
        if core is not None or instance.registered() is not None:
            stack.enter_context(instance.enter_netns())
        yield Host(instance, core, stack.enter_context(Netlink()))


@contextlib.contextmanager
def _locked(instance: Instance, say: Say) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(instance.lock(_AT_ONCE))
        except Busy as busy:
            say(f"waiting up to {_PATIENCE:g} s: {busy}".removesuffix(": try again"))
            stack.enter_context(instance.lock(_PATIENCE))
        yield


def _current(host: Host) -> State | None:
    """The saved state if it is about this namespace; one of a namespace that is gone is dropped."""
    there = state.read(host.instance)
    if there is None or there.is_of(dpcore_netns.cookie()):
        return there
    if host.core is None and host.instance.registered() is None and not there.rebooted:
        raise Refused(
            f"{VHOST} of vRouter {host.instance.name!r} stands in another network namespace: run "
            "this in there"
        )
    state.forget(host.instance)
    return None


def _settle_earlier(host: Host, there: State | None) -> list[str]:
    """Undo an attempt that did not finish; after a reboot the machine has its own say."""
    if there is None:
        return []
    if there.rebooted and host.links.get(VHOST) is None:
        nic = host.links.get(there.physical)
        if nic is not None and snapshot.take(host.links, nic).addresses:
            state.forget(host.instance)
            return [f"{there.physical} was set up anew at boot: what was saved before is dropped"]
    return ["rolling back an earlier attempt that did not finish", *_give_back(host, there)]


def _give_back(host: Host, there: State) -> list[str]:
    done = steps.run(GiveBack(host, there).steps())
    state.forget(host.instance)
    return done


def _leaving(there: State) -> str:
    """A half take-over stays one: what it had not come to is not missing since."""
    return LEAVING if there.phase == TAKEN else there.phase


@contextlib.contextmanager
def _rollback(host: Host, now: State) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        _give_back(host, now)
        if isinstance(error, OSError):
            what = error.filename or "a system call"
            raise VrouterError(
                f"vhost up on {now.physical}: cannot {what}: {error.strerror}; "
                f"{now.physical} is as it was"
            ) from error
        raise


def _usable(host: Host, physical: str, *, left_over: bool = False) -> Link:
    nic = host.links.need(physical)
    if physical in (VHOST, INNER) or nic.hardware != ARPHRD_ETHER:
        raise DeviceError(f"{physical} cannot be the physical device: it must be an Ethernet NIC")
    if host.core is None:
        raise NotLoaded(host.instance.name)
    if left_over:
        return nic
    for vif in host.core.vifs.items():
        if vif.ifindex == nic.ifindex or vif.name == VHOST:
            raise Refused(
                f"{vif.name} is vif0/{vif.idx} already: delete it first (vif --delete {vif.idx})"
            )
    if host.links.get(VHOST) is not None:
        raise Refused(f"netdevice {VHOST} exists already: delete it first (ip link del {VHOST})")
    return nic


def _refusal(physical: str, blocking: list[Finding]) -> str:
    more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
    return (
        f"{physical} is held{more}: {blocking[0]}; `vrouter vhost up --physical {physical} "
        "--dry-run` lists all, --force takes it nevertheless"
    )


def _is_whole(host: Host, there: State) -> bool:
    outer, inner = host.links.get(VHOST), host.links.get(INNER)
    nic = host.links.get(there.physical)
    if host.core is None or outer is None or inner is None or nic is None:
        return False
    found = {vif.ifindex for vif in host.core.vifs.items()}
    return {inner.ifindex, nic.ifindex} <= found


def undo(instance: Instance, token: str, why: str) -> list[str]:
    """What the guard does: `down`, tried for a while, whatever is in the way at first."""
    end = time.monotonic() + 600
    while True:
        try:
            return [f"{why}: {VHOST} goes down", *down(instance, token=token)]
        except VrouterError as error:
            if time.monotonic() > end:
                return [f"{why}: gave up: {error}"]
            time.sleep(1)
