"""Serve a trained reward model over HTTP: `python -m cookbook_lib.evaluation.server --model checkpoints/bt-final`.

One process, one model, one thread that computes; concurrent requests are packed into common forwards. vLLM's clients of
/classify, /score and /pooling work unchanged. Needs the extra `serve` (FastAPI, uvicorn).
"""

import argparse
import socket
import sys
from pathlib import Path

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation.score_model import ScoringModel

GRACE_S = 30
EXAMPLES = """
examples
  python -m cookbook_lib.evaluation.server --model checkpoints/bt-final --port 8000
  curl localhost:8000/score -H 'content-type: application/json' \\
       -d '{"text_1": "What is 2+2?", "text_2": ["Four.", "Five."]}'

SIGINT and SIGTERM end it: requests that are under way are answered first. Exit status: 2 when it could not begin
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    given = parser().parse_args(arguments)
    try:
        serve(given)
    except CookbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # uvicorn raises it again once it has shut down
        return 0
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    summary = (__doc__ or "").split("\n\n", maxsplit=1)[0]
    made = argparse.ArgumentParser(
        description=summary, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--model", required=True, metavar="DIR", help="the reward model's folder")
    add("--served-model-name", metavar="NAME", help="what clients call it (default: the folder's name)")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="0 takes any free one (default: 8000)")
    add("--max-tokens", type=int, default=16384, metavar="N", help="of a forward, and a conversation (default: 16384)")
    add("--max-conversations", type=int, default=512, metavar="N", help="of one request (default: 512)")
    add("--max-body-mb", type=int, default=16, metavar="N", help="of one request (default: 16)")
    add("--max-waiting", type=int, default=8192, metavar="N", help="conversations that may wait (default: 8192)")
    add("--attribute", metavar="NAME", help="what /score gives where there are several (default: score, else the mean)")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--dtype", default="auto", choices=("auto", "fp32", "bf16"), help="auto: bf16 on a GPU, fp32 elsewhere")
    add("--log-requests", action="store_true", help="one line for each request")
    add("--trust-remote-code", action="store_true", help="run code that comes with the model")
    return made


def serve(given: argparse.Namespace) -> None:
    """Serve until a signal ends it. Raises CookbookError when it cannot begin."""
    try:
        import uvicorn

        from cookbook_lib.evaluation.score_app import Limits, build_app
    except ImportError as error:
        raise CookbookError(f"serving needs {error.name}: pip install -e '.[serve]'.") from error
    limits = Limits(given.max_conversations, given.max_body_mb << 20, given.max_waiting)
    with _listen(given.host, given.port) as listening:  # before the model: a taken port is known at once
        model = ScoringModel(
            given.model,
            device=given.device,
            dtype=given.dtype,
            max_tokens=given.max_tokens,
            attribute=given.attribute,
            trust_remote_code=given.trust_remote_code,
        )
        name = given.served_model_name or Path(given.model).resolve().name
        app = build_app(model, [name, given.model], limits)
        for note in model.notes:
            print(f"note: {note}", file=sys.stderr)
        host, port = listening.getsockname()[:2]
        print(f"serving {name} ({model.head.kind}) at http://{host}:{port}", flush=True)
        level = "info" if given.log_requests else "warning"
        config = uvicorn.Config(app, log_level=level, timeout_graceful_shutdown=GRACE_S)
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise CookbookError(f"{host}:{port} cannot be listened at ({error}): give another --port or --host.") from error


if __name__ == "__main__":
    sys.exit(main())
