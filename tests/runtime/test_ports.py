"""Nobody takes a kernel's ports between Jupyter's choice and the kernel's start."""

import json
import socket
from pathlib import Path

import pytest
import zmq
from jupyter_client.connect import write_connection_file

from cookbook_lib.runtime.ports import CAN_HOLD, PORT_NAMES, hold, hold_ports_of
from tests.jobs import wait_until

pytestmark = pytest.mark.skipif(not CAN_HOLD, reason="ports are held on Linux alone")

LOCALHOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """By the rule by which the system gives ports away: without SO_REUSEADDR."""
    with socket.socket() as probe:
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


def ports_in(connection_file: Path) -> list[int]:
    connection = json.loads(connection_file.read_text())
    return [connection[name] for name in PORT_NAMES]


def test_a_held_port_is_the_kernels_alone():
    holder = hold(LOCALHOST)
    port = holder.getsockname()[1]
    assert not is_free(port)
    with zmq.Context() as context, context.socket(zmq.REP) as kernel, context.socket(zmq.REQ) as client:
        kernel.bind(f"tcp://{LOCALHOST}:{port}")
        client.connect(f"tcp://{LOCALHOST}:{port}")
        client.send(b"hello")
        assert kernel.recv() == b"hello"
    holder.close()
    assert is_free(port)


def test_a_port_that_is_taken_is_not_held():
    with socket.create_server((LOCALHOST, 0)) as server, pytest.raises(OSError, match="in use"):
        hold(LOCALHOST, server.getsockname()[1])


def test_the_ports_of_a_connection_file(tmp_path):
    name, _ = write_connection_file(str(tmp_path / "kernel.json"))
    ports = ports_in(Path(name))
    with socket.create_server((LOCALHOST, ports[0])):  # as a kernel before a restart may
        held = hold_ports_of(name)
    assert [holder.getsockname()[1] for holder in held] == ports[1:]
    for holder in held:
        holder.close()


def test_a_connection_file_without_ports(tmp_path):
    name, _ = write_connection_file(str(tmp_path / "kernel.json"), transport="ipc", ip=str(tmp_path / "socket"))
    assert hold_ports_of(name) == []


@pytest.mark.slow
def test_the_launcher_holds_the_ports(runs):
    name, _ = write_connection_file(str(runs.folder / "kernel.json"))
    runs.start("-m", "cookbook_lib.runtime.launch", "-f", name)
    wait_until(lambda: any("RANK" in environment for environment in runs.job.processes().values()))
    assert not any(map(is_free, ports_in(Path(name)))), "rank 0 has only just begun to import"


@pytest.mark.slow
def test_a_rank_0_that_finds_its_port_taken_ends_the_other_ranks(runs):
    name, _ = write_connection_file(str(runs.folder / "kernel.json"))
    with socket.create_server((LOCALHOST, ports_in(Path(name))[0])):
        start = ["-m", "cookbook_lib.runtime.launch", "-f", name, "--nproc", "2"]
        launcher = runs.start(*start, COOKBOOK_LINGER="100")
        done = launcher.finish(25)  # left to the agent: 30 seconds more
    assert done.code == 1
    assert "Address already in use" in done.text
    assert not runs.job.left_after(3)


@pytest.mark.slow
def test_the_runner_holds_the_ports_from_their_choice_on(runs):
    runs.notebook("print('started')")
    run = runs.cookbook("run", "book.ipynb", "-n", "1", "-o", "out.ipynb", TMPDIR=str(runs.folder))
    wait_until(lambda: [file for file in runs.folder.glob("*.json") if file.stat().st_size])
    [connection_file] = runs.folder.glob("*.json")
    ports = ports_in(connection_file)
    while "started" not in run.log.read_text():
        assert not any(map(is_free, ports)), "another process could take it"
        assert run.process.poll() is None, run.log.read_text()
    assert run.finish().code == 0
