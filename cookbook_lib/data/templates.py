"""Chat templates: six presets of our own, or your file, or the tokenizer's.

    data.chat_template = null           the tokenizer's own template (a model without one is refused)
                       = "qwen3"        a preset: chat_templates/qwen3.jinja
                       = "my.jinja"     a file

A preset is the convention of a family, written anew: roles, header and end-of-turn tokens as the family has them,
wording of the tool instructions ours. It fits a tokenizer that has the tokens below; each must be one token, otherwise
the turn marks would be spelled in letters and no generation could stop at them.

    preset    family, what it can                                      system  tools  thinking in earlier turns
    chatml    Qwen 1.5, Yi, Hermes and most small chat models          yes     no     kept as written
    qwen3     Qwen 2.5 and 3                                           yes     yes    dropped
    llama3    Llama 3.x                                                yes     yes    kept as written
    mistral   Mistral instruct v3                                      yes     yes    kept as written
    gemma     Gemma 1 to 3                                             raises  raises kept as written
    deepseek  DeepSeek V3 and its R1 distillations                     yes     yes    dropped
"""

import re
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError

FOLDER = Path(__file__).parent / "chat_templates"

PRESETS: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "qwen3": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "mistral": ("[INST]", "[/INST]", "</s>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "deepseek": ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
}

THINKING = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


def use_template(tokenizer: PreTrainedTokenizerBase, choice: str | None) -> PreTrainedTokenizerBase:
    """Give the tokenizer the chosen chat template (it is then saved with it) and return it.

    Raises CookbookError when there is no template, or when the preset's tokens are not tokens of this tokenizer.
    """
    tokenizer.chat_template = resolve_template(choice, tokenizer)
    missing = [token for token in PRESETS.get(choice or "", ()) if token not in tokenizer.get_added_vocab()]
    if missing:
        raise CookbookError(
            f"data.chat_template is {choice!r} and the tokenizer has no token {', '.join(missing)}; choose the preset of "
            f"the model's family ({', '.join(PRESETS)}), or leave it null for the model's own template."
        )
    return tokenizer


def resolve_template(choice: str | None, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of the chosen template: a preset's, a .jinja file's, or (None) the tokenizer's own."""
    if choice is None:
        return own_template(tokenizer)
    if choice in PRESETS:
        return preset(choice)
    if not choice.endswith(".jinja"):
        raise CookbookError(
            f"data.chat_template is {choice!r}; it must be a preset ({', '.join(PRESETS)}), a .jinja file, or null."
        )
    if not Path(choice).is_file():
        raise CookbookError(f"data.chat_template is {choice!r} and there is no such file; correct the path.")
    return Path(choice).read_text(encoding="utf-8")


def own_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's own template; with several, the one called default."""
    template = tokenizer.chat_template
    text = template.get("default") if isinstance(template, dict) else template
    if not text:
        raise CookbookError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; set data.chat_template to "
            f"a preset ({', '.join(PRESETS)}) or a .jinja file."
        )
    return str(text)


def preset(name: str) -> str:
    """The text of a preset."""
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def strip_thinking(text: str) -> str:
    """The answer without the <think> block that it opens with; text without one comes back as it is."""
    return THINKING.sub("", text, count=1)
