"""The wire between rank 0 and each other rank: JSON frames over TCP, every one of them signed.

    handshake   both sides send 32 random bytes; key = HMAC-SHA256(secret, listener's bytes + caller's bytes)
    frame       length (4 bytes) | HMAC-SHA256(key, direction + counter + body) (32 bytes) | body (JSON)

A peer without the secret cannot make one valid frame, and a recorded frame fits no other place, direction or
connection. No pickle. Frames are not encrypted: code and output travel in plain text, so several nodes belong on a
private network. The end of the stream means that the peer is dead; the kernel sends TCP keep-alives so that a lost node
is noticed as well.
"""

import hmac
import json
import os
import secrets
import socket
import struct
import threading
from typing import Any

Frame = dict[str, Any]

_TAG_BYTES = 32
_MAX_UNKNOWN = 1 << 16  # bytes of the first frame, from a peer that has not shown yet that it knows the secret
_MAX_KNOWN = 1 << 30
_HANDSHAKE_SECONDS = 20.0


class ChannelError(ConnectionError):
    """The peer closed the connection, or does not know the secret."""


class Link:
    """One end of a connection; `send` from any thread, `receive` from one."""

    def __init__(self, connection: socket.socket, secret: bytes, *, listening: bool) -> None:
        """Exchange nonces over a fresh connection; raises ChannelError or OSError when the peer does not answer."""
        self._socket = connection
        self._lock = threading.Lock()
        self._sent = self._received = 0
        self._outgoing, self._incoming = (b"down", b"up") if listening else (b"up", b"down")
        connection.settimeout(_HANDSHAKE_SECONDS)
        _keep_alive(connection)
        mine = secrets.token_bytes(32)
        connection.sendall(mine)
        theirs = self._read(32)
        nonces = mine + theirs if listening else theirs + mine
        self._key = hmac.digest(secret, nonces, "sha256")
        # A forked child (a DataLoader worker) that kept the socket open would hide this rank's death from its peer.
        os.register_at_fork(after_in_child=connection.close)

    def send(self, kind: str, **fields: Any) -> None:
        """Send one frame; raises OSError when the peer is gone."""
        body = json.dumps({"kind": kind, **fields}).encode()
        with self._lock:
            tag = self._tag(self._outgoing, self._sent, body)
            self._sent += 1
            self._socket.sendall(struct.pack(">I", len(body)) + tag + body)

    def receive(self) -> Frame:
        """Wait for one frame; raises ChannelError at the end of the stream or for a frame that is not signed."""
        (length,) = struct.unpack(">I", self._read(4))
        if length > (_MAX_KNOWN if self._received else _MAX_UNKNOWN):
            raise ChannelError(f"a frame of {length} bytes: not one of ours")
        tag, body = self._read(_TAG_BYTES), self._read(length)
        if not hmac.compare_digest(tag, self._tag(self._incoming, self._received, body)):
            raise ChannelError("a frame with a wrong signature: COOKBOOK_AUTHKEY differs between the nodes")
        if not self._received:
            self._socket.settimeout(None)
        self._received += 1
        frame: Frame = json.loads(body)
        return frame

    def close(self) -> None:
        """Close the connection; the peer's `receive` ends."""
        self._socket.close()

    @property
    def descriptor(self) -> int:
        """The file descriptor, for whoever closes others."""
        return self._socket.fileno()

    def _tag(self, direction: bytes, count: int, body: bytes) -> bytes:
        return hmac.digest(self._key, direction + count.to_bytes(8, "big") + body, "sha256")

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                chunk = self._socket.recv(min(size - len(data), 1 << 20))
            except OSError as error:
                raise ChannelError(f"connection lost ({error})") from error
            if not chunk:
                raise ChannelError("the peer closed the connection")
            data += chunk
        return bytes(data)


def call(address: tuple[str, int], secret: bytes, **hello: Any) -> Link:
    """Connect to rank 0, introduce this rank, and wait until it shows that it knows the secret too."""
    link = Link(socket.create_connection(address, timeout=_HANDSHAKE_SECONDS), secret, listening=False)
    link.send("hello", **hello)
    link.receive()
    return link


def gather_links(server: socket.socket, count: int, secret: bytes) -> dict[int, tuple[Link, Frame]]:
    """Accept until `count` ranks have introduced themselves: {rank: (link, hello)}. Strangers are turned away."""
    callers: dict[int, tuple[Link, Frame]] = {}
    complete = threading.Event()

    def admit(connection: socket.socket) -> None:
        try:
            link = Link(connection, secret, listening=True)
            hello = link.receive()
            link.send("welcome")
        except (OSError, ValueError):
            connection.close()
            return
        callers[hello["rank"]] = (link, hello)
        if len(callers) == count:
            complete.set()

    server.settimeout(0.1)
    while not complete.is_set():
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        threading.Thread(target=admit, args=(connection,), daemon=True).start()
    return callers


def _keep_alive(connection: socket.socket) -> None:
    """Notice a peer that vanished without a word after about 5 + 3 x 2 seconds."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
