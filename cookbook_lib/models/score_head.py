r"""ScoreModel: a decoder whose last token of each answer is read by a small linear head, and what the head's numbers mean.

    input_ids (B, T) -> decoder -> hidden (B, T, D) -> h at each answer's last token (R, D) -> W h (R, L)

    scalar           L = 1            score = W h                            Bradley-Terry: only differences mean something
    regression       L = A            score = mean + scale * (W h)           mean and scale of the training scores
    ordinal          L = A (K - 1)    score = lowest + sum_j sigma(W h)_j    sigma_j = P(level > j) (cumulative logits)
    classification   L = A K          score = sum_k k softmax(W h)_k         the expected level

A attributes, K levels from lowest to highest. W begins at zero: the first Bradley-Terry loss is ln 2 exactly, the first
regression predicts the mean. The head is computed in fp32, whatever the decoder's dtype. What is saved is a plain
AutoModelForSequenceClassification: no bias, labels named in config.json, a pad token that no document ends with.

Ordinal by cumulative logits: Cheng et al., https://arxiv.org/abs/0704.1028.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.models.attention import ATTENTION, Attend
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.loading import open_config, refuse_unpackable, stated

Kind = Literal["scalar", "regression", "ordinal", "classification"]
RECORD = "score_head"  # the key of config.json under which plain transformers keeps it for us


@dataclass(frozen=True)
class ScoreHead:
    """What the head's outputs mean. Written into config.json, read back with the model."""

    kind: Kind = "scalar"
    attributes: tuple[str, ...] = ("score",)
    lowest: int = 0
    highest: int = 4
    mean: tuple[float, ...] = (0.0,)  # regression: of each attribute
    scale: tuple[float, ...] = (1.0,)

    @property
    def levels(self) -> int:
        return self.highest - self.lowest + 1

    @property
    def outputs_each(self) -> int:
        """Head outputs for one attribute."""
        return {"scalar": 1, "regression": 1, "ordinal": self.levels - 1, "classification": self.levels}[self.kind]

    @property
    def num_labels(self) -> int:
        return len(self.attributes) * self.outputs_each

    @property
    def labels(self) -> list[str]:
        """A name for each output: helpfulness, helpfulness>0, helpfulness=0."""
        sign = {"ordinal": ">", "classification": "="}.get(self.kind)
        if sign is None:
            return list(self.attributes)
        steps = range(self.lowest, self.lowest + self.outputs_each)
        return [f"{name}{sign}{level}" for name in self.attributes for level in steps]

    def __str__(self) -> str:
        names = ", ".join(self.attributes)
        if self.kind == "scalar":
            return f"scalar head: {names}, of which only differences mean something"
        if self.kind != "regression":
            return f"{self.kind} head: {names} from {self.lowest} to {self.highest}, {self.num_labels} outputs"
        scaled = (
            f"{n} = {m:.4g} + {s:.4g} × output" for n, m, s in zip(self.attributes, self.mean, self.scale, strict=True)
        )
        return f"regression head: {', '.join(scaled)}"

    def scores(self, raw: torch.Tensor) -> torch.Tensor:
        """Head outputs (R, L) -> scores (R, A), on the scale of the data."""
        each = raw.unflatten(1, (len(self.attributes), self.outputs_each))
        if self.kind == "ordinal":
            return self.lowest + each.sigmoid().sum(-1)
        if self.kind == "classification":
            return each.softmax(-1) @ torch.arange(self.lowest, self.highest + 1, device=raw.device, dtype=raw.dtype)
        mean, scale = (
            torch.tensor(x, dtype=raw.dtype).to(raw.device, non_blocking=True) for x in (self.mean, self.scale)
        )
        return mean + scale * each.squeeze(-1)

    @staticmethod
    def read(told: dict[str, Any]) -> "ScoreHead":
        """From JSON, which has lists."""
        plain: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in told.items()}
        return ScoreHead(**plain)

    @staticmethod
    def of(config: Any) -> "ScoreHead":
        """Of a model's config; one that others trained is a scalar, or one regression output a label."""
        told = getattr(config, RECORD, None)
        if told is not None:
            return _agreeing(ScoreHead.read(told), config)
        labels = config.num_labels
        if labels == 1:
            return ScoreHead()
        names = tuple(str(config.id2label[i]) for i in range(labels))
        return ScoreHead("regression", names, mean=(0.0,) * labels, scale=(1.0,) * labels)


class ScoreModel(PackedModel):
    """A transformers sequence classifier under our attention; `read` gets the hidden states and the head, a module."""

    auto_class = AutoModelForSequenceClassification
    task = "SEQ_CLS"
    new_weights = frozenset({"score.weight"})

    def __init__(self, hf: Any, attend: Attend, head: ScoreHead, *, trained: bool = False) -> None:
        super().__init__(hf, attend)
        self.head = head
        self.may_lack = frozenset() if trained else self.new_weights  # a reward model without its head is half lost

    def facts(self) -> dict[str, Any]:
        return {RECORD: asdict(self.head)}

    def recall(self, facts: dict[str, Any]) -> None:
        """Mean and scale are those that the weights were trained with, whatever the data's are by now."""
        if RECORD in facts:
            self.head = _checked("the checkpoint", ScoreHead.read(facts[RECORD]), self.head)
            setattr(self.hf.config, RECORD, asdict(self.head))

    @property
    def exact_modules(self) -> list[nn.Module]:
        return [self.hf.score]

    @property
    def output(self) -> Any:
        return self.hf.score

    @property
    def logit_scale(self) -> float:
        return 1.0


def build_score_model(
    folder: Path,
    attend: Attend,
    tokenizer: PreTrainedTokenizerBase,
    head: ScoreHead | None = None,
    *,
    trust_remote_code: bool = False,
) -> ScoreModel:
    """The structure on the meta device, fp32, from a language model's folder or a reward model's. Fill it with `load_weights`.

    head: what it is to learn; None takes the folder's own. Raises CookbookError for a folder whose head is another, for a
    language model without `head`, for an architecture that transformers has no sequence classifier of.
    """
    config = open_config(folder, trust_remote_code=trust_remote_code)
    refuse_unpackable(config, folder)
    trained = is_score_model(folder)
    if head is None and not trained:
        raise CookbookError(f"{folder} is a language model without a score head: give a trained reward model.")
    head = _checked(folder, ScoreHead.of(config) if trained else None, head)
    text = config.get_text_config()
    config.num_labels = head.num_labels
    config.id2label = dict(enumerate(head.labels))
    config.label2id = {label: number for number, label in enumerate(head.labels)}
    text.pad_token_id = config.pad_token_id = choose_pad(tokenizer, text.vocab_size)
    setattr(config, RECORD, asdict(head))
    if head.kind in ("scalar", "regression"):  # servers that squash classes leave the number of a regression alone
        config.problem_type = "regression"
    try:
        with torch.device("meta"):
            hf = AutoModelForSequenceClassification.from_config(
                config, attn_implementation=ATTENTION, dtype=torch.float32, trust_remote_code=trust_remote_code
            )
    except ValueError as error:
        raise CookbookError(
            f"{folder}: transformers has no sequence classifier of {type(config).__name__}; use another decoder."
        ) from error
    if getattr(getattr(hf, "score", None), "bias", 0) is not None:
        raise CookbookError(f"{folder}: {type(hf).__name__} has no head `score` without bias; use another decoder.")
    hf.config.architectures = [type(hf).__name__]
    hf.get_input_embeddings().padding_idx = None  # set from the pad token, and then that token's embedding never learns
    return ScoreModel(hf, attend, head, trained=trained)


def is_score_model(folder: Path) -> bool:
    """Whether a model's folder holds a sequence classifier. Raises CookbookError where its config.json is broken."""
    return any(name.endswith("ForSequenceClassification") for name in stated(folder).get("architectures") or [])


def choose_pad(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> int:
    """A token to pad with, never the end of a document: plain transformers reads the score at the last token that is not it.

    The tokenizer's own when it is not its end token, else another special token. Raises CookbookError when there is none.
    """
    ends = {tokenizer.eos_token_id, _last_token(tokenizer)}
    known = [
        tokenizer.pad_token_id,
        *sorted(tokenizer.added_tokens_decoder),
        tokenizer.unk_token_id,
        tokenizer.bos_token_id,
    ]
    for token in known:
        if token is not None and token < vocabulary and token not in ends:
            return int(token)
    raise CookbookError(
        "the tokenizer has no token to pad with beside its end token, and a score would be read at the wrong place: add a pad token."
    )


def _last_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """What a conversation ends with under the tokenizer's own template; None without one."""
    if tokenizer.chat_template is None:
        return None
    asked, answered = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    text = str(tokenizer.apply_chat_template([asked, answered], tokenize=False))
    return int(tokenizer(text, add_special_tokens=False).input_ids[-1])


def _checked(folder: Path | str, own: ScoreHead | None, wanted: ScoreHead | None) -> ScoreHead:
    """The head to build: the wanted one, if the folder's own (when it has one) is of the same outputs."""
    if own is None or wanted is None:
        return wanted or own or ScoreHead()
    if (own.kind, own.labels) != (wanted.kind, wanted.labels):
        raise CookbookError(
            f"{folder} has {_described(own)}, the recipe wants {_described(wanted)}: start from a language model, or set "
            "the recipe to match."
        )
    return own


def _agreeing(head: ScoreHead, config: Any) -> ScoreHead:
    """The head that we recorded. Raises CookbookError where config.json was changed after that."""
    if head.num_labels != config.num_labels:
        raise CookbookError(
            f"{config.name_or_path}: config.json has {config.num_labels} labels, and its {RECORD} has {head.num_labels}: "
            "restore the config.json that was saved with the model."
        )
    return head


def _described(head: ScoreHead) -> str:
    names = ", ".join(head.labels[:4]) + (" ..." if head.num_labels > 4 else "")
    return f"the head {head.kind} with outputs {names}"
