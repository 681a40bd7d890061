"""What can be said of a GPU's speed without one, and the scoreboard as a command.

A GPU works on while Python goes ahead, until Python asks for a number. Here the weights and all that is computed from them count as
being on the device, everything else as being in main memory, and every call is counted at which a GPU would have to be waited for.
"""
import json

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from mingpt_nb.data import RandomChunks
from mingpt_nb.model import GPT, GPTConfig
from mingpt_nb.trainer import Trainer, TrainerConfig


class OnDevice(TorchDispatchMode):
    "Knows which tensors would be on the device, and counts what reads them."
    def __init__(self, tensors):
        super().__init__()
        self.there, self.waits, self.python = WeakIdKeyDictionary(), [], Calls(self)
        for t in tensors: self.there[t] = True

    def holds(self, args): return any(isinstance(t, torch.Tensor) and t in self.there for t in tree_leaves(args))

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        out, touched = f(*args, **(kwargs or {})), self.holds((args, kwargs))
        # numbers for Python, and shapes that depend on them
        if touched and {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(f.tags): self.waits.append(f._schema.name)
        for t in tree_leaves(out) if touched else ():
            if isinstance(t, torch.Tensor): self.there[t] = True
        return out

    def __enter__(self):
        super().__enter__()
        self.python.__enter__()
        return self

    def __exit__(self, *why):
        self.python.__exit__(*why)
        super().__exit__(*why)


class Calls(TorchFunctionMode):
    "Counts the calls that on a CPU read memory without an operation."
    COPIES = torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy
    def __init__(self, modes): self.modes = modes

    def __torch_function__(self, f, types, args=(), kwargs=None):
        to_cpu = f is torch.Tensor.to and any(isinstance(a, str) and a == 'cpu' for a in [*args[1:], *(kwargs or {}).values()]) # a torch.device is the model's
        if (f in self.COPIES or to_cpu) and self.modes.holds(args): self.modes.waits.append(f.__name__)
        return f(*args, **(kwargs or {}))


def trainer(kind=Trainer, **settings):
    torch.manual_seed(0)
    model = GPT(GPTConfig(65, 16, n_layer=2, n_head=2, n_embd=32))
    data = RandomChunks(torch.randint(65, (2000,)), 16)
    return kind(model, data, None, TrainerConfig(progress=False, batch_size=8, **settings))

def waits(t):
    "What the second step of a trainer waits for; the first one makes the optimizer's state."
    (x, y), (x2, y2), *_ = t.batches(0)
    t.train_step(x, y)
    state = [v for o in t.optimizers for kept in o.state.values() for v in kept.values() if isinstance(v, torch.Tensor)]
    with OnDevice([*t.model.parameters(), *state]) as mode: t.train_step(x2, y2)
    return mode.waits

@pytest.mark.parametrize('settings', [{}, {'optimizer': 'muon'}, {'mixed_precision': 'bf16'}, {'mixed_precision': 'fp16'}, {'gradient_accumulation_steps': 4}], ids=str)
def test_a_step_waits_once(settings): assert waits(trainer(**settings)) == ['tolist']


def see(t, what):
    "A trainer whose step looks at its loss in one more way."
    whole = t.backward
    def backward(x, y):
        loss, tokens = whole(x, y)
        what(loss)
        return loss, tokens
    t.backward = backward
    return t

@pytest.mark.parametrize('what, name', [(lambda x: x.item(), 'aten::_local_scalar_dense'), (float, 'aten::_local_scalar_dense'), (bool, 'aten::_local_scalar_dense'),
    (lambda x: x.tolist(), 'tolist'), (lambda x: x.cpu(), 'cpu'), (lambda x: x.to('cpu'), 'to'), (lambda x: x.numpy(), 'numpy'), (lambda x: x.reshape(1).nonzero(), 'aten::nonzero'),
    (lambda x: torch.equal(x, x), 'aten::equal'), (lambda x: x.reshape(1)[x.reshape(1) > 0], 'aten::nonzero')],
    ids=['item', 'float', 'bool', 'tolist', 'cpu', 'to', 'numpy', 'nonzero', 'equal', 'a mask'])
def test_each_way_of_waiting_is_seen(what, name):
    found = waits(see(trainer(), what))
    assert len(found) > 1 and found[-1] == 'tolist' and (name in found[:-1] or 'aten::index' in found[0]), found


def test_copies_to_a_gpu_are_pinned_and_do_not_block(monkeypatch):
    t, copies = trainer(gradient_accumulation_steps=2), []
    assert not t.loader(t.train_dataset, [0]).pin_memory
    x, y = next(iter(t.batches(0)))
    t.device = torch.device('cuda')
    assert t.loader(t.train_dataset, [0]).pin_memory
    def to(tensor, *args, **kwargs):
        copies.append((args, kwargs))
        return tensor
    monkeypatch.setattr(torch.Tensor, 'to', to)
    t.backward(x, y)
    to_gpu = [kwargs for args, kwargs in copies if args == (t.device,)]
    assert len(to_gpu) == 4 and all(kwargs == {'non_blocking': True} for kwargs in to_gpu), copies


# The command

def test_bench(mingpt, tmp_path):
    done = mingpt('bench', '--full', '--settings', 'E', '--rounds', 1, '--json', tmp_path/'kept.json')
    assert done.code == 0, done.err
    kept = json.loads((tmp_path/'kept.json').read_text(encoding='utf-8'))
    ours, floor = kept['rows']
    assert (ours['name'], ours['ratio'], floor['name']) == ('mingpt_nb', 1, 'its matrix products') and 0 < floor['ratio'] < 1
    for row in kept['rows']: assert f"{1000 * row['median']:.3g} ms" in done.out and f"{row['ratio']:.2f} times" in done.out
    assert '100%' in done.err and 'GFLOP/s' in done.out

@pytest.mark.parametrize('options, words', [(['--nanogpt', 'nowhere'], 'nowhere is not a checkout of nanoGPT: it has no model.py'), (['--json', '.'], 'it is a folder'),
    (['--settings', 'X'], "settings='X' must be letters of ABCDEF"), (['--mingpt', ''], '--mingpt is empty')], ids=['a checkout', 'a file', 'a setting', 'nothing'])
def test_bench_refuses(mingpt, options, words):
    done = mingpt('bench', *options)
    assert done.code == 1 and done.err.count('\n') == 1 and words in done.err, done.err
