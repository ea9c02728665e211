"""The environment, checked: every refusal names the variable, the value, the rule."""

from itertools import pairwise

import pytest

from cookbook_lib.runtime.launch import ranks_on_this_node, torchrun_arguments
from cookbook_lib.runtime.settings import RuntimeSettingError, Settings, read_settings


def test_defaults():
    assert read_settings({}) == Settings()


def test_cookbook_variables_win_over_torchruns():
    settings = read_settings(
        {"MASTER_ADDR": "a", "MASTER_PORT": "1", "COOKBOOK_MASTER_ADDR": "b", "COOKBOOK_MASTER_PORT": "2"}
    )
    assert (settings.master_addr, settings.master_port) == ("b", 2)
    assert read_settings({"MASTER_ADDR": "a", "MASTER_PORT": "1"}).master_port == 1


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"COOKBOOK_NPROC": "two"}, "COOKBOOK_NPROC is 'two'; it must be a number from 1, gpu, cpu or auto"),
        ({"COOKBOOK_NPROC": "0"}, "COOKBOOK_NPROC is '0'"),
        ({"COOKBOOK_OUTPUT": "some"}, "COOKBOOK_OUTPUT is 'some'; it must be all or rank0"),
        ({"COOKBOOK_GRACE": "soon"}, "COOKBOOK_GRACE is 'soon'; it must be a number of seconds from 0"),
        ({"COOKBOOK_LINGER": "nan"}, "COOKBOOK_LINGER is 'nan'"),
        ({"COOKBOOK_NNODES": "-1"}, "COOKBOOK_NNODES is '-1'; it must be a whole number from 1"),
        ({"COOKBOOK_NODE_RANK": "1"}, r"COOKBOOK_NODE_RANK is 1, but there are 1 node\(s\); it must be 0 to 0"),
        ({"COOKBOOK_NNODES": "2"}, "COOKBOOK_AUTHKEY is not set, and 2 nodes need one secret"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(environment, sentence):
    with pytest.raises(RuntimeSettingError, match=sentence):
        read_settings(environment)


def test_gpu_without_one_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeSettingError, match="torch sees no GPU here"):
        ranks_on_this_node("gpu")
    assert ranks_on_this_node("auto") >= 1
    assert ranks_on_this_node("3") == 3


def test_several_nodes_meet_by_static_rendezvous():
    arguments = torchrun_arguments(Settings(nnodes=2, node_rank=1, master_addr="host", master_port=7), 4, "")
    assert "--standalone" not in arguments
    for pair in (("--node-rank", "1"), ("--master-addr", "host"), ("--master-port", "7"), ("--nproc-per-node", "4")):
        assert pair in list(pairwise(arguments))
