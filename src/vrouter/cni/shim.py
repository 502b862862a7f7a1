#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""The CNI plugin that a container runtime runs: it hands the request to the agent.

It stands alone (no other file of this package), so that it can be put into /opt/cni/bin:
`vrouter-cni --install DIR` does (install.py). A runtime waits for it, so it imports next to
nothing, not even `os`: `json` and `socket` bring `re` and `enum`, and would more than double the
time that Python takes to start. So the agent reads and writes the JSON; the body of a request is
the environment, NUL between its parts, an empty part, and stdin as it came.
CNI 0.3.1, 0.4.0, 1.0.0 and 1.1.0.
"""

from __future__ import annotations

import posix
import sys

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
SECONDS = 60.0
MAX_CONFIG = 1 << 20
INVALID_ENVIRONMENT, IO_FAILURE, UNDECODABLE, INVALID_CONFIG = 4, 5, 6, 7
TRY_AGAIN, UNAVAILABLE = 11, 50
DONE, FAILED = b"200", b"422"
_SUPPORTED = '{"cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}'


class Failed(Exception):  # noqa: N818 - as CNI says it
    """A CNI error: its code and text."""

    def __init__(self, code: int, text: str, details: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.details = details


def _config(text: bytes) -> dict[str, object]:
    import json  # noqa: PLC0415 - see above

    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f"the network configuration on stdin is no JSON: {error}"
        raise Failed(UNDECODABLE, why) from None
    if not isinstance(found, dict):
        raise Failed(UNDECODABLE, "the network configuration on stdin is no JSON object")
    return found


def _socket_path(environment: dict[str, str], stdin: bytes) -> str:
    name: object = environment.get("VROUTER_NAME") or "vrouter"
    if b'"socket"' in stdin or b'"instance"' in stdin or b"\\u" in stdin:
        config = _config(stdin)
        given = config.get("socket")
        if given is not None:
            if not isinstance(given, str) or not given.startswith("/"):
                raise Failed(INVALID_CONFIG, "socket: expected the path of the agent's socket")
            return given
        name = config.get("instance", name)
    if not isinstance(name, str) or "/" in name:
        raise Failed(INVALID_CONFIG, "instance: expected the name of a vRouter")
    path = f"/run/vrouter/{name}/api.sock"
    there = f"/proc/1/root{path}"
    return there if not _is_there(path) and _is_there(there) else path


def _is_there(path: str) -> bool:
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


def _namespace(path: str) -> tuple[int | None, dict[str, str]]:
    """The container's namespace, held open by us, and how the agent finds it: it may see other
    mounts than we do, so it opens our file descriptor and checks that it is the same file."""
    if not path:
        return None, {}
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except (OSError, ValueError):
        return None, {}  # gone, which only the agent can judge
    status = posix.fstat(fd)
    return fd, {
        "VROUTER_NETNS_FD": f"/proc/{posix.getpid()}/fd/{fd}",
        "VROUTER_NETNS_ID": f"{status.st_dev}:{status.st_ino}",
    }


def _ask(path: str, body: bytes, command: str) -> tuple[bytes, str]:
    """(status, text) of the agent's answer."""
    from _socket import AF_UNIX, SOCK_STREAM, socket  # noqa: PLC0415 - see above

    head = (
        "POST /cni HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    sock = socket(AF_UNIX, SOCK_STREAM)
    answer = b""
    try:
        sock.settimeout(SECONDS)
        sock.connect(path)
        sock.sendall(head.encode() + body)
        while part := sock.recv(65536):
            answer += part
    except OSError as error:
        why = error.strerror or str(error)
        code = UNAVAILABLE if command == "STATUS" else TRY_AGAIN
        raise Failed(code, "the vRouter agent does not answer", f"{path}: {why}") from None
    finally:
        sock.close()
    status = answer.partition(b"\r\n")[0].split()
    head_end, _, text = answer.partition(b"\r\n\r\n")
    length = head_end.lower().partition(b"content-length:")[2].split()
    if len(status) < 2 or not length or length[0] != str(len(text)).encode():
        raise Failed(TRY_AGAIN, "the vRouter agent went away before it answered", path)
    return status[1], text.decode()


def run(environment: dict[str, str], stdin: bytes) -> tuple[int, str]:
    """Do what the environment and stdin say; the exit code and what to print."""
    try:
        command = environment.get("CNI_COMMAND", "")
        if command == "VERSION":
            return 0, _SUPPORTED
        if command not in ("ADD", "DEL", "CHECK", "STATUS", "GC"):
            raise Failed(INVALID_ENVIRONMENT, f"CNI_COMMAND is {command[:40]!r}: unknown")
        if len(stdin) > MAX_CONFIG // 2:
            raise Failed(UNDECODABLE, "the network configuration on stdin is larger than 512 KiB")
        told = {key: value for key, value in environment.items() if key.startswith("CNI_")}
        path = _socket_path(environment, stdin)
        fd, namespace = _namespace(environment.get("CNI_NETNS", ""))
        try:
            parts = [f"{key}={value}" for key, value in {**told, **namespace}.items()]
            body = "\0".join([*parts, "", ""]).encode("utf-8", "surrogateescape") + stdin
            status, text = _ask(path, body, command)
        finally:
            if fd is not None:
                posix.close(fd)
        if status not in (DONE, FAILED):
            raise Failed(IO_FAILURE, "the vRouter agent refused", text)
        return int(status == FAILED), text
    except Failed as error:
        return 1, _error(error, stdin)


def _error(error: Failed, stdin: bytes) -> str:
    import json  # noqa: PLC0415 - see above

    try:
        version = _config(stdin[: MAX_CONFIG + 1]).get("cniVersion")
    except Failed:
        version = None
    told: dict[str, object] = {
        "cniVersion": version if version in VERSIONS else VERSIONS[-1],
        "code": error.code,
        "msg": str(error),
    }
    if error.details:
        told["details"] = error.details
    return json.dumps(told)


USAGE = """\
A container runtime runs this as a CNI plugin, with CNI_COMMAND in its environment and the network
configuration on stdin."""


def main() -> None:
    """The plugin, to the end of the process."""
    escape = "surrogateescape"  # as `os` has it, which is not imported
    environment = {
        key.decode("utf-8", escape): value.decode("utf-8", escape)
        for key, value in posix.environ.items()
    }
    if len(sys.argv) > 1 or "CNI_COMMAND" not in environment:
        print(USAGE, file=sys.stderr)
        posix._exit(2)
    code, text = run(environment, sys.stdin.buffer.read(MAX_CONFIG + 1))
    if text:
        print(text, flush=True)
    posix._exit(code)  # nothing is open: what Python would tidy up takes it 2 ms


if __name__ == "__main__":
    main()
