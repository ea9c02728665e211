"""NeMo Gym rollouts: what a policy was asked, everything it then did, and the reward for it.

    responses_create_params.input    str, or items; `instructions` is a system message
    responses_create_params.tools    flat {"type": "function", "name", "parameters", ...}; nested here, for templates
    response.output                  items, in the order in which they happened:

        reasoning              ┐
        message (assistant)    ├─▶ one assistant message: reasoning_content, content, tool_calls
        function_call          ┘
        function_call_output   ──▶ tool message with its tool_call_id
        message (user)         ──▶ user message (simulated users, environments that answer)

Assistant messages of the input were not written by this policy and not rewarded, so they carry `train: False`.
Rows below the reward threshold are skipped; a missing reward, or one above `max_reward`, is an error of the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cookbook_lib.data import spellings
from cookbook_lib.data.converters.registry import Options, register_converter
from cookbook_lib.data.messages import Message
from cookbook_lib.data.origin import MISSING, RowSkipped, refuse
from cookbook_lib.data.records import Conversation, opening_group

ITEM_TYPES = ("message", "reasoning", "function_call", "function_call_output")


@register_converter(
    "gym",
    about="NeMo Gym rollouts: responses_create_params, response.output, reward",
    uses=("reward_threshold", "max_reward"),
)
def from_rollout(row: dict[str, Any], options: Options) -> Conversation:
    """One rollout -> one conversation, or RowSkipped where its reward is too low."""
    params = row.get("responses_create_params", MISSING)
    if not isinstance(params, Mapping):
        refuse("responses_create_params", params, "a rollout holds its request", "give rollouts, not tasks")
    check_reward(row.get("reward", MISSING), options)
    asked = Turns(train=False)
    asked.add_all("responses_create_params.input", _input_items(params))
    done = Turns(train=True, calls=asked.calls)
    done.add_all("response.output", _output_items(row))
    messages = tuple(asked.messages + done.messages)
    tools = spellings.normalise_tools(params.get("tools"))
    return Conversation(messages, tools, group=opening_group(messages), source="gym")


def check_reward(reward: Any, options: Options) -> None:
    """Raise RowError for a reward that is none, RowSkipped for one that is too low."""
    if isinstance(reward, bool) or not isinstance(reward, int | float) or reward != reward:
        refuse("reward", reward, "a rollout needs a number as its reward", "verify the rollout again, or delete it")
    if reward < options.reward_threshold:
        raise RowSkipped(f"reward below {options.reward_threshold:g}")
    if reward > options.max_reward:
        fix = "pass the environment's highest reward as max reward, and a threshold on that scale"
        refuse("reward", reward, f"the highest reward is taken to be {options.max_reward:g}", fix)


class Turns:
    """Puts items together into messages: what a policy does between two outside events is one assistant message."""

    def __init__(self, train: bool, calls: dict[str, str] | None = None) -> None:
        self.messages: list[Message] = []
        self.calls = {} if calls is None else calls  # call_id -> function name
        self._train, self._open = train, False

    def add_all(self, field: str, items: Iterable[Any]) -> None:
        """Add items in order; raises RowError for an item of an unknown type."""
        for index, item in enumerate(items):
            self.add(f"{field}[{index}]", item)

    def add(self, field: str, item: Any) -> None:
        """Add one item."""
        kind = item.get("type") or ("message" if "role" in item else MISSING) if isinstance(item, Mapping) else MISSING
        if kind not in ITEM_TYPES:
            refuse(f"{field}.type", kind, f"an item is one of {', '.join(ITEM_TYPES)}", "leave the rollout out")
        getattr(self, f"_{kind}")(field, item)

    def _message(self, field: str, item: Mapping[str, Any]) -> None:
        text = spellings.text_of(f"{field}.content", item.get("content")) or ""
        if item.get("role") == "assistant":
            self._append("content", text)
        else:
            role = "system" if item.get("role") == "developer" else item.get("role")
            self._outside({"role": role, "content": text})

    def _reasoning(self, field: str, item: Mapping[str, Any]) -> None:
        parts = item.get("summary") or item.get("content") or ()
        text = "\n\n".join(part["text"] for part in parts if isinstance(part, Mapping) and part.get("text"))
        if text:  # reasoning that came encrypted leaves nothing to learn from
            self._append("reasoning_content", text)

    def _function_call(self, field: str, item: Mapping[str, Any]) -> None:
        call = spellings.tool_call(field, {**item, "id": item.get("call_id")})
        if item.get("call_id"):
            self.calls[item["call_id"]] = call["function"]["name"]
        self._assistant().setdefault("tool_calls", []).append(call)

    def _function_call_output(self, field: str, item: Mapping[str, Any]) -> None:
        identity = item.get("call_id", MISSING)
        if identity not in self.calls:
            refuse(f"{field}.call_id", identity, "an output answers a call made before it", "leave the rollout out")
        output = spellings.text_of(f"{field}.output", item.get("output")) or ""
        self._outside({"role": "tool", "content": output, "tool_call_id": identity, "name": self.calls[identity]})

    def _append(self, key: str, text: str) -> None:
        message = self._assistant()
        message[key] = f"{message[key]}\n\n{text}" if message.get(key) else text

    def _assistant(self) -> Message:
        """The assistant message being put together; a new one after an outside event."""
        if not self._open:
            self.messages.append({"role": "assistant", "content": ""} | ({} if self._train else {"train": False}))
            self._open = True
        return self.messages[-1]

    def _outside(self, message: Message) -> None:
        self.messages.append(message)
        self._open = False


def _input_items(params: Mapping[str, Any]) -> list[Any]:
    given = params.get("input", MISSING)
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list | tuple) or not given:
        refuse("responses_create_params.input", given, "it is a text or a list of items", "leave the rollout out")
    instructions = params.get("instructions")
    return ([{"role": "system", "content": instructions}] if instructions else []) + list(given)


def _output_items(row: Mapping[str, Any]) -> list[Any]:
    """response.output, flat: some environments keep a list of items for each step."""
    response = row.get("response")
    items = response.get("output", MISSING) if isinstance(response, Mapping) else row.get("output", MISSING)
    if not isinstance(items, list | tuple) or not items:
        refuse("response.output", items, "a rollout holds what the policy did", "leave the rollout out")
    return [item for step in items for item in (step if isinstance(step, list | tuple) else [step])]
