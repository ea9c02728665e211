"""Everything that the runtime takes from its environment, in one typed place.

COOKBOOK_NPROC        ranks on this node: a number, "gpu" (one per GPU), "cpu" or "auto"            default 1
COOKBOOK_NNODES       number of nodes                                                               default 1
COOKBOOK_NODE_RANK    which of them this one is; 0 holds the notebook                               default 0
COOKBOOK_MASTER_ADDR  address of node 0 (or MASTER_ADDR)                                 default 127.0.0.1
COOKBOOK_MASTER_PORT  free port on node 0 (or MASTER_PORT)                                      default 29500
COOKBOOK_AUTHKEY      secret of the job: made up on one node, the same on all nodes of several
COOKBOOK_OUTPUT       "rank0": other ranks show errors and stderr only; "all": everything      default rank0
COOKBOOK_GRACE        seconds that ranks may go on after another one failed in the same cell       default 5
COOKBOOK_STOP_GRACE   seconds that a stopped cell may take to save its work and end              default 120
COOKBOOK_LINGER       seconds that a kernel with a dead rank still answers                        default 10
COOKBOOK_LOG_DIR      folder for what ranks print below Python (C++ libraries)                  default none
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass


class RuntimeSettingError(Exception):
    """A problem that the user can mend; the message is the whole explanation."""


@dataclass(frozen=True)
class Settings:
    """The environment of one job, checked. Seconds for durations."""

    nproc: str = "1"
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str = "127.0.0.1"
    master_port: int = 29500
    authkey: str = ""
    output: str = "rank0"
    grace: float = 5.0
    stop_grace: float = 120.0
    linger: float = 10.0
    log_dir: str = ""

    @property
    def secret(self) -> bytes:
        """The key of the rank channel."""
        return self.authkey.encode()


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check COOKBOOK_*; raises RuntimeSettingError naming the variable, the value found and the rule."""
    settings = Settings(
        nproc=environ.get("COOKBOOK_NPROC", "1"),
        nnodes=_whole(environ, "COOKBOOK_NNODES", 1, least=1),
        node_rank=_whole(environ, "COOKBOOK_NODE_RANK", 0, least=0),
        master_addr=environ.get("COOKBOOK_MASTER_ADDR") or environ.get("MASTER_ADDR") or "127.0.0.1",
        master_port=_whole(
            environ, "COOKBOOK_MASTER_PORT" if "COOKBOOK_MASTER_PORT" in environ else "MASTER_PORT", 29500, least=1
        ),
        authkey=environ.get("COOKBOOK_AUTHKEY", ""),
        output=environ.get("COOKBOOK_OUTPUT", "rank0"),
        grace=_seconds(environ, "COOKBOOK_GRACE", 5.0),
        stop_grace=_seconds(environ, "COOKBOOK_STOP_GRACE", 120.0),
        linger=_seconds(environ, "COOKBOOK_LINGER", 10.0),
        log_dir=environ.get("COOKBOOK_LOG_DIR", ""),
    )
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    number = settings.nproc.isdecimal() and int(settings.nproc) > 0
    if not number and settings.nproc not in ("gpu", "cpu", "auto"):
        raise RuntimeSettingError(
            f"COOKBOOK_NPROC is {settings.nproc!r}; it must be a number from 1, gpu, cpu or auto."
        )
    if settings.output not in ("all", "rank0"):
        raise RuntimeSettingError(f"COOKBOOK_OUTPUT is {settings.output!r}; it must be all or rank0.")
    if settings.node_rank >= settings.nnodes:
        raise RuntimeSettingError(
            f"COOKBOOK_NODE_RANK is {settings.node_rank}, but there are {settings.nnodes} node(s); "
            f"it must be 0 to {settings.nnodes - 1}."
        )
    if settings.nnodes > 1 and not settings.authkey:
        raise RuntimeSettingError(
            f"COOKBOOK_AUTHKEY is not set, and {settings.nnodes} nodes need one secret: "
            "export the same COOKBOOK_AUTHKEY on every node, for instance from `openssl rand -hex 32`."
        )


def _whole(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise RuntimeSettingError(f"{name} is {text!r}; it must be a whole number from {least}.")
    return int(text)


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise RuntimeSettingError(f"{name} is {text!r}; it must be a number of seconds from 0.")
    return seconds
