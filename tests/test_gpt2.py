"What the notebook on GPT-2 can't hold: how much memory things take, a Hub that answers in other processes, the commands, minGPT itself."
import importlib.util, json, os, re, subprocess, sys, threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from mingpt_nb.files import get_data
from mingpt_nb.gpt2 import from_mingpt
from mingpt_nb.model import GPT, GPTConfig
from mingpt_nb.tokenizer import BPETokenizer


# Memory

WATCH = '''
import re, sys, threading, time
def anonymous(): return int(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024 # MB
def growth(function):
    "By how many MB the anonymous memory of this process grows, at most, while `function` runs."
    before = peak = anonymous()
    def watch():
        nonlocal peak
        while running: peak = max(peak, anonymous()); time.sleep(0.002)
    running = [1]
    thread = threading.Thread(target=watch)
    thread.start()
    try: function()
    finally: running.clear(); thread.join()
    return max(peak, anonymous()) - before
'''
linux = pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')

def measured(env, *code):
    "The last number that a Python process of its own prints."
    done = subprocess.run([sys.executable, '-c', WATCH + '\n'.join(code)], env=env | {'PYTHONPATH': str(Path(__file__).parent.parent)}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])

@pytest.fixture(scope='module')
def large(tmp_path_factory):
    "A model of 160 MB, half of it blocks, in a folder; and its size in MB."
    model = GPT(GPTConfig(20_000, 256, n_layer=6, n_head=8, n_embd=576))
    folder = tmp_path_factory.mktemp('large')
    model.save_pretrained(folder)
    return folder, 4 * model.num_params() / 2**20

@linux
def test_loading_takes_no_second_copy(quiet_env, large):
    folder, size = large
    grown = measured(quiet_env, 'import safetensors.torch', 'from mingpt_nb.model import GPT', f'print(growth(lambda: GPT.from_pretrained({str(folder)!r})))')
    assert 0.9 * size < grown < 1.3 * size, f'{grown:.0f} MB for {size:.0f}'

@linux
def test_a_second_copy_would_be_seen(quiet_env, large):
    folder, size = large
    naive = 'def naive(): return {k: w.clone() for k, w in load_file(%r).items()}, GPT.from_pretrained(%r)' % (str(folder/'model.safetensors'), str(folder))
    grown = measured(quiet_env, 'from safetensors.torch import load_file', 'from mingpt_nb.model import GPT', naive, 'print(growth(naive))')
    assert grown > 1.7 * size

@linux
def test_a_text_of_500_MB(quiet_env, tmp_path, request):
    "Anonymous memory grows by less than 300 MB, from before the training to its peak."
    if not request.config.getoption('--slow'): pytest.skip('takes a minute: --slow')
    line = 'To be, or not to be, that is the question: é 🙂\n'.encode()
    with open(tmp_path/'long.txt', 'wb') as f:
        for _ in range(500): f.write(line * (1_000_000 // len(line) + 1))
    assert (tmp_path/'long.txt').stat().st_size > 500_000_000
    call = f"train(Train(text={str(tmp_path/'long.txt')!r}, tokenizer='bytes', out={str(tmp_path/'out')!r}, max_steps=30, eval_interval=30, max_new_tokens=20))"
    grown = measured(quiet_env, 'from mingpt_nb.run import train', 'from mingpt_nb.settings import Train', f'print(growth(lambda: {call}))')
    print(f'{grown:.0f} MB')
    assert grown < 300
    assert {p.name for p in (tmp_path/'out').iterdir()} == {'checkpoints', 'history.jsonl', 'config.json', 'generation_config.json', 'loss.png', 'mingpt_tokenizer.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'}


# The Hub

@contextmanager
def hub(shelf):
    "A Hub on this machine: {id: {file: bytes}}. Gives its address and the list of what was asked for."
    asked = []
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            name, _, file = self.path.strip('/').partition('/resolve/main/')
            body = shelf.get(name, {}).get(file)
            self.send_response(404 if body is None else 200)
            for k, v in {'ETag': f'"{abs(hash(body))}"', 'X-Repo-Commit': 'c' * 40, 'Content-Length': len(body or b'')}.items(): self.send_header(k, v)
            if body is None: self.send_header('X-Error-Code', 'EntryNotFound' if name in shelf else 'RepoNotFound')
            self.end_headers()
            if self.command == 'GET': self.wfile.write(body or b'')
        do_HEAD = do_GET
        def log_message(self, *args): pass
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try: yield f'http://127.0.0.1:{server.server_port}', asked
        finally: server.shutdown()

@pytest.fixture(scope='module')
def shelf(tmp_path_factory):
    "A model of GPT-2's vocabulary under OpenAI's name, and three that can't be had."
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('shelf')
    GPT(GPTConfig(50257, 32, n_layer=1, n_head=2, n_embd=8)).save_pretrained(folder)
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    return {'gpt2': files, 'me/bert': {'config.json': b'{"model_type": "bert"}', 'model.safetensors': b''}, 'me/old': {'config.json': files['config.json'], 'pytorch_model.bin': b''},
            'me/cut': files | {'model.safetensors': files['model.safetensors'][:-1000]}, 'me/wrong': files | {'config.json': files['config.json'].replace(b'"n_embd": 8', b'"n_embd": 16')}}

@pytest.fixture(scope='module')
def vocabulary():
    "The folder with GPT-2's vocabulary, as an environment."
    try: return {'MINGPT_NB_DATA': str([get_data(f) for f in ('encoder.json', 'vocab.bpe')][0].parent)}
    except OSError as e: pytest.skip(str(e))

@pytest.fixture
def home(tmp_path):
    "An environment with a Hub cache of its own, empty."
    return {'HF_HOME': str(tmp_path/'hf'), 'NO_PROXY': '127.0.0.1', 'no_proxy': '127.0.0.1', 'HF_HUB_DISABLE_TELEMETRY': '1'}

def test_gpt2_from_the_hub(mingpt, shelf, vocabulary, home):
    "Downloaded once; then from the cache, with the Hub there or gone. The same text for the same seed."
    def gpt2(env, *args): return mingpt('gpt2', '--max-new-tokens', 8, '--seed', 1, *args, env=vocabulary | home | env)
    with hub(shelf) as (url, asked):
        first = gpt2({'HF_ENDPOINT': url}, '--model', 'gpt2', '--prompt', 'Hello, world')
        assert first.code == 0 and first.out.startswith('Hello, world') and len(first.out) > len('Hello, world\n'), first.err
        n = len(asked)
        assert n and gpt2({'HF_ENDPOINT': url}, '--prompt', 'Hello, world').out == first.out and len(asked) == n
    for env in {'HF_ENDPOINT': url}, {'HF_HUB_OFFLINE': '1'}: assert gpt2(env, '--prompt', 'Hello, world').out == first.out
    cached = next(Path(home['HF_HOME']).rglob('config.json')).parent
    assert gpt2({}, '--model', cached, '--prompt', 'Hello, world').out == first.out

def complains(done, *words):
    assert done.code == 1 and 'Traceback' not in done.err, done.out + done.err
    last = done.err.rstrip().splitlines()[-1]
    assert last.startswith('mingpt: error: ') and all(w in last for w in map(str, words)), last

@pytest.mark.parametrize('name, words', [('me/nothing', 'has no public model of this id'), ('nothing', 'is neither a folder'), ('me/bert', "not a GPT-2: its model_type is 'bert'"),
    ('me/old', 'has no model.safetensors'), ('me/cut', 'cut off or damaged'), ('me/wrong', "wte.weight has shape (50257, 8), but the model's is (50257, 16)"), ('./me/old', 'is not a model folder')])
def test_models_that_cannot_be_had(mingpt, shelf, vocabulary, home, name, words):
    with hub(shelf) as (url, _): complains(mingpt('gpt2', '--model', name, env=vocabulary | home | {'HF_ENDPOINT': url}), words)

def test_no_network(mingpt, vocabulary, home):
    complains(mingpt('gpt2', env=vocabulary | home | {'HF_ENDPOINT': 'http://127.0.0.1:9'}), 'gpt2 is neither a folder nor in the cache', 'does not answer')
    complains(mingpt('gpt2', env=vocabulary | home | {'HF_HUB_OFFLINE': '1'}), 'gpt2 is neither a folder nor in the cache', 'HF_HUB_OFFLINE')

def test_prompts(mingpt, shelf, vocabulary, home):
    "An empty one begins a document; one that is longer than the context is refused; an altered vocabulary, too."
    with hub(shelf) as (url, _):
        env = vocabulary | home | {'HF_ENDPOINT': url}
        empty, none = (mingpt('gpt2', '--max-new-tokens', 8, '--seed', 1, *args, env=env) for args in (['--prompt', ''], []))
        assert empty.code == 0 and empty.out == none.out and '<|endoftext|>' not in empty.out and empty.out.strip(), empty.err
        complains(mingpt('gpt2', '--prompt', 'many ' * 40, env=env), 'this model sees at most 32')
    altered = Path(home['HF_HOME'])/'data'
    altered.mkdir()
    for f in 'encoder.json', 'vocab.bpe': (altered/f).write_bytes(Path(vocabulary['MINGPT_NB_DATA'], f).read_bytes().replace(b'Hello', b'Hallo'))
    complains(mingpt('gpt2', env=env | {'MINGPT_NB_DATA': str(altered)}), 'encoder.json', 'was altered or cut off')


# mingpt train

SPEECH = 'KING:\nWho goes there, at this hour, and with no lamp?\n\nGUARD:\nA friend, my lord, that brings you word of rain.\n\n'
SMALL = ['--n-layer', 1, '--n-embd', 32, '--block-size', 16, '--max-steps', 20, '--max-new-tokens', 20]

@pytest.mark.parametrize('tokenizer', ['char', 'bytes', 'bpe', 'gpt2'])
def test_train_then_sample(mingpt, tmp_path, tokenizer, request):
    env = request.getfixturevalue('vocabulary') if tokenizer == 'gpt2' else {}
    (tmp_path/'texts').mkdir()
    for name in 'one.txt', 'two.md': (tmp_path/'texts'/name).write_text(SPEECH * 60, encoding='utf-8')
    done = mingpt('train', '--text', tmp_path/'texts', '--tokenizer', tokenizer, '--merges', 30, '--out', tmp_path/'model', *SMALL, env=env)
    assert done.code == 0 and re.search(r'held-out loss: \d+\.\d+ nats', done.out), done.err
    done = mingpt('sample', '--model', tmp_path/'model', '--prompt', 'KING:', '--max-new-tokens', 5)
    assert done.code == 0 and done.out.startswith('KING:'), done.err
    if tokenizer != 'bpe': return
    def child(*args): return mingpt('train', '--text', tmp_path/'texts'/'one.txt', '--init', tmp_path/'model', *args, env=env)
    complains(child('--out', tmp_path/'child', *SMALL), 'n_layer=1', tmp_path/'model') # it has its own size
    complains(child('--out', tmp_path/'model', *SMALL[4:]), 'would be overwritten')
    done = child('--out', tmp_path/'child', *SMALL[4:])
    assert done.code == 0 and 'held-out loss before' in done.out, done.err
    assert sorted(p.name for p in (tmp_path/'child').iterdir()) == ['checkpoints', 'config.json', 'generation_config.json', 'history.jsonl', 'loss.png', 'mingpt_tokenizer.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']

def test_texts_that_cannot_be(mingpt, tmp_path):
    (tmp_path/'latin.txt').write_bytes(b'x' * 2_000_000 + b'\xe9')
    (tmp_path/'short.txt').write_text('Too short.')
    (tmp_path/'empty.txt').touch()
    (tmp_path/'none').mkdir()
    def train(*args): return mingpt('train', '--out', tmp_path/'model', *SMALL, *args)
    complains(train(), 'no text')
    complains(train('--text', tmp_path/'nothing.txt'), 'nothing.txt', 'No such file')
    complains(train('--text', tmp_path/'latin.txt', '--tokenizer', 'bytes'), 'latin.txt is not UTF-8 text: byte 2000000 is 0xe9')
    complains(train('--text', tmp_path/'short.txt'), 'too short')
    complains(train('--text', tmp_path/'empty.txt', '--tokenizer', 'bytes'), 'empty.txt is empty')
    complains(train('--text', tmp_path/'none'), 'no .txt or .md files')
    assert not list((tmp_path/'model').iterdir())


# minGPT

def test_mingpts_own_checkpoint(tmp_path, monkeypatch):
    "minGPT's program and ours compute the same from the state dict that it saves. MINGPT_CHECKOUT names the folder of its checkout."
    folder = os.environ.get('MINGPT_CHECKOUT')
    if not folder: pytest.skip('MINGPT_CHECKOUT is not set')
    monkeypatch.syspath_prepend(folder)
    theirs = pytest.importorskip('mingpt.model').GPT
    config = theirs.get_default_config()
    config.merge_from_dict(dict(model_type=None, n_layer=3, n_head=5, n_embd=35, vocab_size=101, block_size=33))
    torch.manual_seed(0)
    model = theirs(config).eval()
    for p in model.parameters(): torch.nn.init.normal_(p, std=0.1)
    torch.save(model.state_dict(), tmp_path/'model.pt')
    ours, idx = from_mingpt(tmp_path/'model.pt', n_head=5), torch.randint(101, (3, 33))
    (a, loss), (b, other) = ours(idx, idx.roll(-1, 1)), model(idx, idx.roll(-1, 1))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    loss.backward()
    other.backward()
    for (k, p), (j, q) in zip(ours.named_parameters(), model.named_parameters(), strict=True):
        assert k == j
        torch.testing.assert_close(p.grad, q.grad, atol=1e-5, rtol=1e-4)
    assert ours.generate(idx[:1, :8], 25).tolist() == model.generate(idx[:1, :8], 25).tolist()
