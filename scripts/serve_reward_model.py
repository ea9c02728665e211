"""Serve a trained reward model over HTTP; the same as `python -m cookbook_lib.evaluation.server`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cookbook_lib.evaluation.server import main

if __name__ == "__main__":
    sys.exit(main())
