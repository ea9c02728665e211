"""Two roads from documents to the numbers of a reward model's head.

    packed   any decoder with a linear head `score`: families of documents side by side in one row, no padding, no token twice
    padded   every other sequence classifier (encoders, heads of another form, layers with a state): plain transformers

Which road is possible is found out when a folder is opened. A packed model must give a pair of probe documents the hidden
states that plain transformers gives them one by one; one that does not (bidirectional attention in a decoder's clothes) is
opened again as padded, and `note` says so.

Shapes: R documents, T tokens of a forward, D hidden size, L outputs of the head.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.data.reward.candidates import Candidates
from cookbook_lib.data.reward.families import NO_TARGETS, families, family, forwards
from cookbook_lib.data.reward.packing import Layout
from cookbook_lib.models.attention import ATTENTION, varlen_attention
from cookbook_lib.models.loading import load_weights
from cookbook_lib.models.score_head import ScoreHead, ScoreModel, build_score_model, choose_pad, is_score_model
from cookbook_lib.models.tiny import quiet

Ids = NDArray[np.int32]
Scored = Iterator[tuple[list[int], torch.Tensor]]  # (numbers of documents, their head outputs (R, L) fp32 on the CPU)
PROBES = (range(7, 31), range(40, 53))  # token ids of two documents, taken modulo the vocabulary
APART = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # relative distance of hidden states that rounding explains


class Scorer(Protocol):
    """A model and its head; `note` says why it is not packed, or is None."""

    head: ScoreHead
    note: str | None

    @property
    def config(self) -> Any: ...
    def outputs(self, documents: Sequence[Ids], max_tokens: int) -> Scored: ...


def open_scorer(
    folder: Path, tokenizer: PreTrainedTokenizerBase, device: torch.device, dtype: torch.dtype, trust_remote_code: bool
) -> Scorer:
    """Raises CookbookError when the folder holds no sequence classifier, or not all of its weights."""
    if not is_score_model(folder):
        raise CookbookError(
            f"{folder} is no reward model (config.json names no ...ForSequenceClassification): give a trained one, or "
            "train one from it with the recipe bradley_terry or pointwise."
        )
    try:
        structure = build_score_model(folder, varlen_attention, tokenizer, trust_remote_code=trust_remote_code)
    except CookbookError as problem:
        return PaddedScorer(folder, tokenizer, device, dtype, trust_remote_code, f"not packed: {problem}")
    packed = PackedScorer(structure, folder, device, dtype, trust_remote_code)
    if (apart := packed.distance()) <= APART[dtype]:
        return packed
    why = f"not packed: under causal attention its hidden states are {apart:.2g} away from those of plain transformers"
    del packed, structure
    return PaddedScorer(folder, tokenizer, device, dtype, trust_remote_code, why)


class PackedScorer:
    """A decoder under varlen attention. The head computes in fp32, whatever the decoder's dtype."""

    def __init__(
        self, model: ScoreModel, folder: Path, device: torch.device, dtype: torch.dtype, trust_remote_code: bool
    ) -> None:
        _cast(model.hf.get_decoder(), dtype)
        load_weights(model, folder, device, trust_remote_code=trust_remote_code)
        self.model, self.head, self.device = model.eval(), model.head, device
        self.note: str | None = None
        self.sharing = True

    @property
    def config(self) -> Any:
        return self.model.hf.config

    def outputs(self, documents: Sequence[Ids], max_tokens: int) -> Scored:
        """The head's outputs for every document, forward by forward, longest first."""
        groups = families(documents, max_tokens, sharing=self.sharing)
        made = [family([documents[i] for i in group]) for group in groups]
        costs = [len(one.shared) + sum(map(len, one.rests)) for one in made]
        for chosen in forwards(costs, max_tokens):
            numbers = [i for n in chosen for i in groups[n]]
            yield numbers, self._forward([made[n] for n in chosen])

    @torch.inference_mode()
    def _forward(self, examples: Sequence[Candidates]) -> torch.Tensor:
        """(R, L) for the documents of these families, in order."""
        layout = Layout.of(examples)
        ends = torch.tensor([last for lasts in layout.ends for last in lasts], device=self.device)
        ids, positions = layout.input_ids.to(self.device), layout.position_ids.to(self.device)

        def read(hidden: torch.Tensor, head: nn.Module) -> torch.Tensor:
            out: torch.Tensor = head(hidden[0].index_select(0, ends).float())
            return out

        out: torch.Tensor = self.model(ids, positions, layout.cu_seqlens, read, tuple(layout.continues))
        return out.cpu()

    @torch.inference_mode()
    def distance(self) -> float:
        """How far packed hidden states are from those of plain transformers, relative to their size."""
        known = self.config.get_text_config().vocab_size
        probes = [np.array(probe, np.int32) % known for probe in PROBES]
        layout = Layout.of([Candidates(probes[0][:9], (probes[0][9:],), NO_TARGETS), family(probes[1:])])
        ids, positions = layout.input_ids.to(self.device), layout.position_ids.to(self.device)
        packed = self.model(ids, positions, layout.cu_seqlens, lambda hidden, head: hidden, tuple(layout.continues))
        decoder = self.model.hf.get_decoder()
        self.model.hf.set_attn_implementation("eager")  # the only one that every model has
        try:
            alone = [decoder(torch.tensor(probe, device=self.device)[None].long(), use_cache=False) for probe in probes]
        finally:
            self.model.hf.set_attn_implementation(ATTENTION)
        plain = torch.cat([out.last_hidden_state for out in alone], dim=1)
        return float((packed - plain).float().norm() / plain.float().norm())


class PaddedScorer:
    """A sequence classifier as transformers runs it: documents of like length in one batch, filled up on the right."""

    def __init__(
        self, folder: Path, tokenizer: PreTrainedTokenizerBase, device: torch.device, dtype: torch.dtype,
        trust_remote_code: bool, note: str,
    ) -> None:  # fmt: skip
        self.model, self.device = _load(folder, dtype, trust_remote_code).to(device).eval(), device
        self.note: str | None = note
        self.head = ScoreHead.of(self.config)
        self.pad = self._choose_pad(tokenizer)

    @property
    def config(self) -> Any:
        return self.model.config

    def outputs(self, documents: Sequence[Ids], max_tokens: int) -> Scored:
        """As PackedScorer.outputs. Without a token to pad with, documents of one length only share a batch."""
        order = sorted(range(len(documents)), key=lambda i: -len(documents[i]))
        while order:
            longest = len(documents[order[0]])
            rows = max(max_tokens // longest, 1) if self.pad is not None else 1
            numbers, order = order[:rows], order[rows:]
            yield numbers, self._forward([documents[i] for i in numbers])

    @torch.inference_mode()
    def _forward(self, documents: Sequence[Ids]) -> torch.Tensor:
        width = len(documents[0])
        ids = torch.full((len(documents), width), self.pad or 0)
        mask = torch.zeros_like(ids)
        for row, document in enumerate(documents):
            ids[row, : len(document)] = torch.tensor(document)
            mask[row, : len(document)] = 1
        out = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        logits: torch.Tensor = out.logits
        return logits.float().cpu()

    def _choose_pad(self, tokenizer: PreTrainedTokenizerBase) -> int | None:
        """Decoders read the last token that is not padding: it must be none that documents end with."""
        text = self.config.get_text_config()
        if not hasattr(self.model, "score"):
            known = getattr(text, "pad_token_id", None)
            return tokenizer.pad_token_id if known is None else known
        try:
            text.pad_token_id = choose_pad(tokenizer, text.vocab_size)
        except CookbookError:
            text.pad_token_id = None
        return text.pad_token_id


def _cast(decoder: nn.Module, dtype: torch.dtype) -> None:
    """Parameters, not buffers: rotary tables stay exact."""
    for module in decoder.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.to(dtype), requires_grad=False))


def _load(folder: Path, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    load: Callable[..., Any] = AutoModelForSequenceClassification.from_pretrained
    try:
        with quiet():
            model, info = load(folder, dtype=dtype, trust_remote_code=trust_remote_code, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise CookbookError(f"the reward model in {folder} does not load ({first}): copy or save it again.") from error
    if absent := sorted(info["missing_keys"]):
        raise CookbookError(f"{folder} lacks {len(absent)} weights ({absent[0]} ...): give the whole reward model.")
    return model
