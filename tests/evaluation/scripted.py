"""A generator whose every text a test has written, and judges on it."""

from collections.abc import Callable, Sequence
from typing import Any

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.prompts import Judged, quoted
from cookbook_lib.evaluation.generators import Answers, Progress, Seeds, Written
from cookbook_lib.evaluation.judges import Messages

Said = str | tuple[str, bool] | CookbookError


class Scripted:
    """`say(judged, seed)`: the text for a prompt of data/judge/prompts; (text, False) is one cut short; an error refuses."""

    def __init__(self, say: Callable[[Judged, int], Said], name: str = "scripted") -> None:
        self.name, self.say = name, say
        self.calls: list[list[Messages]] = []
        self.seeds: list[list[int]] = []
        self.temperatures: list[float] = []

    def write(
        self, prompts: Sequence[Messages], seeds: Seeds, *, temperature: float, progress: Progress | None = None
    ) -> list[Answers]:
        self.calls.append(list(prompts))
        self.seeds += map(list, seeds)
        self.temperatures.append(temperature)
        return [self._texts(prompt, own, progress) for prompt, own in zip(prompts, seeds, strict=True)]

    def _texts(self, prompt: Messages, seeds: Sequence[int], progress: Progress | None) -> Answers:
        judged = quoted(tuple(dict(message) for message in prompt))
        assert judged is not None, "no prompt of a judge"
        said = [self.say(judged, seed) for seed in seeds]
        if progress:
            progress(len(said))
        errors = [one for one in said if isinstance(one, CookbookError)]
        return errors[0] if errors else tuple(_written(one) for one in said)


def _written(said: Any) -> Written:
    return Written(*said) if isinstance(said, tuple) else Written(said, True)


def asked(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def right(judged: Judged, seed: int) -> str:
    """Knows that good answers begin with + and says so, for one answer and for two."""
    good = [answer.startswith("+") for answer in judged.responses]
    if len(good) == 1:
        return f"It is what it is.\nScore: {4 if good[0] else 0}"
    return "Compared.\nPreference: " + ("tie" if good[0] == good[1] else "A" if good[0] else "B")
