# SPDX-License-Identifier: Apache-2.0
"""The door for software that was written for upstream's vRouter: a unix stream socket.

One thread serves all clients, a frame of each in turn. A client that does not read its answers
is not read either; one that sends half a frame waits for the rest of it; neither keeps others
waiting. The socket appears under its name only once it accepts, and goes with the door.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import NoSuchEntry, NotLoaded, Refused
from vrouter.dpcore.instance import Instance

from . import frames
from .answering import Answering
from .context import Context
from .devices import Devices
from .frames import HEADER
from .packets import Packets
from .skip import Malformed
from .sockets import bound, locked

NETLINK: Final = "dpdk_netlink"
_LOCK: Final = "dpdk_netlink.lock"
_CLIENTS: Final = 512
_CHUNK: Final = 1 << 16
_BACKLOG: Final = 128
_OUT_MAX: Final = 1 << 18  # bytes of answers that wait for a client before it is read again
_TURN: Final = 0.005  # seconds of a client before it is another one's turn
_TICK: Final = 0.5
_AWAKE: Final = 0.0002


class _Client:
    """A connection: what it sent and is not answered, and answers that it has not read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.out = bytearray()
        self.ended = False
        self.mask = 0  # of the events that are waited for

    @property
    def frame_waits(self) -> bool:
        """Whether a whole frame is there. Raises Malformed: what is there is none."""
        if len(self.received) < HEADER.size:
            return False
        return len(self.received) >= frames.length_of(self.received)

    def take(self) -> bytes:
        """The first frame, which is there."""
        length = frames.length_of(self.received)
        frame = bytes(self.received[:length])
        del self.received[:length]
        return frame


class Door:
    """Serves a folder of sockets for one instance. Call it in the instance's namespace."""

    def __init__(
        self, instance: Instance, folder: Path, far: str | None, say: Callable[[str], None]
    ) -> None:
        self._instance, self._say = instance, say
        self._folder = folder
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._ready: dict[int, _Client] = {}
        self._stop = self._served = False
        self._room = memoryview(bytearray(_CHUNK))
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(folder / _LOCK))
            if (folder / NETLINK).is_socket():
                (folder / NETLINK).unlink()  # of a door that was killed
            self._core = DpCore.open(instance)
            self._devices = Devices(far)
            stack.callback(self._devices.close)
            self._packets = Packets(folder, self._selector, say)
            stack.callback(self._packets.close)
            self._open()
            self._listener = stack.enter_context(bound(folder / NETLINK, socket.SOCK_STREAM))
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
            self._last = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._last.close()
        self._core.close()
        self._selector.close()

    def _open(self) -> None:
        """Everything that hangs on the tables that are open."""
        self._context = Context(self._core, self._devices)
        self._answering = Answering(self._context, self._say)
        self._look()

    # ---- the loop ---------------------------------------------------------------------

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT. Raises NotLoaded when the instance is unloaded."""
        with self._signals():
            while not self._stop:
                self.step(0 if self._ready else _TICK)

    def step(self, timeout: float) -> None:
        """What is ready now, or within `timeout` seconds."""
        events = self._wait(timeout)
        self._renew()
        for key, mask in events:
            key.data(mask)
        # requests come last: what was sent by pkt0 before them has been received by now
        for client in list(self._ready.values()):
            self._served = True
            self._serve(client)
        if self._context.vifs_changed or time.monotonic() > self._looked + _TICK:
            self._look()

    def _wait(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        """What happens within `timeout`. Whoever has just got an answer often asks again at
        once: that is waited for awake, which saves what it costs to be woken."""
        end = time.monotonic() + _AWAKE
        while self._served and time.monotonic() < end:
            events = self._selector.select(0)
            if events or not timeout:
                return events
            self._answering.ahead()
        self._served = False
        return self._selector.select(timeout)

    def _look(self) -> None:
        """Which vif is the Agent vif now; others may have changed it too."""
        self._context.vifs_changed = False
        self._looked = time.monotonic()
        self._packets.follow(self._core)
        self._answering.expire()

    def _renew(self) -> None:
        """After a load that put other tables in place, those are opened."""
        try:
            if self._core.is_current():
                return
        except (NoSuchEntry, FileNotFoundError):
            raise NotLoaded(self._instance.name, "it was unloaded") from None
        self._core.close()
        self._core = DpCore.open(self._instance)
        self._open()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        old = {
            number: signal.signal(number, self._end) for number in (signal.SIGTERM, signal.SIGINT)
        }
        self._selector.register(reader, selectors.EVENT_READ, lambda mask: os.read(reader, 64))
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in old.items():
                signal.signal(number, handler)
            self._selector.unregister(reader)
            os.close(reader)
            os.close(writer)

    def _end(self, number: int, frame: object) -> None:
        self._stop = True

    # ---- clients ----------------------------------------------------------------------

    def _accept(self, mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # it has gone again, or there is no file descriptor left
        if len(self._clients) >= _CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        client = _Client(sock)
        self._clients[sock.fileno()] = client
        self._watch(client, selectors.EVENT_READ)

    def _watch(self, client: _Client, mask: int) -> None:
        """Waits for these events of a client, 0 for none."""

        def called(mask: int) -> None:
            self._on_event(client, mask)

        if mask and client.mask:
            self._selector.modify(client.sock, mask, called)
        elif mask:
            self._selector.register(client.sock, mask, called)
        elif client.mask:
            self._selector.unregister(client.sock)
        client.mask = mask

    def _on_event(self, client: _Client, mask: int) -> None:
        if client.sock.fileno() < 0:
            return
        if mask & selectors.EVENT_WRITE and not self._flush(client):
            return
        if mask & selectors.EVENT_READ and not self._receive(client):
            return
        self._schedule(client)

    def _receive(self, client: _Client) -> bool:
        """Takes what was sent; False: the client is gone."""
        try:
            count = client.sock.recv_into(self._room)
        except BlockingIOError:
            return True
        except OSError:
            count = 0
        if count:
            client.received += self._room[:count]
            return True
        client.ended = True
        # what it asked before it closed its side is still answered
        if not self._has_frame(client) and not client.out:
            self._drop(client)
            return False
        return True

    def _serve(self, client: _Client) -> None:
        """Answers some frames of a client whose turn it is."""
        self._ready.pop(client.sock.fileno(), None)
        if not self._has_frame(client):
            return
        self._answer(client)
        if self._has_frame(client):
            # one lock for all of them; where it is not to be had, each request says so itself
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(Refused):
                    stack.enter_context(self._context.alone())
                end = time.monotonic() + _TURN
                while len(client.out) <= _OUT_MAX and self._has_frame(client):
                    self._answer(client)
                    if time.monotonic() > end:
                        break
        if client.sock.fileno() >= 0 and self._flush(client):
            self._schedule(client)

    def _answer(self, client: _Client) -> None:
        client.out += self._answering.answer(client.take(), client.sock.fileno())

    def _has_frame(self, client: _Client) -> bool:
        """Whether a request waits; a client that sends something else is dropped."""
        if client.sock.fileno() < 0:
            return False
        try:
            return client.frame_waits
        except Malformed as error:
            self._say(f"a client is dropped: {error}")
            self._drop(client)
            return False

    def _flush(self, client: _Client) -> bool:
        """Sends what the client takes; False: it is gone."""
        while client.out:
            try:
                sent = client.sock.send(client.out[:_CHUNK])
            except BlockingIOError:
                return True
            except OSError:
                self._drop(client)
                return False
            del client.out[:sent]
        return True

    def _schedule(self, client: _Client) -> None:
        """What comes next for a client: its turn, or an event."""
        has_frame = self._has_frame(client)
        number = client.sock.fileno()
        if number < 0:
            return
        if client.ended and not has_frame and not client.out:
            self._drop(client)
            return
        full = len(client.out) > _OUT_MAX
        if has_frame and not full:
            self._ready[number] = client
        read = not (full or client.ended or len(client.received) > frames.MAX_FRAME)
        mask = selectors.EVENT_READ if read else 0
        mask |= selectors.EVENT_WRITE if client.out else 0
        if mask != client.mask:
            self._watch(client, mask)

    def _drop(self, client: _Client) -> None:
        number = client.sock.fileno()
        if number < 0:
            return
        self._watch(client, 0)
        self._clients.pop(number, None)
        self._ready.pop(number, None)
        self._answering.forget(number)
        client.sock.close()
        client.received.clear()
