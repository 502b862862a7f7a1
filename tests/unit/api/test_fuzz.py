# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent, the API answers in its form, and what it refuses changes nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api import fuzz
from tests.unit.api.asgi import ask
from tests.unit.api.conftest import Api
from tests.unit.api.serving import served
from tests.unit.api.test_serve import BIN

from vrouter.api import client
from vrouter.cni import shim
from vrouter.cni.request import VERSIONS
from vrouter.dpcore import loader
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.sizes import Sizes
from vrouter.host.netlink import Netlink

COUNT, PROCESSES = 20_000, 200
SOAK_COUNT = int(os.environ.get("VR_SOAK_REQUESTS", "1000000"))
_CODES = {1, 2, 3, 4, 5, 6, 7, 11, 50, 100, 101, 102}


def rest_many(api: Api, count: int, first: int) -> None:
    """`count` requests; those of a number are of seed `first` + number."""

    async def all_of_them() -> None:
        for number in range(count):
            r = random.Random(first + number)
            method, path, body = fuzz.rest(r)
            before = dict(api.facade.records)
            try:
                answer = await ask(api.app, method, path, body)
            except BaseException as error:
                raise AssertionError(
                    f"VR_SEED={first + number}: {method} {path!r} {body!r}"
                ) from error
            said = f"VR_SEED={first + number}: {method} {path!r} {body[:500]!r}: {answer}"
            known = (200, 307, 400, 404, 405, 409, 413, 414, 422, 501)
            assert answer.status in known, said
            if answer.status >= 400 and method != "HEAD":
                assert answer.body[:1] == b"{" and answer.body.rstrip()[-1:] == b"}", said
            if answer.status != 200:
                assert api.facade.records == before, said
            if len(api.facade.records) > 200:
                await api.facade.delete([k for k in api.facade.records if k[1] != "blue"])
                await api.ports.delete(list(api.ports._ports))

    api.run(all_of_them())


@pytest.fixture
def quick(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    return api


def test_rest(quick: Api) -> None:
    rest_many(quick, COUNT, fuzz.seed())


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_rest_soak(quick: Api) -> None:
    rest_many(quick, SOAK_COUNT, fuzz.seed(soak=True))


def cni_many(api: Api, monkeypatch: pytest.MonkeyPatch, count: int, first: int) -> None:
    """Through the shim's entry function to the agent's handler, without a namespace to be had."""

    def send(path: str, body: bytes, command: str) -> tuple[bytes, str]:
        answer = api.run(ask(api.app, "POST", "/cni", body))
        assert answer.status in (200, 422), answer
        return str(answer.status).encode(), answer.text

    monkeypatch.setattr(shim, "_ask", send)
    monkeypatch.setattr("vrouter.cni.wire.remove", lambda device: None)
    for number in range(count):
        env, stdin = fuzz.cni(random.Random(first + number))
        said = f"VR_SEED={first + number}: {env} {stdin[:500]!r}"
        try:
            code, printed = shim.run(env, stdin)
        except BaseException as error:
            raise AssertionError(said) from error
        check(code, printed, env.get("CNI_COMMAND", ""), said)
    assert [key[1] for key in api.facade.records] == ["blue"]


def check(code: int, printed: str, command: str, said: str) -> None:
    """What a plugin may say: a result, or an error of a known code."""
    found: Any = json.loads(printed) if printed else None
    if code:
        assert found["code"] in _CODES and found["cniVersion"] in VERSIONS and found["msg"], said
    else:
        assert command in ("DEL", "GC", "STATUS", "VERSION"), f"{said}: {printed}"


def test_cni(quick: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    cni_many(quick, monkeypatch, COUNT, fuzz.seed())


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_cni_soak(quick: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    cni_many(quick, monkeypatch, SOAK_COUNT, fuzz.seed(soak=True))


@pytest.fixture
def doors(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("VROUTER_STATE_DIR", str(tmp_path / "lib"))
    with Netlink() as links:
        links.up("lo")
    loader.load(instance, Sizes.from_args("small", []))
    with served(instance):
        yield str(instance.run_dir / "api.sock")


def test_real_processes(doors: str) -> None:
    """The installed plugin and a real socket: what the entry functions leave out."""
    first = fuzz.seed()
    for number in range(PROCESSES):
        r = random.Random(first + number)
        env, stdin = fuzz.cni(r)
        env = {key: value for key, value in env.items() if "\0" not in value}
        env["VROUTER_NAME"] = Path(doors).parent.name
        env.setdefault("CNI_COMMAND", "")
        done = subprocess.run([BIN / "vrouter-cni"], env=env, input=stdin, capture_output=True)
        said = f"VR_SEED={first + number}: {env} {stdin[:500]!r} {done}"
        assert done.stderr == b"", said
        check(done.returncode, done.stdout.decode(), env["CNI_COMMAND"], said)
        method, path, body = fuzz.rest(r)
        if (
            path.isprintable()
            and path.isascii()
            and " " not in path
            and method in ("GET", "POST", "PUT", "DELETE")
        ):
            status, _ = client.call(doors, method, path, json.loads(body) if _good(body) else None)
            assert status < 500 or status == 501, f"VR_SEED={first + number}: {method} {path}"


def _good(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def test_torn_http(doors: str) -> None:
    """Bytes that are no HTTP: the door stays open for the next."""
    import socket

    r = random.Random(fuzz.seed())
    whole = b"POST /port HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    for _ in range(PROCESSES):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(doors)
            sock.sendall(fuzz.spoiled_bytes(r, whole))
            sock.shutdown(socket.SHUT_WR)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionError:
                pass
    assert client.call(doors, "GET", "/v1/status")[0] == 200
