"""Who writes: the embedded model, and a server; and what cannot be asked."""

import json
import shutil

import pytest
import yaml

from cookbook_lib.config import CookbookError
from cookbook_lib.data.templates import preset
from cookbook_lib.evaluation import generators
from cookbook_lib.evaluation.generative_judge import CUT, GenerativeJudge, ScoringJudge
from cookbook_lib.evaluation.generators import LocalGenerator, ServerGenerator, Written
from cookbook_lib.evaluation.judges import answered
from cookbook_lib.evaluation.open_judge import distinct_names, open_generative, open_judge
from cookbook_lib.evaluation.openai_chat import OpenAIChatModel
from cookbook_lib.evaluation.reward_judge import RewardJudge
from cookbook_lib.models.loading import load_tokenizer
from tests.evaluation.scripted import asked
from tests.evaluation.test_openai_chat import Fake, fake  # noqa: F401  (a fixture)

COLOUR = asked("What is the colour of the box?")


@pytest.fixture(scope="module")
def local(checkpoint) -> LocalGenerator:
    return LocalGenerator(checkpoint, max_new_tokens=16)


def test_the_model_in_a_folder_writes(local):
    ((said,), (other,)) = local.write([COLOUR, asked("What is the colour of the door?")], [[0], [0]], temperature=0.0)
    assert (said.text, said.finished) == ("The box is teal.", True)
    assert other.text == "The door is red."
    assert said.tokens is not None and 0 < said.tokens < 16


def test_a_text_depends_on_its_prompt_and_seed_alone(local):
    """Random enough at this temperature for seeds to matter; the same alone, together, and in another order."""
    hot = {"temperature": 3.0}
    ((one, two),) = local.write([COLOUR], [[1, 2]], **hot)
    assert one.text != two.text
    (_, together) = local.write([asked("Why?"), COLOUR], [[5], [2, 1]], **hot)
    assert together == (two, one)


def test_a_chat_template_takes_the_place_of_the_folders(checkpoint, local, tmp_path):
    """A base without one, asked as the run that started from it asked; to a model that has it already it is nothing new."""
    bare = tmp_path / "bare"
    shutil.copytree(checkpoint, bare)
    tokenizer = load_tokenizer(bare)
    tokenizer.chat_template = None
    for file in bare.glob("chat_template*"):
        file.unlink()
    tokenizer.save_pretrained(bare)
    with pytest.raises(CookbookError, match="has no chat template"):
        LocalGenerator(bare)
    ids = [open_generative(folder, chat_template="qwen3").generator._ids(COLOUR) for folder in (bare, checkpoint)]
    assert ids == [local._ids(COLOUR)] * 2
    assert LocalGenerator(checkpoint, chat_template="chatml")._tokenizer.chat_template == preset("chatml")


def test_a_text_that_is_cut_says_so(checkpoint):
    ((said,),) = LocalGenerator(checkpoint, max_new_tokens=2).write([COLOUR], [[0]], temperature=0.0)
    assert not said.finished and said.tokens == 2


@pytest.mark.parametrize(("asked_for", "together"), [(None, 1), (2, 2)])
def test_a_batch_has_no_more_tokens_than_fit(checkpoint, monkeypatch, asked_for, together):
    monkeypatch.setattr(generators, "BATCH_TOKENS", 1)
    rows = []
    narrow = LocalGenerator(checkpoint, max_new_tokens=2, batch_size=asked_for)
    narrow._model.register_forward_pre_hook(
        lambda _, args, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    narrow.write([COLOUR, asked("Why?")], [[0], [0]], temperature=0.0)
    assert max(rows) == together


def test_reasoning_that_the_prompt_begins_stands_before_the_text(checkpoint, monkeypatch):
    """A template of a model that always thinks: what it goes on from decides whether there is a verdict."""
    thinks = LocalGenerator(checkpoint, max_new_tokens=16, thinking=True)
    own = generators.prompt_ids

    def begins(messages, tokenizer, **options):
        return [*own(messages, tokenizer, **options), *tokenizer("<think>\n", add_special_tokens=False).input_ids]

    monkeypatch.setattr(generators, "prompt_ids", begins)
    ((said,),) = thinks.write([COLOUR], [[0]], temperature=0.0)
    assert said.text.startswith("<think>\n") and len(said.text) > len("<think>\n")


def test_prompts_that_cannot_be_asked_fail_alone(local):
    long, empty = asked("box " * 40_000), []
    found = local.write([long, COLOUR, empty], [[0], [0], [0]], temperature=0.0)
    assert isinstance(found[1], tuple)
    assert isinstance(found[0], CookbookError) and isinstance(found[2], CookbookError)
    assert "tokens, which with max_new_tokens=16 is more than" in str(found[0])


def test_nothing_but_prompts_that_cannot_be_asked(local):
    (found,) = local.write([asked("box " * 40_000)], [[0]], temperature=0.0)
    assert isinstance(found, CookbookError)
    assert local.write([], [], temperature=0.0) == []


def test_a_judge_over_the_embedded_model_has_no_verdict_and_says_so(local):
    """It has learned colours, not judging: whatever it writes, nothing is made up."""
    judge = GenerativeJudge(local)
    assert judge.score([answered(COLOUR, "The box is teal.")]) == [None]
    assert judge.compare([COLOUR, asked("box " * 40_000)], ["a", "a"], ["b", "b"]) == [None, None]
    assert len(judge.unscored) == 1


def test_a_reward_model_writes_nothing(reward_folder):
    with pytest.raises(CookbookError, match="is a reward model, which writes no answers: give a language model"):
        open_generative(reward_folder)
    with pytest.raises(CookbookError, match="is a reward model, which writes nothing: votes has no effect"):
        open_judge(reward_folder, votes=3)


def test_a_folder_is_opened_as_what_it_is(reward_folder, checkpoint):
    assert isinstance(open_judge(reward_folder), RewardJudge)
    judge = open_judge(checkpoint, name="sft", max_new_tokens=5)
    assert isinstance(judge, GenerativeJudge)
    assert judge.name == "sft" and judge.generator.max_new_tokens == 5
    assert distinct_names(["best", "best", "x"], ["a/best", "b/best", "c/x"]) == ["a/best", "b/best", "x"]
    assert distinct_names(["best", "best"], ["a/best", "a/best"]) == ["a/best", "a/best (2)"]


def test_a_generative_run_says_how_its_judge_is_asked(checkpoint, tmp_path):
    """Its rubric, the length of its answers, and whether it compares or scores: from the run beside it."""
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text("name: mine\nversion: 3\ntask: Judge it.\nlevels:\n  1: bad\n  2: good\n")
    rollout = {"max_new_tokens": 33, "thinking": True}
    judged = {"rubric": str(rubric), "lowest": 1, "highest": 5}
    run = {"recipe": "generative_pointwise", "rollout": rollout, "judge": judged}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(run))
    final = tmp_path / "judge-final"
    shutil.copytree(checkpoint, final)
    (final / "cookbook.json").write_text(json.dumps({"recipe": "generative_pointwise"}))
    judge = open_generative(final)
    assert isinstance(judge, ScoringJudge) and judge.rubric.title == "mine 3" and judge.generator.max_new_tokens == 33
    assert judge.generator.thinking and not open_generative(final, thinking=False).generator.thinking
    assert judge.scale == (1, 5)
    own = open_generative(final, by="comparisons", rubric="full", max_new_tokens=8, votes=2)
    assert not isinstance(own, ScoringJudge) and (own.rubric.name, own.generator.max_new_tokens, own.votes) == (
        "full",
        8,
        2,
    )
    assert own.scale == (0, 4) and open_generative(final, rubric="full", scale=(0, 9)).scale == (0, 9)
    with pytest.raises(
        CookbookError, match="by is 'rank', but a judge that writes compares by comparisons, or by scores"
    ):
        open_generative(final, by="rank")


# ------------------------------------------------------------------------------------------------------------ a server


@pytest.fixture
def server(fake, monkeypatch):  # noqa: F811
    monkeypatch.setattr("cookbook_lib.evaluation.openai_chat.LONGEST_PAUSE_S", 0.01)
    with OpenAIChatModel(fake.url, "judge", max_new_tokens=7, retries=0) as model:
        yield ServerGenerator(model)


def reply(text: str, reason: str) -> bytes:
    said = f'{{"message": {{"content": "{text}"}}, "finish_reason": "{reason}"}}'
    return f'{{"choices": [{said}]}}'.encode()


def test_a_server_writes(server, fake: Fake):  # noqa: F811
    assert server.name == "judge"
    found = server.write([asked("a"), asked("b")], [[1, 2], [3, 4]], temperature=0.5)
    assert found == [(Written("A", True), Written("A", True)), (Written("B", True), Written("B", True))]
    assert sorted(body["seed"] for body in fake.seen) == [1, 2, 3, 4]
    fake.script += [(200, {}, reply("half", "length"))]
    assert server.write([asked("c")], [[1]], temperature=0.0) == [(Written("half", False),)]


def test_what_the_server_refuses_fails_alone_once_it_has_answered_something(server, fake: Fake):  # noqa: F811
    refusal = (400, {}, b'{"error": {"message": "too long"}}')
    fake.script += [refusal]
    with pytest.raises(CookbookError, match="answered 400: too long"):
        server.write([asked("a")], [[1]], temperature=0.0)
    server.write([asked("a")], [[1]], temperature=0.0)
    fake.script += [refusal]
    (found,) = server.write([asked("b")], [[1]], temperature=0.0)
    assert isinstance(found, CookbookError) and "too long" in str(found)
    fake.script += [(401, {}, b'{"error": {"message": "no such key"}}')]
    with pytest.raises(CookbookError, match="answered 401: no such key"):
        server.write([asked("b")], [[1]], temperature=0.0)


def test_a_vote_that_was_cut_while_thinking_is_none_alone(server, fake: Fake):  # noqa: F811
    """A server with a reasoning parser has no content then: the first prompt of all, and the other votes count."""
    thinking = (200, {}, b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}')
    fake.script += [thinking, *[(200, {}, reply("Score: 4", "stop"))] * 4]
    judge = ScoringJudge(server, votes=5)
    assert judge.score([answered(COLOUR, "Teal.")]) == [4.0]
    (found,) = judge.judgements.values()
    assert sorted(fault for fault in found.faults if fault) == [CUT] and not judge.unscored
