# SPDX-License-Identifier: Apache-2.0
"""The guard: a process that takes a take-over back when its command dies or nobody confirms.

It runs before the first change, in a session of its own, so that neither kill -9 of the command
nor of the operator's login ends it; where systemd runs, as a transient unit besides, which no
end of a session's or service's cgroup reaches. Its standard input is a pipe that the command
holds: "done" comes through it, or its end.

    python -m vrouter.host.takeover.guard NAME TOKEN DEADLINE|-
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import syslog
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vrouter.dpcore.errors import VrouterError

if TYPE_CHECKING:
    from vrouter.dpcore.instance import Instance

_READY, _DONE = b"ready\n", b"done\n"
_POLL = 0.5  # seconds between looks at whether somebody has confirmed
_IS_UNIT = "VROUTER_GUARD_IS_UNIT"
_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
LOG = "vhost.log"


class Watch:
    """The command's side of a running guard."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def done(self) -> None:
        """The command has done all it had to."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(_DONE)
            self._pipe.flush()


@contextlib.contextmanager
def watching(instance: Instance, token: str, deadline: float | None) -> Iterator[Watch]:
    """A guard runs inside the block, and behind it until `deadline` (CLOCK_BOOTTIME).

    It takes take-over `token` back when the block ends by death. When it ends by an exception,
    the guard goes away: the block has cleaned up. Raises VrouterError when none can be started.
    """
    process = _start(instance.name, token, deadline)
    assert process.stdin is not None
    with process.stdin as pipe:
        watch = Watch(pipe)
        try:
            yield watch
        except BaseException:
            watch.done()
            raise


def _start(name: str, token: str, deadline: float | None) -> subprocess.Popen[bytes]:
    until = "-" if deadline is None else repr(deadline)
    command = [sys.executable, "-P", "-m", "vrouter.host.takeover.guard", name, token, until]
    source = str(Path(__file__).resolve().parents[3])
    unit = ["systemd-run", "--quiet", "--collect", "--pipe", f"--unit=vrouter-guard-{token}"]
    unit += [f"--setenv=PYTHONPATH={source}", f"--setenv={_IS_UNIT}=1"]
    for prefix in ([*unit], []) if _SYSTEMD.is_dir() else ([],):
        process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "PYTHONPATH": source},
            start_new_session=True,
        )
        assert process.stdout is not None
        with process.stdout as answer:
            if answer.readline() == _READY:
                if not prefix:
                    process.wait()  # it has left its child behind
                return process
        process.kill()
        process.wait()
    raise VrouterError(
        f"cannot start the guard of the take-over ({' '.join(command[:4])} ended at once): "
        "nothing was changed"
    )


def main(argv: list[str]) -> None:
    """The guard's side."""
    name, token, until = argv
    # process 1 is systemd's, or in a container the command itself
    is_unit = os.getppid() == 1 and _IS_UNIT in os.environ
    if not is_unit and os.fork():
        os._exit(0)  # the command need not wait for us (as a unit, systemd does)
    sys.stdout.buffer.write(_READY)
    sys.stdout.flush()
    _let_go(1)
    # now, while all is well: later they might not be there any more
    from vrouter.dpcore.instance import Instance  # noqa: PLC0415
    from vrouter.host import vhost  # noqa: PLC0415
    from vrouter.host.takeover import state  # noqa: PLC0415

    instance = Instance(name)
    deadline = None if until == "-" else float(until)
    finished = sys.stdin.buffer.readline() == _DONE
    _let_go(0)

    def unfinished() -> bool:
        there = state.read(instance)
        return there is not None and there.token == token and there.phase != state.TAKEN

    def unconfirmed() -> bool:
        there = state.read(instance)
        return there is not None and there.token == token and there.deadline is not None

    if not finished and unfinished():
        _log(instance, vhost.undo(instance, token, "the command was killed"))
    elif deadline is not None:
        while unconfirmed() and time.clock_gettime(time.CLOCK_BOOTTIME) < deadline:
            time.sleep(_POLL)
        if unconfirmed():
            _log(instance, vhost.undo(instance, token, "nobody confirmed"))


def _let_go(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)


def _log(instance: Instance, lines: list[str]) -> None:
    """To syslog, and to a file in the instance's runtime folder."""
    syslog.openlog(f"vrouter-guard[{instance.name}]")
    for line in lines:
        syslog.syslog(syslog.LOG_WARNING, line)
    with contextlib.suppress(OSError), (instance.run_dir / LOG).open("a") as file:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ")
        file.writelines(f"{stamp}{line}\n" for line in lines)


if __name__ == "__main__":
    main(sys.argv[1:])
