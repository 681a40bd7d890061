"What the notebook on newer parts can't show without another library: transformers' Llama and `ModernGPT` are one model."
import json

import pytest
import torch

from mingpt_nb.modern import LLAMA_CONFIG, ModernConfig, ModernGPT, _llama_name

transformers = pytest.importorskip('transformers')

SIZES = [dict(vocab_size=65, block_size=64, n_layer=2, n_head=4, n_embd=32, n_kv_head=2),
         dict(vocab_size=101, block_size=33, n_layer=3, n_head=3, n_embd=42, n_kv_head=1, n_inner=50, rope_theta=500., rms_norm_eps=1e-3, tie_word_embeddings=False),
         dict(vocab_size=33, block_size=16, n_layer=1, n_head=2, n_embd=8)]
each = pytest.mark.parametrize('sizes', SIZES, ids=['groups', 'odd', 'no groups'])


def filled(model, seed):
    torch.manual_seed(seed)
    for p in model.parameters(): torch.nn.init.normal_(p, std=0.2) # gains, too
    return model.eval()


def ours(sizes): return filled(ModernGPT(ModernConfig(**sizes)), 0)


def theirs(sizes):
    sizes = dict(sizes)
    theta, c = sizes.pop('rope_theta', 10_000.), ModernConfig(**sizes)
    config = {name: getattr(c, k) for k, name in LLAMA_CONFIG.items()}
    rope = dict(rope_type='default', rope_theta=theta)
    return filled(transformers.LlamaForCausalLM(transformers.LlamaConfig(**config, rope_parameters=rope, bos_token_id=None, eos_token_id=None)), 2)


def read(folder): return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def agree(a, b):
    "Logits, gradients and greedy text of our `a` and their `b`."
    torch.manual_seed(1)
    idx = torch.randint(a.config.vocab_size, (3, a.config.block_size))
    targets = idx.roll(-1, 1)
    logits, loss = a(idx, targets)
    other = b(idx).logits
    torch.testing.assert_close(logits, other, atol=1e-5, rtol=1e-5)
    loss.backward()
    torch.nn.functional.cross_entropy(other.flatten(0, 1), targets.flatten()).backward()
    grads = {k: p.grad for k, p in b.named_parameters()}
    assert grads.keys() == {_llama_name(k) for k, _ in a.named_parameters()}
    for k, p in a.named_parameters(): torch.testing.assert_close(p.grad, grads[_llama_name(k)], atol=1e-5, rtol=1e-4, msg=lambda m: f'{k}: {m}')
    n = a.config.block_size - 8
    text = b.generate(idx[:1, :8], max_new_tokens=n, do_sample=False, pad_token_id=0, eos_token_id=None)
    assert a.generate(idx[:1, :8], n).tolist() == text.tolist()
    assert len(text[0].unique()) > 4 # it says something


@each
def test_transformers_reads_ours(sizes, tmp_path):
    model = ours(sizes)
    model.save_pretrained(tmp_path)
    agree(model, read(tmp_path))


@each
def test_we_read_transformers(sizes, tmp_path):
    model = theirs(sizes)
    model.save_pretrained(tmp_path)
    agree(ModernGPT.from_pretrained(tmp_path), model)


def test_there_and_back_changes_no_bit(tmp_path):
    model = ours(SIZES[1])
    model.save_pretrained(tmp_path/'a')
    read(tmp_path/'a').save_pretrained(tmp_path/'b')
    back = ModernGPT.from_pretrained(tmp_path/'b')
    assert back.config == model.config
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), back.parameters(), strict=True))


def test_16_bits_are_read(tmp_path):
    theirs(SIZES[0]).bfloat16().save_pretrained(tmp_path)
    model = ModernGPT.from_pretrained(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    agree(model, read(tmp_path))


@pytest.mark.parametrize('fault', ['another speed', 'another epsilon', 'swapped matrices'])
def test_a_fault_is_seen(fault, tmp_path):
    "The comparison above can fail."
    model = ours(SIZES[0])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path/'config.json').read_text())
    if fault == 'another speed': config['rope_theta'] = config['rope_parameters']['rope_theta'] = 500.
    if fault == 'another epsilon': config['rms_norm_eps'] = 1e-2
    (tmp_path/'config.json').write_text(json.dumps(config))
    mlp = model.transformer.h[0].mlp
    if fault == 'swapped matrices': mlp.gate_proj, mlp.up_proj = mlp.up_proj, mlp.gate_proj
    with pytest.raises(AssertionError): agree(model, read(tmp_path))


@pytest.mark.parametrize('scaling', [dict(rope_type='linear', factor=2.), dict(rope_type='llama3', factor=8., low_freq_factor=1., high_freq_factor=4., original_max_position_embeddings=32)],
                         ids=['linear', 'llama3'])
def test_stretched_positions_are_refused(scaling, tmp_path):
    config = transformers.LlamaConfig(vocab_size=7, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, rope_parameters=scaling | dict(rope_theta=10_000.))
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"RoPE of the type '{scaling['rope_type']}'"): ModernGPT.from_pretrained(tmp_path)
