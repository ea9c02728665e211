"""Who writes a judge's texts: a model in a folder, or one behind an OpenAI-compatible server. The judge cannot tell.

    write(prompts, seeds)     one text for every seed of every prompt, in their order
                              Written(text, finished)     finished False: cut at max_new_tokens, so its end is missing
                              CookbookError               this prompt cannot be asked (too long, say), and why

Nothing is ever cut: a prompt that is longer than the model's window is an error of its own, and the others are answered. An
error that would meet every prompt (no such server, a wrong key) is raised.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cookbook_lib.config import CookbookError
from cookbook_lib.data.judge.verdicts import begun_by
from cookbook_lib.data.prompt import prompt_ids, stop_ids
from cookbook_lib.data.templates import use_template
from cookbook_lib.data.written import texts_of
from cookbook_lib.evaluation.checkpoints import open_checkpoint
from cookbook_lib.evaluation.inference import open_model
from cookbook_lib.evaluation.judges import Messages
from cookbook_lib.evaluation.openai_chat import OpenAIChatModel, Reply, RequestRefused
from cookbook_lib.models.generate import generate
from cookbook_lib.models.loading import load_tokenizer

Progress = Callable[[int], object]  # texts just finished
TAIL = 16  # tokens of a prompt in which reasoning may be begun
ROWS = {False: 16, True: 64}  # generated together, without a GPU and with one
BATCH_TOKENS = 65_536  # of them, prompts and what is written, unless batch_size says how many rows
Seeds = Sequence[Sequence[int]]  # of each prompt, one for each of its texts


@dataclass(frozen=True)
class Written:
    """One text. `tokens` counts what was generated, where that is known."""

    text: str
    finished: bool
    tokens: int | None = None


Answers = tuple[Written, ...] | CookbookError


class Generator(Protocol):
    """Writes several texts for each of many prompts."""

    @property
    def name(self) -> str: ...
    def write(
        self, prompts: Sequence[Messages], seeds: Seeds, *, temperature: float, progress: Progress | None = None
    ) -> list[Answers]: ...


class LocalGenerator:
    """The causal language model in a folder, whole, on one device.

    thinking: the prompt as the template gives it, after which a thinking model thinks (see `prompt_ids`); a tag that the
    prompt opened stands before the text, as reasoning that is never closed has no verdict. chat_template: a preset or a file,
    as data.chat_template; None is the folder's own. batch_size: rows generated together; None is 64 on a GPU and 16 elsewhere,
    fewer where they are long (BATCH_TOKENS). device, dtype: as in inference.choose_place.
    Raises CookbookError when the folder holds no chat model: a reward model, say, writes nothing.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_new_tokens: int = 512,
        thinking: bool = False,
        chat_template: str | None = None,
        batch_size: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
    ) -> None:
        self.folder = open_checkpoint(path).folder
        self.name = self.folder.name
        self.max_new_tokens, self.thinking = max_new_tokens, thinking
        self._model = open_model(self.folder, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        self.batch_size = batch_size or ROWS[self._model.device.type == "cuda"]
        self.max_batch_tokens = None if batch_size else BATCH_TOKENS
        tokenizer = load_tokenizer(self.folder, trust_remote_code=trust_remote_code)
        self._tokenizer = use_template(tokenizer, chat_template)
        self._stops = stop_ids(self._tokenizer)

    @property
    def longest(self) -> float:
        """Tokens of the longest prompt that leaves room for max_new_tokens; infinite where the model states no window."""
        window = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return (window or float("inf")) - self.max_new_tokens

    def write(
        self, prompts: Sequence[Messages], seeds: Seeds, *, temperature: float, progress: Progress | None = None
    ) -> list[Answers]:
        """As Generator.write; a text depends on its prompt and its seed, not on what else is asked (but for rounding)."""
        ids = [self._ids(prompt) for prompt in prompts]
        asked = [(i, seed) for i, own in enumerate(seeds) if not isinstance(ids[i], CookbookError) for seed in own]
        completions = generate(
            self._model,
            [ids[i] for i, _ in asked],  # type: ignore[misc]  # errors are left out above
            stop_ids=self._stops,
            max_new_tokens=self.max_new_tokens,
            temperature=temperature,
            seed=[seed for _, seed in asked],
            batch_size=self.batch_size,
            max_batch_tokens=self.max_batch_tokens,
            progress=progress,
        )
        texts: dict[int, list[Written]] = {i: [] for i in range(len(prompts))}
        plain = texts_of(self._tokenizer, (made.ids for made in completions))
        for (i, _), made, text in zip(asked, completions, plain, strict=True):
            begun = begun_by(self._tokenizer.decode(ids[i][-TAIL:]))  # type: ignore[index]  # as above
            texts[i].append(Written(begun + text, made.finished, len(made.ids)))
        return [found if isinstance(found, CookbookError) else tuple(texts[i]) for i, found in enumerate(ids)]

    def _ids(self, prompt: Messages) -> list[int] | CookbookError:
        try:
            ids = prompt_ids([dict(message) for message in prompt], self._tokenizer, thinking=self.thinking)
        except CookbookError as error:
            return error
        if len(ids) <= self.longest:
            return ids
        return CookbookError(
            f"the prompt has {len(ids):,} tokens, which with max_new_tokens={self.max_new_tokens} is more than "
            f"{self.folder.name}'s {self.longest + self.max_new_tokens:,} positions: shorten what is judged, or lower "
            "max_new_tokens."
        )


class ServerGenerator:
    """A model behind a server; `model` has the address, the concurrency and max_new_tokens."""

    def __init__(self, model: OpenAIChatModel, name: str | None = None) -> None:
        self._model, self._answered = model, False
        self.name = name or model.model or model.url

    def write(
        self, prompts: Sequence[Messages], seeds: Seeds, *, temperature: float, progress: Progress | None = None
    ) -> list[Answers]:
        """As Generator.write. A prompt that the server refuses is an error of its own; every other error is raised.

        So is a refusal where the server has not answered anything yet: it is more than one prompt's trouble.
        """
        waiting = [
            [self._model.submit([*map(dict, prompt)], temperature=temperature, seed=seed) for seed in own]
            for prompt, own in zip(prompts, seeds, strict=True)
        ]
        try:
            found = [_collected(futures, progress) for futures in waiting]
        except BaseException:
            for future in (one for futures in waiting for one in futures):
                future.cancel()
            raise
        refusals = [one for one in found if isinstance(one, CookbookError)]
        self._answered |= len(refusals) < len(found)
        if refusals and not self._answered:
            raise refusals[0]
        return found


def _collected(futures: Sequence["Future[Reply]"], progress: Progress | None) -> Answers:
    found: list[Any] = []
    for future in futures:
        try:
            reply = future.result()
            found.append(Written(reply.text.strip(), reply.finished))
        except RequestRefused as refused:
            found.append(refused)
        if progress:
            progress(1)
    refusals = [one for one in found if isinstance(one, CookbookError)]
    return refusals[0] if refusals else tuple(found)
