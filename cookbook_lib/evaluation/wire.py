"""The wire formats of the scoring server: vLLM's classify, score and pooling requests, read strictly, and their responses.

    /classify, /pooling   {"input": text | [text ...] | [id ...] | [[id ...] ...]}     texts rendered already
                          {"messages": [message ...]}  or a list of such lists         conversations with their answers
    /score                {"text_1": prompt, "text_2": answer | [answer ...]}          single turns; also queries/documents
                          {"messages": ...}                                            as above

A field that would change the result and is not served is an error, and so is a name that nobody knows. Nothing is cut.
Formats: https://docs.vllm.ai, "Pooling Models", "Classification API", "Score API".
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from cookbook_lib.config import CookbookError
from cookbook_lib.data.origin import shown
from cookbook_lib.evaluation.score_model import Conversation, Scored
from cookbook_lib.models.score_head import ScoreHead

TEXT_PAIRS = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))
IGNORED = {"model", "user", "priority", "request_id", "cache_salt"}
ACTIVATION = ("use_activation", "activation", "softmax")  # the last two: its names in older clients
SERVED: dict[str, tuple[Any, ...]] = {  # fields of which these values only are served
    "encoding_format": ("float",),
    "task": ("classify",),
    "add_special_tokens": (True,),
    "add_generation_prompt": (False,),
    "continue_final_message": (False,),
}

SINGLE_TURN = [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "Four."}]


class Refused(CookbookError):
    """A request that is not served: the HTTP status, and the field or item at fault."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        self.status, self.param = status, param
        super().__init__(message)


@dataclass(frozen=True)
class Asked:
    """The conversations of a request, and the name of each in it."""

    conversations: tuple[Conversation, ...]
    places: tuple[str, ...]
    activation: bool | None = None


def read_inputs(body: Any) -> Asked:
    """A request to /classify or /pooling. Raises Refused."""
    fields = _fields(body, ("input", "messages"))
    name = _one_of(fields, ("input", "messages"))
    found = _messages(fields["messages"]) if name == "messages" else _inputs(fields["input"])
    return _asked(fields, *found)


def read_scores(body: Any) -> Asked:
    """A request to /score. Raises Refused."""
    names = tuple(dict.fromkeys(name for pair in TEXT_PAIRS for name in pair))
    fields = _fields(body, ("messages", *names))
    if any(fields.get(name) for name in ACTIVATION):
        _refuse("use_activation", True, "/score gives the reward itself", "leave it out, or ask /classify")
    given = tuple(name for name in ("messages", *names) if name in fields)
    if given == ("messages",):
        return _asked(fields, *_messages(fields["messages"]))
    if given not in TEXT_PAIRS:
        rule = "a request has messages, or text_1 (prompts) and text_2 (answers)"
        _refuse("body", list(given), rule, "give one or the other")
    first, second = given
    return _asked(fields, *_pairs(first, fields[first], second, fields[second]))


def activated(head: ScoreHead, raw: torch.Tensor, problem_type: str | None = None) -> torch.Tensor:
    """Head outputs (R, L) as vLLM activates them: by config.json's problem_type, and where it has none by what the head is."""
    if problem_type == "regression" or (problem_type is None and head.kind == "regression"):
        return raw
    if head.kind in ("scalar", "ordinal") or problem_type == "multi_label_classification":
        return raw.sigmoid()
    each = head.outputs_each if head.kind == "classification" else head.num_labels
    return raw.unflatten(1, (-1, each)).softmax(-1).flatten(1)


def outputs(asked: Asked, found: Sequence[Scored], head: ScoreHead, problem_type: str | None) -> list[list[float]]:
    """Of each conversation: probabilities, or with use_activation false the head's own outputs."""
    raw = torch.tensor([one.raw for one in found])
    rows: list[list[float]] = (raw if asked.activation is False else activated(head, raw, problem_type)).tolist()
    return rows


def classify_response(rows: Sequence[list[float]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """`data` of /classify."""
    return [
        {"index": i, "label": labels[row.index(max(row))], "probs": row, "num_classes": len(row)}
        for i, row in enumerate(rows)
    ]


def pooling_response(rows: Sequence[list[float]]) -> list[dict[str, Any]]:
    """`data` of /pooling."""
    return [{"index": i, "object": "pooling", "data": row} for i, row in enumerate(rows)]


def score_response(singles: Sequence[float], found: Sequence[Scored]) -> list[dict[str, Any]]:
    """`data` of /score: the reward, on the scale of the training data; beside it every attribute."""
    return [
        {"index": i, "object": "score", "score": score, "scores": one.scores}
        for i, (score, one) in enumerate(zip(singles, found, strict=True))
    ]


def envelope(kind: str, request_id: str, model: str, data: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
    """What every response has around its data."""
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}
    identity = {"id": f"{kind}-{request_id}", "object": "list", "created": int(time.time()), "model": model}
    return identity | {"data": data, "usage": usage}


def problem(message: str, status: int, param: str | None = None) -> dict[str, Any]:
    """The body of an error, as OpenAI's clients read it."""
    kinds = {404: "NotFoundError", 503: "ServiceUnavailableError"}
    kind = kinds.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def _fields(body: Any, own: tuple[str, ...]) -> dict[str, Any]:
    """The fields that are set, all of them known and none with a value that is not served."""
    if not isinstance(body, dict):
        _refuse("body", body, "a request is a JSON object", f"give {own[0]} in one")
    given = {name: value for name, value in body.items() if value is not None}
    known = {*own, *IGNORED, *ACTIVATION, *SERVED}
    for name, value in given.items():
        if name not in known:
            _refuse(name, value, f"this server reads {', '.join(own)}, model and use_activation", "leave it out")
        if name in ACTIVATION and not isinstance(value, bool):
            _refuse(name, value, "it is true or false", "correct it, or leave it out")
        if name in SERVED and value not in SERVED[name]:
            served = " or ".join(str(one).lower() for one in SERVED[name])
            _refuse(name, value, f"this server knows {served} only", "leave it out")
    return given


def _one_of(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    given = [name for name in names if name in fields]
    if len(given) != 1:
        _refuse("body", given, f"it has one of {', '.join(names)}", "give exactly one")
    return given[0]


def _messages(value: Any) -> tuple[list[Any], list[str]]:
    """One conversation, or a list of them."""
    if not isinstance(value, list) or not value:
        _refuse("messages", value, "it is a list of messages, or a list of such lists", "give at least one message")
    if not isinstance(value[0], list):
        return [value], ["messages"]
    for i, conversation in enumerate(value):
        if not isinstance(conversation, list) or any(type(one) is int for one in conversation):
            _refuse(f"messages[{i}]", conversation, "the first is a list of messages", "make each of them one")
    return value, [f"messages[{i}]" for i in range(len(value))]


def _inputs(value: Any) -> tuple[list[Any], list[str]]:
    """A text or its token ids, or a list of either."""
    if isinstance(value, str) or (isinstance(value, list) and value and _is_ids(value)):
        return [value], ["input"]
    if not isinstance(value, list) or not value:
        _refuse("input", value, "it is a text, token ids, or a list of either", "give at least one text")
    for i, one in enumerate(value):
        if not (isinstance(one, str) or (isinstance(one, list) and one and _is_ids(one))):
            _refuse(
                f"input[{i}]", one, "each is a text or token ids; conversations are given as messages", "correct it"
            )
    return value, [f"input[{i}]" for i in range(len(value))]


def _is_ids(value: list[Any]) -> bool:
    return all(type(token) is int for token in value)


def _pairs(first: str, prompts: Any, second: str, answers: Any) -> tuple[list[Any], list[str]]:
    """Prompts and answers one by one, or all answers to one prompt."""
    asked, said = _texts(first, prompts), _texts(second, answers)
    if len(asked) not in (1, len(said)):
        rule = f"{first} has one text for all of {second}, or one for each of its {len(said)}"
        _refuse(first, f"{len(asked)} texts", rule, "make them equally many")
    asked = asked * len(said) if len(asked) == 1 else asked
    made = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        for prompt, answer in zip(asked, said, strict=True)
    ]
    return made, [f"{second}[{i}]" for i in range(len(made))]


def _texts(name: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        _refuse(name, value, "it is a text or a list of texts", "give longer conversations as messages")
    return texts


def _asked(fields: dict[str, Any], conversations: list[Any], places: list[str]) -> Asked:
    given = [fields[key] for key in ACTIVATION if key in fields]
    return Asked(tuple(conversations), tuple(places), given[0] if given else None)


def _refuse(param: str, found: Any, rule: str, fix: str) -> NoReturn:
    raise Refused(f"{param} is {shown(found)}, but {rule}; {fix}.", param=param)
