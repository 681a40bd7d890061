"What notebooks can't show without another library: Hugging Face's GPT-2 and ours are one model. And the program that this project grew from."
import json

import pytest
import torch
from torch.utils.data import Dataset

from mingpt_nb.model import GPT, GPTConfig, TRANSPOSED
from mingpt_nb.tokenizer import Tokenizer
from mingpt_nb.trainer import Trainer, TrainerConfig

transformers = pytest.importorskip('transformers')

SIZES = [dict(vocab_size=65, block_size=64, n_layer=2, n_head=4, n_embd=32), dict(vocab_size=101, block_size=33, n_layer=3, n_head=5, n_embd=35, activation_function='gelu')]


def ours(sizes, seed=0):
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**sizes))
    for p in model.parameters(): torch.nn.init.normal_(p, std=0.1) # biases and gains, too
    return model.eval()


def theirs(folder): return transformers.GPT2LMHeadModel.from_pretrained(folder).eval()


def agree(a, b, sizes):
    "Logits, gradients and greedy text of our `a` and their `b`."
    torch.manual_seed(1)
    idx = torch.randint(sizes['vocab_size'], (3, sizes['block_size']))
    logits, loss = a(idx, idx.roll(-1, 1))
    other = b(idx).logits
    torch.testing.assert_close(logits, other, atol=1e-5, rtol=1e-5)
    loss.backward()
    torch.nn.functional.cross_entropy(other.flatten(0, 1), idx.roll(-1, 1).flatten()).backward()
    grads = {k: p.grad for k, p in b.named_parameters()}
    assert grads.keys() == dict(a.named_parameters()).keys()
    for k, p in a.named_parameters():
        grad = grads[k] if grads[k].shape == p.shape and not k.endswith(('c_attn.weight', 'c_proj.weight', 'c_fc.weight')) else grads[k].T
        torch.testing.assert_close(p.grad, grad, atol=1e-5, rtol=1e-4, msg=lambda m: f'{k}: {m}')
    n = sizes['block_size'] - 8
    text = b.generate(idx[:1, :8], max_new_tokens=n, do_sample=False, pad_token_id=0, eos_token_id=None)
    assert a.generate(idx[:1, :8], n).tolist() == text.tolist()


@pytest.mark.parametrize('sizes', SIZES, ids=['even', 'odd'])
def test_hugging_face_reads_ours(sizes, tmp_path):
    model = ours(sizes)
    model.save_pretrained(tmp_path)
    agree(model, theirs(tmp_path), sizes)


@pytest.mark.parametrize('sizes', SIZES, ids=['even', 'odd'])
def test_we_read_hugging_faces(sizes, tmp_path):
    rename = {'block_size': 'n_positions'}
    config = transformers.GPT2Config(**{rename.get(k, k): v for k, v in sizes.items()}, bos_token_id=0, eos_token_id=0)
    torch.manual_seed(2)
    model = transformers.GPT2LMHeadModel(config).eval()
    for p in model.parameters(): torch.nn.init.normal_(p, std=0.1)
    model.save_pretrained(tmp_path)
    agree(GPT.from_pretrained(tmp_path), model, sizes)


@pytest.mark.parametrize('name', ['gpt2', 'gpt2-medium', 'gpt2-large', 'gpt2-xl'])
def test_named_sizes_have_hugging_faces_shapes(name):
    "Every name and shape, without the memory: Hugging Face's own sizes are those of 'gpt2'."
    with torch.device('meta'):
        ours = GPT(config := GPTConfig.named(name))
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=config.n_layer, n_head=config.n_head, n_embd=config.n_embd))
    shapes = {k: p.shape[::-1] if k.endswith(TRANSPOSED) else p.shape for k, p in ours.state_dict().items()}
    assert shapes == {k: p.shape for k, p in theirs.state_dict().items()}


def test_a_swapped_weight_is_seen(tmp_path):
    "The comparison above can fail."
    model = ours(SIZES[0])
    model.save_pretrained(tmp_path)
    with torch.no_grad(): model.transformer.h[1].mlp.c_fc.weight[0, 0] += 0.1
    with pytest.raises(AssertionError): agree(model, theirs(tmp_path), SIZES[0])


def test_untied_head(tmp_path):
    model = ours(SIZES[0] | dict(tie_word_embeddings=False))
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path/'config.json').read_text())['tie_word_embeddings'] is False
    agree(model, theirs(tmp_path), SIZES[0])
    assert GPT.from_pretrained(tmp_path).num_params() == model.num_params() == ours(SIZES[0]).num_params() + 65 * 32


class Copies(Dataset):
    "A data set of one's own: sixteen rows of eight ids."
    def __init__(self, seed): self.ids = torch.randint(10, (16, 9), generator=torch.Generator().manual_seed(seed))
    def __len__(self): return len(self.ids)
    def __getitem__(self, i): return self.ids[i, :-1], self.ids[i, 1:]


def test_the_seeds_program():
    "minGPT's program, as it stands but for the package's name, at GPT-1's full size."
    vocab_size, block_size, train_dataset, test_dataset = 10, 8, Copies(0), Copies(0)

    from mingpt_nb.model import GPT, GPTConfig
    mconf = GPTConfig(vocab_size, block_size, n_layer=12, n_head=12, n_embd=768)  # a GPT-1
    model = GPT(mconf)

    from mingpt_nb.trainer import Trainer, TrainerConfig
    tconf = TrainerConfig(max_epochs=10, batch_size=256)
    trainer = Trainer(model, train_dataset, test_dataset, tconf)
    trainer.train()

    assert len(trainer.history) == 10 and trainer.history[-1]['test_loss'] < trainer.history[0]['test_loss']


def test_the_future_is_out_of_sight():
    "Changing token t changes no logit before t: in training, in evaluation, with a cache, and after the window slid."
    model = ours(SIZES[0] | dict(embd_pdrop=0, resid_pdrop=0, attn_pdrop=0))
    idx = torch.randint(65, (2, 64))
    other = idx.clone()
    other[:, 30] = (other[:, 30] + 1) % 65

    def cached(idx):
        cache = model.new_cache()
        return torch.cat([model(idx[:, i:i + 7], cache=cache)[0] for i in range(0, 64, 7)], 1)

    with torch.no_grad():
        for run in (lambda i: model.train()(i)[0], lambda i: model.eval()(i)[0], cached):
            a, b = run(idx), run(other)
            assert torch.equal(a[:, :30], b[:, :30]) and not torch.isclose(a[:, 30:], b[:, 30:]).all(-1).any()


def test_a_window_that_slides_forgets():
    "Past block_size the text goes on as from its last half alone: what was dropped has no say."
    model, short = ours(SIZES[0]), torch.randint(65, (1, 64))
    other = short.clone()
    other[:, :30] = (other[:, :30] + 1) % 65
    new = model.generate(short, 2, use_cache=False)[:, 64:] # the second new token sees the last 32 ids only
    tail = torch.cat([short[:, 64 + 1 - 32:], new[:, :1]], 1)
    assert new[0, 1] == model.generate(tail, 1)[0, -1]
    for cache in (True, False):
        a = list(model.stream(short, 40, use_cache=cache))
        assert torch.cat(a, 1).tolist() == model.generate(short, 40)[:, 64:].tolist()


def test_state_of_the_generator_is_the_users():
    "Training seeds PyTorch's generator for dropout; the text of a generator of one's own does not depend on it."
    model = ours(SIZES[0])
    def text(): return model.generate(torch.zeros(1, 1, dtype=torch.long), 20, do_sample=True, generator=torch.Generator().manual_seed(3)).tolist()
    first = text()
    torch.manual_seed(99)
    assert text() == first


def test_a_folder_of_version_0_1(repo):
    "What people have saved loads, and says what it said."
    folder = repo/'tests'/'saved'/'model-0.1'
    model, tok = GPT.from_pretrained(folder), Tokenizer.load(folder/'mingpt_tokenizer.json')
    idx = torch.tensor([tok.encode('once')])
    assert model.generate(idx, 6)[0].tolist() == [16, 15, 4, 6, 23, 16, 16, 16, 16, 23]
    with torch.no_grad(): logits = model(idx)[0][0, -1, :3]
    torch.testing.assert_close(logits, torch.tensor([-0.0197572, -0.1222528, 0.0347898]), rtol=0, atol=1e-5)
