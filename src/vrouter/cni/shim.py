#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""The CNI plugin that a container runtime runs: it hands the request to the agent.

It stands alone (four modules of the standard library, no other file of this package), so that it
starts in the time that Python needs and can be copied to /opt/cni/bin: `vrouter-cni --install DIR`
does. CNI 0.3.1, 0.4.0, 1.0.0 and 1.1.0.
"""

from __future__ import annotations

import json
import os
import socket
import sys

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
SECONDS = 60.0
MAX_CONFIG = 1 << 20
INVALID_ENVIRONMENT, IO_FAILURE, UNDECODABLE, INVALID_CONFIG = 4, 5, 6, 7
TRY_AGAIN, UNAVAILABLE = 11, 50


class Failed(Exception):  # noqa: N818 - as CNI says it
    """A CNI error: its code and text."""

    def __init__(self, code: int, text: str, details: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.details = details


def _config(text: bytes) -> dict[str, object]:
    if len(text) > MAX_CONFIG:
        raise Failed(UNDECODABLE, "the network configuration on stdin is larger than 1 MiB")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f"the network configuration on stdin is no JSON: {error}"
        raise Failed(UNDECODABLE, why) from None
    if not isinstance(found, dict):
        raise Failed(UNDECODABLE, "the network configuration on stdin is no JSON object")
    return found


def _socket_path(config: dict[str, object]) -> str:
    given = config.get("socket")
    if given is not None:
        if not isinstance(given, str) or not given.startswith("/"):
            raise Failed(INVALID_CONFIG, "socket: expected the path of the agent's socket")
        return given
    name = config.get("instance", os.environ.get("VROUTER_NAME") or "vrouter")
    if not isinstance(name, str) or "/" in name:
        raise Failed(INVALID_CONFIG, "instance: expected the name of a vRouter")
    path = f"/run/vrouter/{name}/api.sock"
    there = f"/proc/1/root{path}"
    return there if not os.path.exists(path) and os.path.exists(there) else path


def _namespace(path: str) -> tuple[int | None, dict[str, object]]:
    """The container's namespace, held open by us, and how the agent finds it: it may see other
    mounts than we do, so it opens our file descriptor and checks that it is the same file."""
    if not path:
        return None, {}
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None, {}  # gone, which only the agent can judge
    status = os.fstat(fd)
    return fd, {
        "netns_fd": f"/proc/{os.getpid()}/fd/{fd}",
        "netns_id": [status.st_dev, status.st_ino],
    }


def _ask(path: str, request: dict[str, object], command: str) -> dict[str, object]:
    body = json.dumps(request).encode()
    head = (
        "POST /cni HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect(path)
            sock.sendall(head.encode() + body)
            answer = b""
            while part := sock.recv(65536):
                answer += part
    except OSError as error:
        why = error.strerror or str(error)
        code = UNAVAILABLE if command == "STATUS" else TRY_AGAIN
        raise Failed(code, "the vRouter agent does not answer", f"{path}: {why}") from None
    status, _, rest = answer.partition(b"\r\n")
    try:
        found = json.loads(rest.partition(b"\r\n\r\n")[2])
        if status.split()[1] == b"200" and isinstance(found, dict):
            return found
        raise Failed(IO_FAILURE, f"the vRouter agent refused: {found['error']}")
    except (ValueError, IndexError, KeyError, TypeError):
        raise Failed(TRY_AGAIN, "the vRouter agent went away before it answered", path) from None


def run(environment: dict[str, str], stdin: bytes) -> tuple[int, str]:
    """Do what the environment and stdin say; the exit code and what to print."""
    version = VERSIONS[-1]
    try:
        command = environment.get("CNI_COMMAND", "")
        if command == "VERSION":
            found = _config(stdin) if stdin.strip() else {}
            told = {"cniVersion": version, "supportedVersions": list(VERSIONS)}
            if found.get("cniVersion") in VERSIONS:
                told["cniVersion"] = str(found["cniVersion"])
            return 0, json.dumps(told)
        if command not in ("ADD", "DEL", "CHECK", "STATUS", "GC"):
            raise Failed(INVALID_ENVIRONMENT, f"CNI_COMMAND is {command[:40]!r}: unknown")
        config = _config(stdin)
        if config.get("cniVersion") in VERSIONS:
            version = str(config["cniVersion"])
        cni = {key: value for key, value in environment.items() if key.startswith("CNI_")}
        fd, namespace = _namespace(environment.get("CNI_NETNS", ""))
        try:
            request = {"env": cni, "config": config, **namespace}
            answer = _ask(_socket_path(config), request, command)
        finally:
            if fd is not None:
                os.close(fd)
        error = answer.get("error")
        if error is not None:
            return 1, json.dumps(error)
        result = answer.get("result")
        return 0, "" if result is None else json.dumps(result)
    except Failed as error:
        told_error = {"cniVersion": version, "code": error.code, "msg": str(error)}
        if error.details:
            told_error["details"] = error.details
        return 1, json.dumps(told_error)


def install(folder: str) -> int:
    """Copy this file into `folder` as `vrouter-cni`, to be run by this Python."""
    with open(__file__, encoding="utf-8") as handle:
        text = handle.read().split("\n", 1)[1]
    target = os.path.join(folder, "vrouter-cni")
    fresh = f"{target}.{os.getpid()}"
    try:
        with open(fresh, "w", encoding="utf-8") as handle:
            handle.write(f"#!{os.path.realpath(sys.executable)} -IS\n{text}")
        os.chmod(fresh, 0o755)
        os.replace(fresh, target)
    except OSError as error:
        print(f"vrouter-cni: cannot write {target}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"vrouter-cni: installed {target}")
    return 0


USAGE = """\
usage: vrouter-cni --install DIR
A container runtime runs this as a CNI plugin, with CNI_COMMAND in its environment and the network
configuration on stdin. --install copies it to DIR, the runtime's folder of plugins."""


def main() -> int:
    """The command."""
    words = sys.argv[1:]
    if len(words) == 2 and words[0] == "--install":
        return install(words[1])
    if words or "CNI_COMMAND" not in os.environ:
        print(USAGE, file=sys.stdout if words in (["-h"], ["--help"]) else sys.stderr)
        return 0 if words in (["-h"], ["--help"]) else 2
    code, text = run(dict(os.environ), sys.stdin.buffer.read(MAX_CONFIG + 1))
    if text:
        print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
