"""Rewards of tool calls: compared as JSON is, in any order, and unsound ones not at all."""

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.training.rewards.tool_calls import tool_call, true_calls
from tests.training.rewards.samples import answer

STOCK = '{"name": "get_stock", "arguments": {"sku": 7, "where": ["a", "b"]}}'
NEWS = '{"name": "get_news", "arguments": {}}'


def block(*calls):
    return "<tool_call>\n" + "\n".join(calls) + "\n</tool_call>"


def paid(text, truth=None):
    return tool_call([answer(text, truth or block(STOCK))])[0]


@pytest.mark.parametrize(
    "text",
    [
        block(STOCK),
        "I look it up.\n" + block(STOCK) + "\nOne moment.",
        "<think> the stock tool </think>\n" + block(STOCK),
        block('{"arguments": {"where": ["a", "b"], "sku": 7.0}, "name": "get_stock"}'),
        block('{"name": "get_stock", "parameters": {"sku": 7, "where": ["a", "b"]}}'),
        block('{"name": "get_stock", "arguments": "{\\"sku\\": 7, \\"where\\": [\\"a\\", \\"b\\"]}"}'),
        f"<tool_call>{STOCK}</tool_call>",
    ],
)
def test_the_same_call(text):
    assert paid(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        block(NEWS),
        block(STOCK, NEWS),
        block(STOCK, STOCK),
        block('{"name": "get_stock", "arguments": {"sku": "7", "where": ["a", "b"]}}'),
        block('{"name": "get_stock", "arguments": {"sku": 7, "where": ["b", "a"]}}'),
        block('{"name": "get_stock", "arguments": {"sku": 7}}'),
        block('{"name": "get_stock", "arguments": {"sku": 7, "where": ["a", "b"], "now": null}}'),
    ],
)
def test_other_calls(text):
    assert paid(text) == 0.0


def test_true_is_not_one():
    one, true = (f'{{"name": "f", "arguments": {{"x": {x}}}}}' for x in ("1", "true"))
    assert [paid(block(call), block(one)) for call in (one, true)] == [1.0, 0.0]
    assert [paid(block(call), block(true)) for call in (one, true)] == [0.0, 1.0]


def test_several_calls_in_any_order_in_one_block_or_several():
    truth = block(STOCK, NEWS, NEWS)
    assert paid(block(NEWS) + block(STOCK, NEWS), truth) == 1.0
    assert paid(block(NEWS, STOCK), truth) == 0.0


def test_truth_as_a_list():
    truth = [{"name": "get_stock", "arguments": {"sku": 7, "where": ["a", "b"]}}, {"name": "get_news", "arguments": {}}]
    assert paid(block(NEWS, STOCK), truth) == 1.0


UNSOUND = {
    "no call": "I would ask the stock tool.",
    "nothing": "",
    "an empty block": block(),
    "no JSON": block("get_stock(7)"),
    "no end": "<tool_call>\n" + STOCK,
    "no beginning": STOCK + "\n</tool_call>",
    "an end before the beginning": "</tool_call><tool_call>" + STOCK,
    "an end without a beginning": "</tool_call>" + block(STOCK),
    "a block in a block": block(block(STOCK)),
    "one sound, one not": block(STOCK) + "<tool_call>{</tool_call>",
    "text in the block": block(STOCK, "done"),
    "a list": block(f"[{STOCK}]"),
    "no name": block('{"arguments": {}}'),
    "a name that is no text": block('{"name": 7, "arguments": {}}'),
    "no arguments": block('{"name": "get_stock"}'),
    "both spellings": block('{"name": "f", "arguments": {}, "parameters": {}}'),
    "arguments that are no object": block('{"name": "f", "arguments": [7]}'),
    "a key twice": block('{"name": "f", "name": "g", "arguments": {}}'),
    "NaN": block('{"name": "f", "arguments": {"x": NaN}}'),
    "a number beyond numbers": block('{"name": "f", "arguments": {"x": 1e9999999999999999999999}}'),
    "nested beyond reading": block('{"name": "f", "arguments": {"x": ' + "[" * 100_000 + "]" * 100_000 + "}}"),
    "inside the reasoning": f"<think>{block(STOCK)}</think> Done.",
}


@pytest.mark.parametrize("text", UNSOUND.values(), ids=UNSOUND)
def test_no_call_is_read(text):
    assert paid(text) is None


@pytest.mark.parametrize("truth", ["no call", block(), [], [7], {"name": "f"}, 7])
def test_a_truth_without_calls(truth):
    with pytest.raises(CookbookError, match="answers.jsonl row 5: truth is .* but it holds calls"):
        true_calls(answer("", truth, row=5).task)
