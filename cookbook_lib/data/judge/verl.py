"""verl's layout of a prompt for reinforcement learning, which is what we write.

    data_source    "helpsteer2"                            who asks: metrics are grouped by it
    prompt         [{role, content}]                       read as text, too: one question of the user's
    ability        "judge", "answer", "math"
    reward_model   {style: "rule", ground_truth: "3"}      the truth; verdicts stand there as text
    extra_info     {index, ..., judge: {kind, pair_id, order, group}}

`extra_info.judge` is ours: a row without it is a task of kind "answer", whoever wrote it, and whatever it holds comes back as
it was: the ground truth of any type, extra_info, and columns of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cookbook_lib.data.judge.records import TASK_KINDS, JudgeTask
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, Origin, refuse
from cookbook_lib.data.records import opening_group
from cookbook_lib.data.reward.dialogue import prompt_in

COLUMNS = ("data_source", "prompt", "ability", "reward_model", "extra_info")
OURS, TRUTH = "judge", "reward_model"
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,8}")


def row_of(task: JudgeTask) -> dict[str, Any]:
    """The task as a row; extra_info is left out where there is nothing to say."""
    rest = dict(task.columns)
    truth = str(task.truth) if task.kind != "answer" else task.truth
    extra = {**task.extra, **_ours(task)}
    judged = {"style": task.style, "ground_truth": truth}
    as_read = rest.pop(TRUTH, judged)
    return {
        "data_source": task.data_source,
        "prompt": [_flat(message) for message in task.prompt],
        "ability": task.ability,
        "reward_model": as_read | {name: value for name, value in judged.items() if name in as_read},
        **({"extra_info": extra} if extra else {}),
        **rest,
    }


def task_of(row: Mapping[str, Any], origin: Origin) -> JudgeTask:
    """The task in a row; raises RowError where a field is missing or not what it must be."""
    prompt, judged = _prompt(row["prompt"]), dict(_mapping("reward_model", row["reward_model"]))
    extra = dict(_mapping("extra_info", row.get("extra_info") or {}))
    ours = _popped_ours(extra)
    truth, style = _truth(judged.get("ground_truth", MISSING), ours["kind"]), judged.get("style")
    rest = {name: value for name, value in row.items() if name not in COLUMNS}
    if list(judged) != ["style", "ground_truth"]:
        rest[TRUTH] = judged  # it has more fields, or another order of them
    return JudgeTask(
        prompt,
        ours["kind"],
        truth,
        data_source=_text(row, "data_source"),
        ability=_text(row, "ability"),
        pair_id=ours.get("pair_id"),
        order=ours.get("order"),
        extra=extra,
        origin=origin,
        group=ours.get("group") or opening_group(prompt),
        style=style if isinstance(style, str) else "rule",
        columns=rest,
    )


def _ours(task: JudgeTask) -> dict[str, Any]:
    """extra_info.judge, where the row would be read as another task without it."""
    if task.kind == "answer" and task.group in (None, opening_group(task.prompt)):
        return {}
    return {OURS: {"kind": task.kind, "pair_id": task.pair_id, "order": task.order, "group": task.group}}


def _popped_ours(extra: dict[str, Any]) -> Mapping[str, Any]:
    """extra_info.judge taken out of it; a field of that name that is not ours stays where it is."""
    found = extra.get(OURS)
    if isinstance(found, Mapping) and found.get("kind") in TASK_KINDS:
        return dict(extra.pop(OURS))
    if found is None:
        extra.pop(OURS, None)  # a file that also holds tasks of ours: parquet fills the gaps with nulls
    return {"kind": "answer"}


def _prompt(value: Any) -> tuple[Message, ...]:
    """Messages as they stand where they are plain; text and other spellings as in pairs (reward/dialogue.py)."""
    plain = isinstance(value, list) and all(isinstance(m, dict) and m.keys() == {"role", "content"} for m in value)
    return tuple(value) if plain and value else prompt_in("prompt", value)


def _flat(message: Message) -> Message:
    """A message for a table: arguments of calls as JSON, as parquet would merge the fields of all calls."""
    if not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [_flat_call(call) for call in message["tool_calls"]]}


def _flat_call(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    told = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**call["function"], "arguments": told}}


def _truth(truth: Any, kind: str) -> Any:
    """The ground truth of a row: a score stands there as text."""
    if truth is None or truth is MISSING:
        refuse("reward_model.ground_truth", truth, "completions are checked against it", "drop the row, or add it")
    if kind == "score" and isinstance(truth, str) and WHOLE.fullmatch(truth):
        return int(truth)
    return truth


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        refuse(name, value, "it is an object", "correct the row")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        refuse(name, value, "it is text", "correct the row")
    return value or ""
