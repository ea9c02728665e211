"""Widgets on every rank: what the browser sends to one, all ranks receive, as a turn of its own between cells.

    browser -> rank 0: comm_msg(id, data)  -> turn n on all ranks: each runs the callback -> a collective inside is fine

A message finds its widget by comm id, so the ranks must agree on ids: a hash of (job, turn, model class, count) instead
of a random number. Widgets must therefore be made on every rank alike; one made under `if rank == 0` shifts the count
of its class within its cell. Callbacks run after the cell that is running, in the order in which messages came.

Not mirrored: the browser's own questions about widget state, which change nothing.
"""

import base64
import os
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import comm

_STATE_QUESTIONS = "jupyter.widget.control"
Message = dict[str, Any]


class SharedComms:
    """Same comm ids on all ranks, and which comms are known to all of them."""

    def __init__(self, turn_number: Callable[[], int]) -> None:
        """Replace `comm.create_comm`, the hook through which every widget library makes its comms."""
        self._turn_number, self._made = turn_number, Counter[tuple[int, str]]()
        self._known: set[str] = set()
        self._create = comm.create_comm
        comm.create_comm = self._create_shared

    def shared(self, kind: str, content: dict[str, Any]) -> bool:
        """Whether this message from the browser concerns every rank."""
        if kind == "comm_open" and content.get("target_name") != _STATE_QUESTIONS:
            self._known.add(content["comm_id"])
        return content.get("comm_id") in self._known

    def _create_shared(self, *args: Any, **fields: Any) -> Any:
        if not fields.get("comm_id"):
            fields["comm_id"] = self._next_id(fields.get("data") or {})
        self._known.add(fields["comm_id"])
        return self._create(*args, **fields)

    def _next_id(self, data: dict[str, Any]) -> str:
        key = (self._turn_number(), str((data.get("state") or {}).get("_model_name")))
        self._made[key] += 1
        job = os.environ.get("TORCHELASTIC_RUN_ID", "")
        return uuid.uuid5(uuid.NAMESPACE_OID, repr((job, *key, self._made[key]))).hex


def pack_message(message: Message) -> dict[str, Any]:
    """A Jupyter message as JSON; binary buffers in base64."""
    header = {name: str(value) for name, value in message["header"].items()}
    buffers = [base64.b64encode(bytes(buffer)).decode() for buffer in message.get("buffers") or []]
    return {"header": header, "content": message["content"], "metadata": {}, "buffers": buffers}


def unpack_message(fields: dict[str, Any]) -> Message:
    """What `pack_message` packed."""
    return {**fields, "buffers": [memoryview(base64.b64decode(text)) for text in fields["buffers"]]}
