r"""What a chat template writes around an answer, found by rendering two tiny conversations.

<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nA<|im_end|>\n
                  \_ closing __/\_ header ___________/\_ lead ____________/ \_ stop __/

closing  what ends a question (for Mistral, [/INST], and there is no header)
header   what opens every answer in the history
prompt   what generation starts from: the header, and for models that always think, "<think>\n" as well
lead     what the template itself puts between the header and an answer (a space, an empty thinking block)
stop     the control token that ends an answer, at which generation stops: it has to be learned
"""

import re
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from cookbook_lib.data.refusals import RowRefused
from cookbook_lib.data.rendering import Renderer

QUESTION, ANSWER = "Q\U0010fff0", "\U0010fff1"
OPEN_THINKING = re.compile(r"<think>\s*(</think>\s*)?\Z")
ANSWER_TOKENS = {"<think>", "</think>", "<tool_call>", "</tool_call>"}  # answers are written with these; anybody may


@dataclass(frozen=True)
class Scaffold:
    """The template's own text around answers; see the drawing above."""

    closing: str
    prompt: str
    header: str
    lead: str
    stop: str
    control: tuple[str, ...]  # tokens that only the template may write

    @property
    def stops(self) -> tuple[str, ...]:
        """Whatever may end an answer: Llama 3 ends calls of built-in tools with another token than answers."""
        return tuple({self.stop, "<|eom_id|>"} & {*self.control})

    @property
    def header_is_certain(self) -> bool:
        """Whether the header contains a token that no user text can contain, so that to find it is to know it."""
        return any(token in self.header for token in self.control)


def read_scaffold(tokenizer: PreTrainedTokenizerBase, render: Renderer) -> Scaffold:
    """Render a question, and a question with its answer, and take them apart. Raises RowRefused where that fails."""
    question = [{"role": "user", "content": QUESTION}]
    asked, prompted = render(question, None), render(question, None, prompt=True)
    if not prompted.startswith(asked):  # Phi 3 ends whatever is not a prompt with the end of the text
        asked = asked.removesuffix(str(tokenizer.eos_token))
    answered = render([*question, {"role": "assistant", "content": ANSWER}], None)
    before, _, after = answered.partition(ANSWER)
    if not prompted.startswith(asked) or ANSWER not in answered:
        fix = "use a template that only appends its generation prompt, and closes answers"
        raise RowRefused("unusable_template", "the chat template cannot be taken apart around an answer", fix)
    prompt = prompted[len(asked) :]
    header = _header(prompt, before[len(asked) :])
    control = control_tokens(tokenizer, asked + prompt + after)
    stop = _stop(after, control)
    return Scaffold(asked.partition(QUESTION)[2], prompt, header, before[len(asked) + len(header) :], stop, control)


def _header(prompt: str, before: str) -> str:
    """The generation prompt as far as the history repeats it: some templates prompt for thinking that they then drop."""
    header = without_open_thinking(prompt)
    if not before.startswith(header):
        fix = "use the template that the model is served with"
        raise RowRefused("unusable_template", f"answers are prompted by {header!r}, which the history lacks", fix)
    return header


def without_open_thinking(prompt: str) -> str:
    """A prompt without the <think> (or the empty block) that it ends with."""
    return OPEN_THINKING.sub("", prompt)


def _stop(after: str, control: tuple[str, ...]) -> str:
    rest = after.lstrip()
    found = max((token for token in control if rest.startswith(token)), key=len, default=None)
    if found is None:
        fix = "add the end-of-turn token to the template (and as a special token to the tokenizer)"
        raise RowRefused(
            "no_end_of_turn", f"after an answer the template writes {after!r}, not a token to stop at", fix
        )
    return found


def control_tokens(tokenizer: PreTrainedTokenizerBase, scaffold: str) -> tuple[str, ...]:
    """The special tokens, and the added tokens which the template opens and closes turns with."""
    return tuple(
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.content not in ANSWER_TOKENS
        and (token.special or (token.content in scaffold and not token.content.isspace()))
    )
