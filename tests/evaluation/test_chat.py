"""The chat model under concurrent use: everyone gets his own answer, and a failure is one's own."""

import asyncio
import threading
import time

import pytest

from cookbook_lib.config import CookbookError
from cookbook_lib.evaluation import chat
from cookbook_lib.evaluation.chat import LocalChatModel


def asked(thing: str) -> list[dict]:
    return [{"role": "user", "content": f"What is the colour of the {thing}?"}]


@pytest.fixture
def model(checkpoint):
    with LocalChatModel(checkpoint, max_new_tokens=16) as made:
        yield made


@pytest.fixture
def batches(monkeypatch):
    """How many prompts each call of `generate` gets."""
    sizes = []
    real = chat.generate

    def counting(model, prompts, **options):
        sizes.append(len(prompts))
        time.sleep(0.05)  # long enough for the others to be waiting
        return real(model, prompts, **options)

    monkeypatch.setattr(chat, "generate", counting)
    return sizes


def test_one_question(model):
    assert asyncio.run(model.acomplete(asked("box"))) == "The box is teal."
    assert model.complete(asked("door")) == "The door is red."


def test_many_at_once_are_batched_and_each_gets_its_own(model, batches):
    things = ["box", "door", "lamp", "chair", "cup", "hat"] * 4

    async def everyone() -> list[str]:
        return await asyncio.gather(*(model.acomplete(asked(thing)) for thing in things))

    answers = asyncio.run(everyone())
    assert all(f"The {thing} is" in answer for thing, answer in zip(things, answers, strict=True))
    assert sum(batches) == len(things)
    assert max(batches) > 1
    assert len(batches) < len(things) / 2


def test_threads_and_an_event_loop_together(model):
    answers: dict[str, str] = {}

    def ask(thing: str) -> None:
        answers[thing] = model.complete(asked(thing))

    threads = [threading.Thread(target=ask, args=(thing,)) for thing in ("box", "door", "lamp")]
    for thread in threads:
        thread.start()
    assert asyncio.run(model.acomplete(asked("cup"))) == "The cup is green."
    for thread in threads:
        thread.join()
    assert answers == {"box": "The box is teal.", "door": "The door is red.", "lamp": "The lamp is blue."}


def test_the_loop_stays_free_and_blocking_calls_work_inside_it(model, batches):
    """As in JupyterLab: a cell runs inside a running loop, and may call either."""

    async def cell() -> tuple[str, str, int]:
        ticks = 0
        pending = asyncio.ensure_future(model.acomplete(asked("box")))
        while not pending.done():
            await asyncio.sleep(0.005)
            ticks += 1
        return pending.result(), model.complete(asked("hat")), ticks

    first, second, ticks = asyncio.run(cell())
    assert (first, second) == ("The box is teal.", "The hat is white.")
    assert ticks >= 3


def test_a_bad_request_fails_alone(model):
    async def mixed() -> list:
        bad = [
            [{"role": "robot", "content": "?"}],
            [],
            [{"role": "assistant", "content": "I begin"}],
            asked("x" * 40_000),
        ]
        return await asyncio.gather(
            model.acomplete(asked("box")),
            *(model.acomplete(b) for b in bad),
            model.acomplete(asked("hat")),
            return_exceptions=True,
        )

    good, robot, empty, assistant, long, last = asyncio.run(mixed())
    assert (good, last) == ("The box is teal.", "The hat is white.")
    assert "'robot'" in str(robot)
    assert "messages" in str(empty)
    assert "a model answers a user" in str(assistant)
    assert "positions: shorten the prompt" in str(long)
    assert all(isinstance(error, CookbookError) for error in (robot, empty, assistant, long))


def test_options_of_one_request_are_its_own(model):
    async def two() -> list[str]:
        return await asyncio.gather(model.acomplete(asked("box"), max_new_tokens=2), model.acomplete(asked("box")))

    short, whole = asyncio.run(two())
    assert whole == "The box is teal."
    assert whole.startswith(short)
    assert short != whole


def test_sampling_repeats_by_its_seed(checkpoint):
    def drawn(seed: int) -> list[str]:
        with LocalChatModel(checkpoint, max_new_tokens=8, temperature=3.0, seed=seed) as model:
            return [model.complete(asked("box")) for _ in range(3)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 1
    with LocalChatModel(checkpoint, max_new_tokens=8, temperature=3.0) as model:
        assert model.complete(asked("box"), seed=5) == model.complete(asked("box"), seed=5)


def test_a_cancelled_task_that_waits_costs_nothing(model, batches):
    async def impatient() -> str:
        first = asyncio.ensure_future(model.acomplete(asked("box")))
        await asyncio.sleep(0.02)
        second = asyncio.ensure_future(model.acomplete(asked("door")))
        await asyncio.sleep(0)
        second.cancel()
        return await first

    assert asyncio.run(impatient()) == "The box is teal."
    assert model.complete(asked("hat")) == "The hat is white."
    assert sum(batches) == 2


def test_closed_means_closed(checkpoint, batches):
    model = LocalChatModel(checkpoint, max_new_tokens=16)

    async def late() -> list:
        first = asyncio.ensure_future(model.acomplete(asked("box")))
        await asyncio.sleep(0.02)
        waiting = asyncio.ensure_future(model.acomplete(asked("hat")))
        await asyncio.sleep(0)
        await asyncio.to_thread(model.close)
        return await asyncio.gather(first, waiting, return_exceptions=True)

    first, waiting = asyncio.run(late())
    assert first == "The box is teal."
    assert "was closed before this was answered" in str(waiting)
    with pytest.raises(CookbookError, match="is closed: make a new one"):
        model.complete(asked("box"))
    model.close()  # twice is once


def test_a_folder_without_a_model(tmp_path, checkpoint):
    with pytest.raises(CookbookError, match="models under"):
        LocalChatModel(checkpoint.parent / "best_model")


def test_a_tokenizer_without_a_template(checkpoint, tmp_path):
    import shutil

    folder = shutil.copytree(checkpoint, tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CookbookError, match="template"):
        LocalChatModel(folder)
