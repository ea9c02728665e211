"""Generation against transformers' own, row by row; and what batching must not change."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from cookbook_lib.config import CookbookError
from cookbook_lib.models.generate import Completion, configured_stops, generate
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.token_logps import token_logps

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": None,
    "bos_token_id": None,
    "tie_word_embeddings": False,
    "initializer_range": 0.5,  # so that greedy choices are clear and varied
}
GPT2 = {
    "vocab_size": 64,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "tie_word_embeddings": False,
    "initializer_range": 0.5,
    "eos_token_id": None,
    "bos_token_id": None,
}
MODELS = {
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE)),
    "mistral, window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4)),
    "gemma2, window and caps": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, sliding_window=4, query_pre_attn_scalar=8)),
    "gpt2, learned positions": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
}  # fmt: skip
HEADS = {
    "qwen3": MODELS["qwen3"],
    "gemma2, capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, final_logit_softcapping=5.0)),
    "granite, scaled": lambda: GraniteForCausalLM(
        GraniteConfig(**{k: v for k, v in SHAPE.items() if k != "head_dim"}, logits_scaling=3.0)
    ),
}
WITH_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
PROMPTS = [[5, 9, 2], [11], [60, 3, 3, 12, 50, 7, 8, 1, 2], [7, 7], [30, 31, 32, 33, 34]]


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.manual_seed(1)
    made = MODELS[request.param]().eval()
    made.generation_config.eos_token_id = None
    return made


def one_by_one(model, prompt, **options):
    """transformers' generate on one unpadded row."""
    out = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, pad_token_id=0, **options
    )
    return tuple(out[0, len(prompt) :].tolist())


def test_greedy_answers_equal_transformers_row_by_row(model):
    expected = [one_by_one(model, prompt, max_new_tokens=12) for prompt in PROMPTS]
    assert len(set(expected)) == len(PROMPTS)
    ours = generate(model, PROMPTS, stop_ids=(), max_new_tokens=12, batch_size=3)
    assert ours == [Completion(ids, finished=False) for ids in expected]


def test_rows_end_at_a_stop_token_and_the_others_go_on(model):
    free = [one_by_one(model, prompt, max_new_tokens=12) for prompt in PROMPTS]
    everywhere = set.intersection(*map(set, free))
    stops = {next(token for token in reversed(free[1]) if token not in everywhere)}
    ours = generate(model, PROMPTS, stop_ids=stops, max_new_tokens=12, batch_size=5)
    for whole, cut in zip(free, ours, strict=True):
        end = next((t for t, token in enumerate(whole) if token in stops), None)
        assert cut == Completion(whole[:end], finished=end is not None)
    assert {row.finished for row in ours} == {True, False}


@pytest.fixture(scope="module")
def qwen():
    torch.manual_seed(1)
    return MODELS["qwen3"]().eval()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_company_changes_nothing(qwen, temperature):
    options = {"stop_ids": {3}, "max_new_tokens": 12, "temperature": temperature, "seed": 4}
    together = generate(qwen, PROMPTS, batch_size=5, **options)
    assert together == generate(qwen, PROMPTS, batch_size=1, **options)
    assert together == generate(qwen, PROMPTS, batch_size=2, **options)
    assert together[:2] == generate(qwen, PROMPTS[:2], batch_size=2, **options)


def test_sampling_repeats_with_its_seed_and_follows_the_distribution(qwen):
    draw = lambda seed, t=1.0: generate(  # noqa: E731
        qwen, [[5, 9, 2]] * 400, stop_ids=(), max_new_tokens=1, temperature=t, seed=seed, batch_size=100
    )
    assert draw(1) == draw(1) != draw(2)
    counts = torch.bincount(torch.tensor([row.ids[0] for row in draw(1, 4.0)]), minlength=64) / 400
    with torch.no_grad():
        chances = (qwen(torch.tensor([[5, 9, 2]])).logits[0, -1] / 4.0).softmax(-1)
    assert (counts - chances).abs().max() < 4 * (chances.max() / 400).sqrt()
    assert len({row.ids for row in draw(1, 0.01)}) < len({row.ids for row in draw(1, 4.0)})


def test_the_generation_config_s_list_of_ends_is_respected(qwen):
    (free,) = generate(qwen, [PROMPTS[0]], stop_ids=(), max_new_tokens=8)
    for configured in (free.ids[2], [63, free.ids[2]]):
        qwen.generation_config.eos_token_id = configured
        assert free.ids[2] in configured_stops(qwen)
        (cut,) = generate(qwen, [PROMPTS[0]], stop_ids=(), max_new_tokens=8)
        assert cut == Completion(free.ids[: free.ids.index(free.ids[2])], finished=True)
    qwen.generation_config.eos_token_id = None
    assert configured_stops(qwen) == set()


def test_a_sampling_generation_config_does_not_make_greedy_random(tiny_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    before = generate(model, PROMPTS, stop_ids=(), max_new_tokens=6)
    model.generation_config.update(do_sample=True, temperature=2.0, top_k=5, repetition_penalty=1.5)
    assert generate(model, PROMPTS, stop_ids=(), max_new_tokens=6) == before


def test_progress_counts_rows_and_no_rows_are_no_work(qwen):
    seen = []
    generate(qwen, PROMPTS, stop_ids=(), max_new_tokens=2, batch_size=2, progress=seen.append)
    assert sum(seen) == len(PROMPTS)
    assert generate(qwen, [], stop_ids=(), max_new_tokens=2) == []


def test_the_model_is_in_evaluation_mode_and_keeps_no_graph(qwen):
    qwen.train()
    generate(qwen, [[1]], stop_ids=(), max_new_tokens=1)
    assert not qwen.training
    assert all(p.grad is None for p in qwen.parameters())


@pytest.mark.parametrize(
    ("prompts", "options", "sentence"),
    [
        ([[]], {}, "prompt 0 is empty"),
        (
            [[1], [1] * 60],
            {},
            r"prompt 1 has 60 tokens, which with max_new_tokens=8 is more than the model's 64 positions",
        ),
        ([[64]], {}, "prompt 0 has token 64, the model knows 64: the tokenizer is of another model"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens=0"),
        ([[1]], {"batch_size": 0}, "batch_size=0"),
        ([[1]], {"max_batch_tokens": 0}, "max_batch_tokens=0: it is at least 1"),
        ([[1]], {"temperature": -1.0}, "temperature=-1.0"),
        ([[1]], {"temperature": float("nan")}, "temperature=nan"),
    ],
)
def test_what_cannot_be_generated_from(qwen, prompts, options, sentence):
    with pytest.raises(CookbookError, match=sentence):
        generate(qwen, prompts, **({"stop_ids": (), "max_new_tokens": 8} | options))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=WITH_CUDA)])
@pytest.mark.parametrize("name", HEADS)
def test_exact_log_probabilities_are_training_s(name, device):
    """In bf16, where a head of transformers rounds its logits, and does all that follows in bf16 too."""
    torch.manual_seed(1)
    model = HEADS[name]().to(device, torch.bfloat16).eval()
    model.generation_config.eos_token_id = None
    options = {"stop_ids": (), "max_new_tokens": 1, "temperature": 0.7, "seed": 2, "batch_size": 1}
    packed, off = PackedModel(model, None), {True: 0.0, False: 0.0}
    for prompt in PROMPTS:
        ids = torch.tensor([prompt], device=device)
        with torch.no_grad():
            hidden = model.get_decoder()(input_ids=ids).last_hidden_state[0, -1:] * packed.logit_scale
        for exact in off:
            (made,) = generate(model, [prompt], exact=exact, **options)
            target = torch.tensor(made.ids, device=device)
            told, _ = token_logps(hidden, packed.output, target, temperature=0.7, softcap=packed.final_softcap)
            off[exact] = max(off[exact], abs(made.logps[0] - told.item()))
    assert off[True] < 1e-5
    if device == "cuda" or name != "qwen3":
        assert off[False] > 100 * off[True] + 1e-3


# ------------------------------------------------------------------------------------------------- several for one prompt


def counted(model):
    """Token positions that each forward computes."""
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return seen, hook


def test_a_prompt_that_is_given_several_times_is_computed_once(model):
    asked = [PROMPTS[2], PROMPTS[0], PROMPTS[2], PROMPTS[2], PROMPTS[1], PROMPTS[0]]
    options = {"stop_ids": {3}, "max_new_tokens": 12, "temperature": 1.0, "seed": [5, 6, 7, 8, 9, 10]}
    seen, hook = counted(model)
    together = generate(model, asked, batch_size=6, **options)
    hook.remove()
    assert seen[0] == 3 * len(PROMPTS[2]), "three prompts, padded to the longest"
    alone = [
        generate(model, [prompt], **(options | {"seed": [seed]}))[0]
        for prompt, seed in zip(asked, options["seed"], strict=True)
    ]
    assert together == alone
    assert len({together[i].ids for i in (0, 2, 3)}) == 3
    assert together == generate(model, asked, batch_size=2, **options), "a family larger than a batch is cut"


@pytest.mark.parametrize("budget", [1, 30, 45, 63, 1000])
def test_no_more_tokens_at_once_than_the_budget(model, budget):
    asked = [PROMPTS[i] for i in (2, 0, 2, 2, 1, 0, 4, 3)]
    options = {"stop_ids": {3}, "max_new_tokens": 12, "temperature": 1.0, "seed": list(range(8)), "batch_size": 8}
    whole, seen = generate(model, asked, **options), []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["attention_mask"].shape)), with_kwargs=True
    )
    assert generate(model, asked, max_batch_tokens=budget, **options) == whole
    hook.remove()
    longest = max(rows * width for rows, width in seen)
    assert longest <= max(budget, len(PROMPTS[2]) + 12), "one row always goes"
    assert {1: 1, 1000: 8}.get(budget, 2) <= max(rows for rows, _ in seen) <= {1: 1}.get(budget, 8)


def test_log_probabilities_are_those_of_a_plain_forward(model):
    asked = [prompt for prompt in PROMPTS for _ in range(3)]
    free = generate(model, PROMPTS, stop_ids=(), max_new_tokens=6, temperature=0.7, seed=2)
    stops = {free[0].ids[3], free[2].ids[1]}
    made = generate(model, asked, stop_ids=stops, max_new_tokens=10, temperature=0.7, seed=2, batch_size=8)
    assert {row.finished for row in made} == {True, False}
    for prompt, row in zip(asked, made, strict=True):
        said = [*row.ids, *([row.stop] if row.finished else [])]
        assert (row.stop in stops) == row.finished
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *said]])).logits[0, len(prompt) - 1 : -1]
        wanted = (logits / 0.7).log_softmax(-1).gather(1, torch.tensor(said)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(row.logps), wanted, atol=1e-4, rtol=0)


def test_top_k_of_one_is_greedy(qwen):
    greedy = generate(qwen, PROMPTS, stop_ids=(), max_new_tokens=8)
    assert generate(qwen, PROMPTS, stop_ids=(), max_new_tokens=8, temperature=1.0, top_k=1) == greedy
    assert generate(qwen, PROMPTS, stop_ids=(), max_new_tokens=8, temperature=1.0, top_p=1e-6) == greedy


def test_a_model_that_has_diverged_is_told(qwen):
    weight = qwen.get_output_embeddings().weight
    before = weight.detach().clone()
    weight.data[7] = float("nan")
    try:
        with pytest.raises(CookbookError, match="prompt 0: the model's probabilities of token 0 .* are not finite"):
            generate(qwen, [[1]], stop_ids=(), max_new_tokens=2, temperature=1.0)
    finally:
        weight.data.copy_(before)
