"""A decoder from a folder or a hub name, straight into its shards.

    build_model   structure only, on the meta device: no memory
    (recompute_layers, shard_model: the parallel room, from outside)
    load_weights  every rank reads the slices that it owns from the safetensors files, as fp32 master weights

An adapter's folder is read as its base with the adapter on it. No rank ever holds a full copy. Weights whose names in the file
are not the module's own (transformers converts some mixtures of experts while loading) take a second road, said aloud: rank 0
loads the model the ordinary way and sends each rank its part.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from cookbook_lib.config import CookbookError
from cookbook_lib.models.adapter_folder import Adapter, Adapters, check_fits, read_adapter
from cookbook_lib.models.attention import ATTENTION, Attend
from cookbook_lib.models.heads import CRITIC, PackedModel
from cookbook_lib.models.lora import lora_of, plain_names, plain_weights
from cookbook_lib.models.shards import Region, own_part
from cookbook_lib.models.tiny import quiet

PACKABLE = {"full_attention", "sliding_attention"}
CONFIG = "config.json"
WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"]
log = logging.getLogger(__name__)


def find_model(name: str) -> Path:
    """The local folder of a model: `name` itself, or a hub name's snapshot (downloaded when needed and possible)."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CookbookError(
                f"model {name!r} is a folder without config.json: give the folder that a model was saved to."
            )
        return folder
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise CookbookError(
            f"model {name!r} does not exist: give a folder, a hub name such as Qwen/Qwen3-0.6B, or 'tiny'."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=WANTED))
    except Exception as error:  # the hub client raises a dozen unrelated types; all mean the same to the reader
        raise CookbookError(
            f"model {name!r} is no local folder and could not be had from the hub ({type(error).__name__}): "
            "check the name, the network and the access rights, or give a folder."
        ) from error


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises CookbookError when the folder holds none, or a config.json that is broken."""
    if (folder / CONFIG).is_file():
        stated(folder)  # a tokenizer that reads it would be blamed for it
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise CookbookError(
            f"{folder} holds no tokenizer that loads ({error}): save the tokenizer beside the model."
        ) from error
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):  # what transformers makes of no files at all
        raise CookbookError(f"{folder} holds no tokenizer, or one without words: save the tokenizer beside the model.")
    return tokenizer


def stated(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises CookbookError when it is no JSON object."""
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:  # of the bytes, or of the JSON in them
        raise CookbookError(
            f"{folder / CONFIG} is no JSON ({error}): copy it anew from where the model is from."
        ) from None
    if not isinstance(found, dict):
        raise CookbookError(
            f"{folder / CONFIG} is {found!r:.60}, not a JSON object: copy it anew from where the model is from."
        )
    return found


def open_config(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The model's config, as transformers reads it. Raises CookbookError for one that is broken, or of an unknown kind."""
    kind = stated(folder).get("model_type")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except ValueError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise CookbookError(
            f"{folder}: transformers opens no model of type {kind!r} ({first_line}): use another."
        ) from error


def build_model(folder: Path, attend: Attend, *, trust_remote_code: bool = False) -> PackedModel:
    """The decoder's structure on the meta device, fp32, under our attention. Fill it with `load_weights`."""
    config = open_config(folder, trust_remote_code=trust_remote_code)
    refuse_unpackable(config, folder)
    _refuse_classifiers(config, folder)
    with torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(
            config, attn_implementation=ATTENTION, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    if getattr(hf.get_output_embeddings(), "bias", None) is not None:
        raise CookbookError(f"{folder}: an output embedding with a bias is not supported by the per-token loss.")
    return PackedModel(hf, attend)


def load_weights(
    model: PackedModel, folder: Path, device: torch.device, *, offload: bool = False, trust_remote_code: bool = False
) -> None:
    """Materialise `model` (sharded or not) on `device` and fill it from `folder` with fp32 master weights.

    offload: the weights rest in host memory, as FSDP2's offload policy wants them. Adapters of the model itself (lora.adapt)
    get memory and no values. Raises CookbookError for files that are broken, or of another model.
    """
    materialise(model, device, offload=offload)
    whole, adapters = foundation(folder, critic=CRITIC in model.new_weights)
    wanted = plain_weights(model.hf) | _stored_buffers(model.hf)  # a tied weight appears once
    sources = dict(_weights_in(whole))
    brought = {name for name in model.new_weights if adapters.brings(name)}
    check_fits(adapters, wanted)
    optional = model.may_lack | brought
    if missing := sorted(set(wanted) - set(sources) - optional):
        _load_through_rank_0(model, whole, missing, trust_remote_code, adapters, optional)
    to_read = model.new_weights if missing else wanted.keys()  # transformers' own class may not know the new ones
    for name in to_read & (sources.keys() | brought):
        _copy_slice(wanted[name], name, sources.get(name), adapters)
    for name in model.may_lack - sources.keys() - brought:
        _zero(wanted[name])
    model.hf.tie_weights()


def foundation(folder: Path, *, critic: bool = False) -> tuple[Path, Adapters]:
    """The whole model under a folder, and the adapters on it, the first one first: an adapter's base may be one, too."""
    chain: list[Adapter] = []
    while (adapter := read_adapter(folder, critic=critic)) is not None:
        if any(adapter.base == above.base for above in chain):
            raise CookbookError(f"{adapter.folder} is an adapter of {adapter.base}, and that of it: name its model.")
        chain.insert(0, adapter)
        try:
            folder = find_model(adapter.base)
        except CookbookError as error:
            raise CookbookError(f"{adapter.folder} is an adapter of a model that is not to be had: {error}") from None
    return folder, Adapters(tuple(chain))


def materialise(model: PackedModel, device: torch.device, *, offload: bool = False) -> None:
    """Memory for parameters (values undefined) and right values for the buffers that files do not hold (rotary tables).

    offload: parameters in host memory; buffers, which no policy brings to the device, are there in any case.
    """
    model.to_empty(device="cpu" if offload else device)
    model.hf.tie_weights()  # to_empty gives each module its own tensor; FSDP2 has kept them one
    for module in model.hf.modules():
        buffers = dict(module.named_buffers(recurse=False))
        for name, buffer in buffers.items():
            setattr(module, name, buffer.to(device))
        for parameter in module.parameters(recurse=False) if buffers else ():
            parameter._is_hf_initialized = True  # transformers leaves it alone: the files hold it
        if buffers:
            model.hf._init_weights(module)


def refuse_unpackable(config: Any, folder: Path) -> None:
    """Raise CookbookError for a model whose layers carry state over the boundaries of documents, or that is no decoder."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"]) - PACKABLE
    recurrent = kinds or {
        k for k in ("ssm_cfg", "mamba_d_state", "linear_attn_config") if getattr(text, k, None) is not None
    }
    if recurrent:
        raise CookbookError(
            f"{folder}: layers of kind {', '.join(sorted(recurrent))} carry state over document boundaries, so packed rows would leak; "
            "use a model whose layers are full or sliding-window attention."
        )
    if getattr(config, "is_encoder_decoder", False):
        raise CookbookError(f"{folder} is an encoder-decoder; SFT here trains decoders (causal language models).")


def _refuse_classifiers(config: Any, folder: Path) -> None:
    heads = [a for a in config.architectures or [] if a.endswith("ForSequenceClassification")]
    if heads:
        raise CookbookError(
            f"{folder} is a reward model ({heads[0]}), not a language model: give the SFT or base model instead."
        )


@torch.no_grad()
def _zero(parameter: torch.Tensor) -> None:
    own_part(parameter)[0].zero_()


def _stored_buffers(hf: nn.Module) -> dict[str, torch.Tensor]:
    """Buffers that files hold (a router's correction bias, say); the others are computed from the config."""
    stored = set(hf.state_dict())
    return {name: buffer for name, buffer in hf.named_buffers() if name in stored}


def _weights_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """(weight name, safetensors file) of everything in the folder."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        for name, file in json.loads(index.read_text())["weight_map"].items():
            yield name, folder / file
        return
    single = folder / "model.safetensors"
    if single.is_file():
        with _open(single) as file:
            yield from ((name, single) for name in file.keys())  # noqa: SIM118 (not a mapping)


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CookbookError(f"{file} is no whole safetensors file ({error}): copy or download it again.") from error


@torch.no_grad()
def _copy_slice(weight: torch.Tensor, name: str, source: Path | None, adapters: Adapters) -> None:
    """Read this rank's part of one weight, with the adapters on it. No source: one of them brings it whole."""
    local, region = own_part(weight)
    part: Any = None if source is None else _read_part(source, name, weight.shape, region, empty=not local.numel())
    if local.numel():
        local.copy_(adapters.apply(name, part, region))


def _read_part(source: Path, name: str, shape: torch.Size, region: Region, *, empty: bool) -> torch.Tensor | None:
    with _open(source) as file:
        part = file.get_slice(name)
        if tuple(part.get_shape()) != tuple(shape):
            raise CookbookError(
                f"{source}: weight {name} has shape {tuple(part.get_shape())}, the model's config.json says {tuple(shape)}: "
                "weights and config are of different models."
            )
        if empty:
            return None
        return part[region] if region else file.get_tensor(name)  # a slice of no dimensions is none


def _load_through_rank_0(
    model: PackedModel,
    folder: Path,
    missing: list[str],
    trust_remote_code: bool,
    adapters: Adapters,
    optional: frozenset[str],
) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    first = not dist.is_initialized() or dist.get_rank() == 0
    if first:
        log.warning(
            "%s: %d weights (%s ...) are stored under other names; loading through rank 0",
            folder,
            len(missing),
            missing[0],
        )
    problem, state = _read_whole(model, folder, trust_remote_code, optional) if first else ("", {})
    if dist.is_initialized():
        dist.broadcast_object_list(told := [problem], device=torch.device("cpu"))
        (problem,) = told
    if problem:
        raise CookbookError(f"{folder} {problem}: give the whole model.")
    here = plain_names(model.hf)
    state = {here[name]: adapters.apply(name, tensor) for name, tensor in state.items()}
    complete = lora_of(model) is None and not model.new_weights  # the model's own adapters, and what is new, come later
    sending = StateDictOptions(full_state_dict=True, broadcast_from_rank0=dist.is_initialized(), strict=complete)
    set_model_state_dict(model.hf, state, options=sending)


def _read_whole(
    model: PackedModel, folder: Path, trust_remote_code: bool, optional: frozenset[str]
) -> tuple[str, dict[str, Any]]:
    """("", all weights) as transformers reads them, or (what is wrong, {}): the other ranks wait for the one or the other."""
    options: Any = dict(dtype=torch.float32, trust_remote_code=trust_remote_code, output_loading_info=True)
    try:
        if model.new_weights:
            options["config"] = model.hf.config
        with quiet():
            loaded: Any = model.auto_class.from_pretrained(folder, **options)
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        return f"holds no weights that transformers reads ({type(error).__name__}: {first_line})", {}
    whole, info = loaded
    if absent := sorted(set(info["missing_keys"]) - optional):
        return f"lacks {len(absent)} weights ({absent[0]} ...), which would stay random", {}
    return "", whole.state_dict()
