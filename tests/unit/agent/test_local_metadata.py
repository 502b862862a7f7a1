# SPDX-License-Identifier: Apache-2.0
"""The metadata proxy against a Nova that says or does not say what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.unit.agent.local_rig import Streams, Told, served
from tests.unit.services.rig import PORT1

from vrouter.agent.desired.records import Interface, LinkLocal
from vrouter.agent.local import headers, metadata
from vrouter.agent.local.config import MetadataConfig, TcpConfig, check, read_secret, tls_context
from vrouter.agent.local.metadata import Metadata, Nova
from vrouter.dpcore.errors import BadValue, Refused

UUID, PROJECT = "b2c7e3a0-9b1f-4f0e-8a55-0c8d1a2b3c4d", "11112222-3333-4444-5555-666677778888"
OWNER = Interface(name="if1", network="red", mac="02:00:0a:01:01:0a", vm_uuid=UUID, project=PROJECT)
PORT = replace(PORT1, interface=OWNER)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Proxy:
    """The proxy, what Nova was asked, what was counted. answer: what Nova says, or b"" for an
    end without a word; None: it is silent."""

    def __init__(self, answer: bytes | None = OK) -> None:
        self.answer = answer
        self.told = Told()
        self.asked: list[bytes] = []
        self.allowed = 100
        self.connect: Callable[[], Awaitable[Streams]]
        self.nova_of: Metadata

    def allow(self, vif: int, service: str) -> bool:
        self.allowed -= 1
        return self.allowed >= 0

    async def nova(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
        self.asked.append(head + await reader.readexactly(size))
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer)
        writer.close()


@contextlib.asynccontextmanager
async def proxy(
    answer: bytes | None = OK, *, port: object = PORT, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    made = Proxy(answer)
    server = await asyncio.start_server(made.nova, "127.0.0.1", 0, ssl=tls)
    service = LinkLocal(
        name="m",
        address="169.254.169.254",
        port=80,
        target="127.0.0.1",
        target_port=server.sockets[0].getsockname()[1],
        metadata=True,
    )
    serving = made.nova_of = Metadata(Nova(b"secret", timeout=0.3), made.allow, made.told)
    async with served(lambda client: serving.serve(client, service), port=port) as connect:  # type: ignore[arg-type]
        made.connect = connect
        yield made
    server.close()


async def exchange(made: Proxy, *pieces: bytes, end: bool = True) -> bytes:
    """All that comes back."""
    reader, writer = await made.connect()
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01 if len(pieces) > 1 else 0)
    if end:
        writer.write_eof()
    found = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(5):
            while data := await reader.read(65_536):
                found += data
    writer.close()
    return found


def test_one_request_after_the_other() -> None:
    async def main() -> None:
        async with proxy() as made:
            chunked = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunked += b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
            found = await exchange(made, GET + chunked + GET)
            assert found.count(b"HTTP/1.1 200 OK") == 3 and found.count(b"\r\n\r\nok") == 3
            assert made.asked[1].endswith(b"\r\n\r\nabcde")
            assert b"content-length: 5" in made.asked[1].lower()
            assert b"chunked" not in made.asked[1] and b"connection: close" in made.asked[1].lower()
            assert made.told.counts == {"metadata: answered 2xx": 3}

    asyncio.run(main())


def test_in_pieces() -> None:
    async def main() -> None:
        async with proxy() as made:
            pieces = [GET[at : at + 1] for at in range(len(GET))]
            assert (await exchange(made, *pieces)).endswith(b"ok")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "status", "result"),
    [
        (b"GARBAGE\r\n\r\n", 400, "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"),
        (b"GET /a HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "malformed"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nX y: z\r\n\r\n", 400, "malformed"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\nd\r\n\r\n", 400, "malformed"),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "malformed"),
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            400,
            "malformed",
        ),
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
            "malformed",
        ),
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
            "malformed",
        ),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 400, "malformed"),
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000),
            413,
            "body too long",
        ),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "head too long"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200_000, 431, "head too long"),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501, "method"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    ],
)
def test_what_is_no_request(sent: bytes, status: int, result: str) -> None:
    async def main() -> None:
        async with proxy() as made:
            found = await exchange(made, sent)
            assert found.startswith(b"HTTP/1.1 %d " % status), found[:200]
            assert made.told.counts == {f"metadata: {result}": 1}
            assert not made.asked

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "status", "result"),
    [
        (b"", 502, "nova malformed"),
        (b"SSH-2.0-nova\r\n\r\n", 502, "nova malformed"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 80_000, 502, "nova malformed"),
        (None, 504, "nova silent"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, "answered 2xx"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nno such key", 404, "answered 4xx"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "answered 2xx"),
    ],
)
def test_what_nova_says(answer: bytes | None, status: int, result: str) -> None:
    async def main() -> None:
        async with proxy(answer) as made:
            found = await exchange(made, GET)
            assert found.startswith(b"HTTP/1.1 %d " % status), found[:200]
            assert made.told.counts == {f"metadata: {result}": 1}

    asyncio.run(main())


def test_an_answer_that_is_cut_short_is_seen_to_be() -> None:
    async def main() -> None:
        async with proxy(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf") as made:
            reader, writer = await made.connect()
            writer.write(GET)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readuntil(b"half and whole")
            assert made.told.counts == {"metadata: answer cut short": 1}
            writer.close()

    asyncio.run(main())


def test_head_has_no_body_also_when_it_fails() -> None:
    async def main() -> None:
        async with proxy(port=None) as made:
            found = await exchange(made, b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
            first, second = found.split(b"HTTP/1.1 404 Not Found\r\n")[1:]
            assert first.endswith(b"\r\n\r\n") and second.endswith(b"10.1.1.10\n")
            assert made.told.counts == {"metadata: unknown instance": 2}

    asyncio.run(main())


def test_slow_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLE_SECONDS", "BODY_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(metadata, name, 0.1)

    async def main() -> None:
        async with proxy() as made:
            assert await exchange(made, end=False) == b""
            assert b" 408 " in await exchange(made, b"GET / HT", end=False)
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            assert b" 408 " in await exchange(made, head, end=False)
            assert made.told.counts == {"metadata: request too slow": 2}

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(4))
def test_garbage(seed: int) -> None:
    """Whatever comes: an answer or the end, and no error of the program."""
    chance = random.Random(seed)
    good = (
        GET
        + b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    )

    async def main() -> None:
        async with proxy() as made:
            for _ in range(50):
                data = bytearray(good)
                for _ in range(chance.randrange(1, 8)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                found = await exchange(made, bytes(data[: chance.randrange(1, len(data) + 1)]))
                assert found == b"" or found.startswith(b"HTTP/1.1 ")

    asyncio.run(main())


def test_who_asks_too_often_is_told() -> None:
    async def main() -> None:
        async with proxy() as made:
            made.allowed = 2
            found = await exchange(made, GET * 3)
            assert (found.count(b" 200 OK"), found.count(b" 429 Too Many")) == (2, 1)
            assert made.told.counts["metadata: too many requests"] == 1

    asyncio.run(main())


def test_headers_to_nova() -> None:
    sent = [
        (b"Host", b"169.254.169.254"),
        (b"Connection", b"close, X-Mine"),
        (b"x-mine", b"1"),
        (b"Keep-Alive", b"5"),
        (b"Content-Length", b"3"),
        (b"X-INSTANCE-ID", b"forged"),
        (b"x_instance_id_signature", b"forged"),
        (b"X-Tenant_Id", b"forged"),
        (b"X-Forwarded-Host", b"forged"),
        (b"Forwarded", b"for=forged"),
        (b"X-Metadata-Token", b"t"),
        (b"X-aws-ec2-metadata-token", b"kept"),
    ]
    assert headers.of_request(sent, 0) == [
        (b"Host", b"169.254.169.254"),
        (b"X-aws-ec2-metadata-token", b"kept"),
        (b"Connection", b"close"),
    ]
    said = headers.of_instance(OWNER, ip_address("10.1.1.10"), b"secret")
    assert said == [
        (b"X-Forwarded-For", b"10.1.1.10"),
        (b"X-Instance-ID", UUID.encode()),
        (b"X-Tenant-ID", b"11112222333344445555666677778888"),
        # echo -n UUID | openssl dgst -sha256 -hmac secret
        (b"X-Instance-ID-Signature", SIGNATURE),
    ]


SIGNATURE = b"906391d40945b33d46c2dfa0b4fbc1e5ac58d20cf15678e8dd310a5e9dbfdbed"


def test_nova_by_tls(tmp_path: Path) -> None:
    """Its certificate must be one that is trusted, and name the target."""
    key, cert = tmp_path / "key", tmp_path / "cert"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=nova"
    command += f" -days 2 -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    subprocess.run(command.split(), check=True, capture_output=True)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(cert, key)

    async def main() -> None:
        for ca_file, status in ((str(cert), b" 200 "), ("", b" 502 ")):
            async with proxy(tls=own) as made:
                trusted = tls_context(MetadataConfig(tls=True, ca_file=ca_file))
                made.nova_of.nova = replace(made.nova_of.nova, tls=trusted)
                assert (await exchange(made, GET)).startswith(b"HTTP/1.1" + status)

    asyncio.run(main())


def test_configuration(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    with pytest.raises(Refused, match="secret_file"):
        check(TcpConfig(), MetadataConfig(secret_file=str(secret)))
    secret.write_bytes(b" \n")
    with pytest.raises(Refused, match="is empty"):
        check(TcpConfig(), MetadataConfig(secret_file=str(secret)))
    secret.write_bytes(b"secret\n")
    assert read_secret(MetadataConfig(secret_file=str(secret))) == b"secret"
    check(TcpConfig(), MetadataConfig(secret_file=str(secret), tls=True))
    with pytest.raises(Refused, match="ca_file"):
        check(TcpConfig(), MetadataConfig(tls=True, ca_file="/nowhere"))
    with pytest.raises(BadValue, match="connections_per_port"):
        check(TcpConfig(connections=1), MetadataConfig())
