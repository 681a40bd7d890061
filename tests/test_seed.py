"""Whoever moves over from minGPT of 2020 with an unchanged program is not worse off.

On three kinds of data, each with five seeds: its model and trainer, then ours, and the loss on rows that were not trained on.
The figures of minGPT were measured with this file, on one thread:

    python tests/test_seed.py ../minGPT

MINGPT2020_CHECKOUT names the folder of such a checkout: then the tests measure it again.
"""
import importlib.util, io, math, os, statistics, sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from mingpt_nb import model, trainer
from mingpt_nb.files import get_data

MINGPT = { # mean loss over the seeds in nats, and its standard error; minGPT at 4050db6, PyTorch 2.13.0
    'counting': (0.9277, 0.0058),
    'text': (3.4563, 0.0039),
    'sums': (1.8618, 0.0057),
}
SEEDS, TRAIN, TEST = range(5), 2048, 1024


class Rows(Dataset):
    "Rows of ids, whose first targets are not counted."
    def __init__(self, ids, given=0):
        self.x, self.y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        self.y[:, :given] = -100
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i], self.y[i]


def counting(draw):
    "Counting modulo 7, from anywhere."
    ids = torch.randint(7, (TRAIN + TEST, 1), generator=draw) + torch.arange(17)
    return 7, ids % 7, 0

def text(draw):
    "Characters of Shakespeare; those of the last tenth are held out."
    try: text = get_data('tinyshakespeare.txt').read_text(encoding='utf-8')
    except OSError as e: pytest.skip(str(e))
    vocabulary, cut = {c: i for i, c in enumerate(sorted(set(text)))}, len(text) * 9 // 10
    ids = torch.tensor([vocabulary[c] for c in text])
    starts = torch.cat([torch.randint(cut - 17, (TRAIN, 1), generator=draw), torch.randint(cut, len(ids) - 17, (TEST, 1), generator=draw)])
    return len(vocabulary), ids[starts + torch.arange(17)], 0

def sums(draw):
    "Sums of two numbers of two digits, of which only the answer counts."
    a, b = torch.randint(100, (2, TRAIN + TEST), generator=draw)
    c = a + b
    return 10, torch.stack([a // 10, a % 10, b // 10, b % 10, c // 100, c // 10 % 10, c % 10], 1), 3

DATA = {f.__name__: f for f in (counting, text, sums)}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def final_loss(model, trainer, name, seed):
    "Run minGPT's program with these two modules, and judge the weights that it ends with."
    vocab_size, ids, given = DATA[name](torch.Generator().manual_seed(seed))
    train_dataset, held_out = Rows(ids[:TRAIN], given), Rows(ids[TRAIN:], given)
    torch.manual_seed(seed)

    mconf = model.GPTConfig(vocab_size, ids.shape[1] - 1, n_layer=2, n_head=2, n_embd=32)
    gpt = model.GPT(mconf)
    tconf = trainer.TrainerConfig(max_epochs=10, batch_size=256)
    with redirect_stderr(io.StringIO()): # progress bars
        trainer.Trainer(gpt, train_dataset, None, tconf).train()

    device = next(gpt.parameters()).device
    with torch.no_grad(): return gpt.eval()(held_out.x.to(device), held_out.y.to(device))[1].item()


def measure(model, trainer, name): # the mean, and its standard error
    losses = [final_loss(model, trainer, name, seed) for seed in SEEDS]
    return statistics.mean(losses), statistics.stdev(losses) / math.sqrt(len(losses))


def checkout(folder):
    "minGPT's two modules, under names that no other checkout has."
    def load(name):
        spec = importlib.util.spec_from_file_location(f'mingpt2020_{name}', Path(folder)/'mingpt'/f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return load('model'), load('trainer')


def two_errors(a, b): return 2 * math.hypot(a[1], b[1])


@pytest.mark.parametrize('name', DATA)
@pytest.mark.filterwarnings('ignore:.*pin_memory')
def test_no_worse_than_mingpt(name):
    recorded, ours = MINGPT[name], measure(model, trainer, name)
    folder = os.environ.get('MINGPT2020_CHECKOUT')
    theirs = measure(*checkout(folder), name) if folder else recorded
    assert abs(theirs[0] - recorded[0]) <= two_errors(theirs, recorded), f'minGPT ends at {theirs}, and {recorded} is on record'
    assert ours[0] <= theirs[0] + two_errors(ours, theirs), f'ours ends at {ours}, minGPT at {theirs}'


if __name__ == '__main__':
    torch.set_num_threads(1)
    for name in DATA: print(f"    {name!r}: ({', '.join(f'{v:.4f}' for v in measure(*checkout(sys.argv[1]), name))}),")
