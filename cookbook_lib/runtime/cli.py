"""The command line of the runtime.

cookbook run NOTEBOOK -n 2 -p name value      execute a notebook headless on 2 ranks
cookbook join --nnodes 2 --node-rank 1 ...    lend this node's ranks to the notebook that node 0 runs
cookbook kernel install | doctor              kernels for JupyterLab's picker; what is wrong on this machine
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cookbook_lib.runtime import parameters
from cookbook_lib.runtime.settings import RuntimeSettingError, read_settings

_EXPORTED = {
    "nproc": "COOKBOOK_NPROC",
    "nnodes": "COOKBOOK_NNODES",
    "node_rank": "COOKBOOK_NODE_RANK",
    "master_addr": "COOKBOOK_MASTER_ADDR",
    "master_port": "COOKBOOK_MASTER_PORT",
    "stop_grace": "COOKBOOK_STOP_GRACE",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `cookbook`; usage errors print one sentence and exit 2."""
    options = _parser().parse_args(arguments)
    try:
        code = options.act(options)
    except RuntimeSettingError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


def _run(options: argparse.Namespace) -> int:
    _export(options)
    settings = read_settings()
    if settings.node_rank > 0:
        return _join(options)
    given = parameters.collect(options.parameters, options.parameters_json)
    output = options.output or _default_output(options.notebook)
    _check_paths(options.notebook, output)
    parameters.check(options.notebook, given)
    from cookbook_lib.runtime.papermill import Job, run

    return run(Job(options.notebook, output, given, options.cwd, options.start_timeout, stop_grace=settings.stop_grace))


def _join(options: argparse.Namespace) -> int:
    _export(options)
    settings = read_settings()
    if settings.nnodes == 1:
        raise RuntimeSettingError("COOKBOOK_NNODES is 1, so there is nothing to join; give --nnodes and --node-rank.")
    os.execv(sys.executable, [sys.executable, "-m", "cookbook_lib.runtime.launch", "--join"])


def _install(options: argparse.Namespace) -> int:
    from cookbook_lib.runtime.kernelspec import install

    for folder in install(options.prefix):
        print(folder)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from cookbook_lib.runtime.doctor import examine

    return examine()


def _export(options: argparse.Namespace) -> None:
    """Options win over the environment, which the kernel and its ranks inherit."""
    for option, variable in _EXPORTED.items():
        if (value := getattr(options, option, None)) is not None:
            os.environ[variable] = str(value)


def _default_output(notebook: str) -> str:
    return str(Path("runs", "notebooks", f"{Path(notebook).stem}-{time.strftime('%Y%m%d-%H%M%S')}.ipynb"))


def _check_paths(notebook: str, output: str) -> None:
    if not Path(notebook).is_file():
        raise RuntimeSettingError(f"there is no notebook {notebook}; give the path of an .ipynb file.")
    if Path(notebook).resolve() == Path(output).resolve():
        raise RuntimeSettingError(f"--output {output} is the notebook itself; give the executed copy another path.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cookbook", description="Notebooks on many ranks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="execute a notebook headless"))
    join = commands.add_parser("join", help="lend this node's ranks to node 0")
    _add_layout(join)
    join.set_defaults(act=_join)
    kernel = commands.add_parser("kernel", help="the kernels of JupyterLab").add_subparsers(
        required=True, metavar="WHAT"
    )
    install = kernel.add_parser("install", help="offer them in JupyterLab's picker and to papermill -k")
    install.add_argument("--prefix", default=sys.prefix, help="where (default: this Python's environment)")
    install.set_defaults(act=_install)
    kernel.add_parser("doctor", help="examine this machine, and run one cell on two ranks").set_defaults(act=_doctor)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("notebook")
    run.add_argument("-o", "--output", help="the executed copy (default: runs/notebooks/NAME-TIME.ipynb)")
    run.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument(
        "-y", "--parameters-json", action="append", default=[], metavar="JSON", help="an object of parameters"
    )
    run.add_argument("--cwd", help="folder to run in (default: here)")
    run.add_argument("--start-timeout", type=int, default=600, metavar="SECONDS", help="until all ranks are there")
    run.add_argument("--stop-grace", type=float, metavar="SECONDS", help="for a stopped cell to end (default: 120)")
    _add_layout(run)
    run.set_defaults(act=_run)


def _add_layout(command: argparse.ArgumentParser) -> None:
    command.add_argument("-n", "--nproc", help="ranks on this node: a number, gpu, cpu or auto")
    command.add_argument("--nnodes", help="number of nodes")
    command.add_argument("--node-rank", help="which of them this one is; from 1 on it joins node 0")
    command.add_argument("--master-addr", help="address of node 0")
    command.add_argument("--master-port", help="a free port on node 0")
