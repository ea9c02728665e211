"""The wire: frames arrive as sent, and only from those who know the secret."""

import secrets
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cookbook_lib.runtime.channel import ChannelError, Link, call, gather_links


@pytest.fixture
def links():
    """Both ends of one connection."""
    a, b = _tcp_pair()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(Link, b, b"secret", listening=False)
        yield Link(a, b"secret", listening=True), other.result()
    a.close()
    b.close()


def _tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = socket.create_connection(server.getsockname())
        return server.accept()[0], caller


def test_frames_arrive_in_order_both_ways(links):
    one, other = links
    for n in range(5):
        one.send("cell", turn=n, code="é" * n)
        other.send("verdict", turn=n)
    assert [other.receive() for _ in range(5)] == [{"kind": "cell", "turn": n, "code": "é" * n} for n in range(5)]
    assert [one.receive()["turn"] for _ in range(5)] == list(range(5))


def test_a_large_frame_arrives_whole(links):
    one, other = links
    one.send("hello")
    other.receive()
    text = "x" * 5_000_000
    sender = threading.Thread(target=one.send, args=("output",), kwargs={"text": text})
    sender.start()
    assert other.receive()["text"] == text
    sender.join()


def test_the_end_of_the_peer_is_noticed(links):
    one, other = links
    one.close()
    with pytest.raises(ChannelError, match="closed"):
        other.receive()


def test_a_changed_or_repeated_frame_is_refused(links):
    one, other = links
    tag = one._tag(one._outgoing, 0, b"{}")
    frame = struct.pack(">I", 2) + tag + b"{}"
    one._socket.sendall(frame + frame)
    assert other.receive() == {}
    with pytest.raises(ChannelError, match="signature"):
        other.receive()


def test_strangers_are_turned_away_and_ranks_are_gathered():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(4) as pool:
        address = server.getsockname()
        gathered = pool.submit(gather_links, server, 2, b"secret")
        scanner = socket.create_connection(address)
        scanner.sendall(secrets.token_bytes(200))
        with pytest.raises(ChannelError):
            call(address, b"another secret", rank=1)
        links = [call(address, b"secret", rank=rank) for rank in (1, 2)]
        callers = gathered.result(10)
        assert {rank: hello["rank"] for rank, (_, hello) in callers.items()} == {1: 1, 2: 2}
        for link in [*links, *(link for link, _ in callers.values())]:
            link.close()
        scanner.close()
