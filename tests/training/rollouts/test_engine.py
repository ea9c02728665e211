"""Our generator with the policy's weights: log-probabilities against training's, and what a completion depends on."""

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from cookbook_lib.data.completions import Group, pack_completions
from cookbook_lib.models.attention import ATTENTION, varlen_attention
from cookbook_lib.models.heads import PackedModel
from cookbook_lib.models.sampling import Sampling
from cookbook_lib.models.token_logps import token_logps
from cookbook_lib.parallel.fsdp import shard_model
from cookbook_lib.parallel.mesh import Mesh, make_mesh
from cookbook_lib.training.objectives.completion_tokens import completion_logps
from cookbook_lib.training.rollouts.answering import seeds_of
from cookbook_lib.training.rollouts.engine import Generated, OwnEngine
from tests.training.rollout_run import MOST, STOP, VOCAB, Prompts, model_of

HOW = Sampling(0.8)


def gemma(mesh: Mesh) -> PackedModel:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, max_position_embeddings=64, sliding_window=6, query_pre_attn_scalar=8, attn_logit_softcapping=3.0,
        final_logit_softcapping=5.0, initializer_range=0.2, eos_token_id=STOP, pad_token_id=0, bos_token_id=None,
        attn_implementation=ATTENTION,
    )  # fmt: skip
    model = PackedModel(Gemma2ForCausalLM(config), varlen_attention)
    shard_model(model, mesh, layers=model.layers, compute_dtype=torch.float32)
    return model


MODELS = {"qwen3": model_of, "gemma2, window and caps": gemma}


def answered(engine: OwnEngine, prompts: Prompts, n: int = 4) -> list[Generated]:
    seeds = [seeds_of(1, 0, 0, row, n=n) for row in range(len(prompts))]
    return engine.generate(
        [prompt.ids for prompt in prompts], max_new_tokens=MOST, how=HOW, stop_ids=(STOP,), seeds=seeds
    )


@pytest.mark.parametrize("name", MODELS)
def test_generation_and_training_agree_on_every_token(name):
    mesh = make_mesh(device="cpu")
    model, prompts = MODELS[name](mesh), Prompts.of()
    engine = OwnEngine(model, mesh.device, batch_size=7)
    engine.refresh(model)
    made = answered(engine, prompts)
    groups = [
        Group(i, prompt.ids, one.completions, one.finished, i, {"rollout_logps": one.logps})
        for i, (prompt, one) in enumerate(zip(prompts, made, strict=True))
    ]
    batch = pack_completions(groups)
    with torch.no_grad():
        told = completion_logps(model, batch, mesh, temperature=HOW.temperature)
    torch.testing.assert_close(batch.rollout_logps, told.logps, atol=1e-4, rtol=0)
    assert {finished for one in made for finished in one.finished} == {True, False}


def test_in_bf16_its_log_probabilities_are_still_those_of_fp32_logits():
    mesh = make_mesh(device="cpu")
    engine = OwnEngine(model := gemma(mesh), mesh.device, dtype=torch.bfloat16)
    engine.refresh(model)
    (made,) = engine.generate([[5, 9, 2]], max_new_tokens=1, how=HOW, stop_ids=(STOP,), seeds=[[7, 8, 9, 10]])
    with torch.no_grad():
        hidden = engine.hf.get_decoder()(input_ids=torch.tensor([[5, 9, 2]])).last_hidden_state[0, -1:].expand(4, -1)
    head, drawn = engine.hf.get_output_embeddings().weight, torch.tensor([int(ids[0]) for ids in made.completions])
    told, _ = token_logps(hidden, head, drawn, temperature=HOW.temperature, softcap=model.final_softcap)
    np.testing.assert_allclose([float(own[0]) for own in made.logps], told, atol=1e-5)


def test_a_finished_completion_ends_in_its_stop_token_and_no_other_has_it():
    mesh = make_mesh(device="cpu")
    engine = OwnEngine(model := model_of(mesh), mesh.device)
    engine.refresh(model)
    for one in answered(engine, Prompts.of()):
        for ids, finished, logps in zip(one.completions, one.finished, one.logps, strict=True):
            assert (ids[-1] == STOP) == finished and STOP not in ids[:-1]
            assert len(logps) == len(ids) <= MOST
            assert ids.dtype == np.int32 and logps.dtype == np.float32


def test_what_a_prompt_is_answered_does_not_depend_on_the_others():
    mesh = make_mesh(device="cpu")
    model, prompts = model_of(mesh), Prompts.of()
    engine = OwnEngine(model, mesh.device, batch_size=5)
    engine.refresh(model)
    whole = answered(engine, prompts)
    seeds = seeds_of(1, 0, 0, 3, n=4)
    (alone,) = engine.generate([prompts[3].ids], max_new_tokens=MOST, how=HOW, stop_ids=(STOP,), seeds=[seeds])
    assert [ids.tolist() for ids in alone.completions] == [ids.tolist() for ids in whole[3].completions]
    assert len({tuple(ids.tolist()) for ids in alone.completions}) == 4


def test_a_small_budget_of_tokens_changes_no_answer():
    mesh = make_mesh(device="cpu")
    model, prompts = model_of(mesh), Prompts.of()
    wide, narrow = (OwnEngine(model, mesh.device, max_batch_tokens=most) for most in (None, 2 * MOST + 20))
    for engine in (wide, narrow):
        engine.refresh(model)
    for one, other in zip(answered(wide, prompts), answered(narrow, prompts), strict=True):
        assert [ids.tolist() for ids in one.completions] == [ids.tolist() for ids in other.completions]
        for logps, others in zip(one.logps, other.logps, strict=True):
            np.testing.assert_allclose(logps, others, atol=1e-5)


def test_the_base_s_generation_config_names_further_ends(tmp_path):
    mesh = make_mesh(device="cpu")
    model = model_of(mesh)
    plain = OwnEngine(model, mesh.device)
    plain.refresh(model)
    ids = answered(plain, Prompts.of())[0].completions[0]
    plain.hf.generation_config.eos_token_id = [STOP, int(ids[1])]
    plain.hf.generation_config.save_pretrained(tmp_path)
    engine = OwnEngine(model, mesh.device, folder=tmp_path)
    engine.refresh(model)
    first = answered(engine, Prompts.of())[0]
    assert first.finished[0] and first.completions[0].tolist() == ids[:2].tolist()


def test_seeds_are_all_different_and_the_same_every_time():
    several = [seeds_of(1, k, r, n=8) for k in range(5) for r in range(5)]
    flat = [seed for own in several for seed in own]
    assert len(set(flat)) == 200 and all(0 <= seed < 2**63 for seed in flat)
    assert several[7] == seeds_of(1, 1, 2, n=8) and seeds_of(1, 1, 2, n=3) == several[7][:3]
