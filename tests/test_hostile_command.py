"""Nothing that a person types can hurt: command lines made by hypothesis, each refused in one line that names the option or the file, before any work, or accepted and right.
All in one process, by the function that the console command calls; signals, in processes of their own."""
import contextlib, hashlib, io, json, math, os, re, shutil, signal, subprocess, time
from types import SimpleNamespace

import matplotlib
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from conftest import as_in_a_terminal
from mingpt_nb import cli, run
from mingpt_nb.cifar10 import Palette, save_palette
from mingpt_nb.model import GPT, GPTConfig
from mingpt_nb.run import save_model

WOOD = 'How much wood would a woodchuck chuck?\n' * 50
LETTERS = ''.join(sorted(set(WOOD)))
TINY = {'n-layer': 1, 'n-head': 2, 'n-embd': 8, 'batch-size': 4, 'max-steps': 1}


class TooLong(BaseException):
    "Ten seconds have passed."

def alarm(*_): raise TooLong

def call(*words):
    "The command in this process: its exit code, and what it printed."
    out, err, words = io.StringIO(), io.StringIO(), [*map(str, words)]
    if timed := hasattr(signal, 'setitimer'):
        signal.signal(signal.SIGALRM, alarm)
        signal.setitimer(signal.ITIMER_REAL, 10)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): code = cli.main(words)
    except SystemExit as e: code = e.code
    finally:
        if timed: signal.setitimer(signal.ITIMER_REAL, 0)
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def flags(options): return [word for k, v in options.items() for word in ([f'--{k}'] if v is True else [f'--{k}', str(v)])]

def files(folder):
    "What lies there: a digest of each file."
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    "A folder with texts, good and bad, and small models; the process stays in it."
    at, before = tmp_path_factory.mktemp('place'), os.getcwd()
    os.chdir(at)
    matplotlib.use('agg')
    for name, content in {'wood.txt': WOOD.encode(), 'empty.txt': b'', 'mark.txt': b'\xef\xbb\xbf', 'latin.txt': b'caf\xe9' * 99, 'short.txt': b'To be'}.items(): (at/name).write_bytes(content)
    (at/'folder').mkdir()
    done = call('shakespeare', *flags(TINY | {'text': 'wood.txt', 'block-size': 16, 'out': 'model'})), call('adder', *flags(TINY | {'ndigit': 1, 'out': 'sums'}))
    assert [d.code for d in done] == [0, 0], done
    palette = Palette([[0, 0, 0], [255, 255, 255]])
    save_model(GPT(GPTConfig(palette.vocab_size, 4, 1, 2, 8)), at/'painter', {'mingpt_palette.json': lambda file: save_palette(palette, file.parent)})
    yield at
    os.chdir(before)


# What an option may be, and what it may not

def beside(low, high): return st.integers(-2**80, low - 1) | st.integers(high + 1, 2**80)
def words(*some): return st.sampled_from(some)
def whole(low, high, most=None): return st.integers(low, high), beside(low, most or high) | words('many', '1.5', '1e3', 'nan', '½', '0x10')
def real(good, *bad): return good, words('many', 'nan', '1,5', '½', *bad)
def path(good, *bad): return words(*good), words('', 'a\0b', *bad)

NOWHERE = './nowhere', 'no/such/thing', '~nouser/x', 'x' * 300
SIZES = dict(n_layer=whole(1, 2, 4096), n_head=(words(1, 2), beside(1, 8) | words('two')), n_embd=(words(2, 4, 8), beside(1, 2**20) | words('wide', '7.5')))
STEPS = dict(batch_size=whole(1, 9, 2**31), accumulate=whole(1, 9, 2**31), eval_interval=whole(1, 10**12), seed=whole(0, 2**32 - 1), learning_rate=real(st.floats(1e-6, .01), '0', '-1', 'inf', '1e10'),
             momentum=real(st.floats(0, .99), '1', '-0.1', 'inf'), optimizer=(words('muon', 'adamw'), words('', 'sgd', 'Muon', '☃')), mixed_precision=(words('bf16'), words('', 'fp8', 'None')),
             resume=path([None], './nowhere', 'wood.txt', 'folder', 'painter', 'sums'), out=path([None], '~nouser/x'))
WRITE = dict(max_new_tokens=whole(0, 5, 10**7), temperature=real(st.floats(.1, 10), '0', '-1', 'inf', '1e-300'), prompt=(st.text(LETTERS, max_size=4), words('☃', 'chuck\0', 'x' * 99)))
TEXT = STEPS | SIZES | WRITE | dict(dropout=real(st.floats(0, .9), '1.5', '-0.1', 'inf'), text=path(['wood.txt'], *NOWHERE, 'empty.txt', 'mark.txt', 'latin.txt', 'folder', '/dev/zero'),
                                    minutes=real(words(None), '0', '-1', 'inf', '1e7'))
DRAW = WRITE | dict(seed=whole(0, 2**32 - 1), top_k=whole(1, 2**62), top_p=real(st.floats(.1, 1), '0', '1.1', '-1', 'inf'))
OPTIONS = dict(
    shakespeare=TEXT | dict(block_size=whole(4, 16, 194)),
    train=TEXT | dict(block_size=whole(4, 16, 194), tokenizer=(words('char', 'bytes'), words('', 'words', '☃')), merges=whole(1, 20, 10**6), held_out_tokens=(st.integers(16, 10**6), beside(4, 2**62) | words('all')),
                      init=path([None], './nowhere', 'no/such/thing', '~nouser/x', 'wood.txt', 'folder', 'sums')),
    adder=STEPS | SIZES | dict(ndigit=whole(1, 1, 3), resume=path([None], './nowhere', 'wood.txt', 'folder', 'model')),
    cifar10=STEPS | SIZES | dict(side=(words(8), words(0, 7, 2**70, 'wide')), n_colours=whole(1, 4096), n_test=whole(1, 10_000), dropout=real(st.floats(0, 1), '1.5')),
    sample=DRAW | dict(model=path(['model'], *NOWHERE, 'wood.txt', 'folder', 'sums'), png=path(['more.png'], 'x', 'folder/y', '~nouser/x.png')),
    gpt2=DRAW | dict(model=path(['./model'], *NOWHERE, './wood.txt', './folder')),
    bench=dict(threads=whole(1, 4096), rounds=whole(1, 10**6), settings=(words('AB'), words('', 'Z', 'A B')), json=path(['kept.json'], 'folder', 'wood.txt/x', '~nouser/x'),
               nanogpt=path([None], './nowhere', 'folder'), mingpt=path([None], './nowhere', 'folder')))
PATHS = 'text', 'model', 'init', 'out', 'resume', 'png', 'json', 'nanogpt', 'mingpt'
BASE = {k: TINY | {'dry-run': True} for k in ('shakespeare', 'train', 'adder', 'cifar10')} | {'sample': {'model': 'model', 'max-new-tokens': 3}, 'gpt2': {'model': './model', 'max-new-tokens': 3}, 'bench': {}}
BASE['adder'] |= {'ndigit': 1}
for name in 'shakespeare', 'train': BASE[name] |= {'text': 'wood.txt', 'block-size': 16, 'learning-rate': .01}
MUST_FAIL = 'cifar10', 'bench' # what they do takes minutes

@st.composite
def lines(draw):
    "A command, its options, and which of them can't be."
    command = draw(st.sampled_from([*OPTIONS]))
    options, bad = dict(BASE[command]), {}
    names = draw(st.lists(st.sampled_from([*OPTIONS[command]]), max_size=4, unique=True, min_size=command in MUST_FAIL))
    broken = draw(st.integers(command in MUST_FAIL, min(2, len(names))))
    for i, name in enumerate(names):
        value = draw(OPTIONS[command][name][i < broken])
        if value is None: continue
        options[name.replace('_', '-')] = value
        if i < broken: bad[name] = value
    return command, options, bad, draw(st.booleans())


def told(err, name, value):
    "Does the line name the option, or the file, and the value?"
    value, numbers = str(value), re.findall(r'-?\d[\d.e+-]*|nan|inf', err.replace(',', ''))
    def same(a):
        try: return float(a) == float(value) or math.isnan(float(a) + float(value))
        except (ValueError, OverflowError): return False
    at = {os.path.normpath(value), *[p for p in [os.path.dirname(value)] if os.path.isfile(p)]} if name in PATHS and value and '\0' not in value else set() # a file where a folder should be
    shown = value in err or repr(value)[1:-1] in err or any(p in err for p in at) or any(map(same, numbers))
    option = name in err.replace('-', '_')
    return shown and (option or bool(value)) if name in PATHS else option and (shown or name == 'prompt')

def refused(done, bad):
    last = done.err.splitlines()
    assert done.code in (1, 2) and len(last) == 1 and last[0].startswith('mingpt: error: '), done
    assert any(told(done.err, *b) for b in bad.items()), f'{bad}\n{done.err}'
    assert len(done.err) < 1000 and not done.out, done


def right(command, options, done):
    "What an accepted line printed is what its options say."
    assert (done.code, 'rror' in done.err) == (0, False), done
    o = {k.replace('-', '_'): v for k, v in options.items()}
    if 'dry_run' in o:
        C, T = int(o['n_embd']), 3 * int(o.get('ndigit', 0)) or int(o['block_size'])
        V = 10 if command == 'adder' else 256 if o.get('tokenizer') == 'bytes' else len(LETTERS)
        params = (V + T + 2) * C + o['n_layer'] * (12 * C + 13) * C
        examples = 80 if command == 'adder' else int(len(WOOD) * .9) // T
        batch = min(o['batch_size'], examples)
        assert f'weights {4 * params / 1e6:,.1f}' in done.out and f"work: {batch * T:,} tokens in 1 steps" in done.out, (options, done.out)
    else:
        prompt, n = o.get('prompt') or '\n', o['max_new_tokens']
        assert done.out.startswith(prompt) and len(done.out) == len(prompt) + n + 1, (options, done.out)


def try_line(place, line):
    command, options, bad, joined = line
    before = files(place)
    argv = [f'--{k}={v}' if joined and v is not True else w for k, v in options.items() for w in flags({k: v})[:1 if joined else 2]]
    done = call(command, *argv)
    if bad: refused(done, bad)
    else: right(command, options, done)
    assert files(place) == before

COMMON = dict(deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck], phases=[Phase.generate, Phase.shrink])

def test_some_lines(place):
    @settings(max_examples=40, **COMMON)
    @given(lines())
    def some(line): try_line(place, line)
    some()

def test_four_hundred_lines(place, request):
    if not request.config.getoption('--slow'): pytest.skip('takes a minute: --slow')
    seen = []
    @settings(max_examples=400, **COMMON)
    @given(lines())
    def many(line):
        seen.append(bool(line[2]))
        try_line(place, line)
    many()
    print(f'{len(seen)} lines, {sum(seen)} of them to be refused')
    assert len(seen) >= 400 and 100 < sum(seen) < len(seen) - 100


# One by one

GIANT = '7777777777777777777777'

@pytest.mark.parametrize('command, name, value', [('shakespeare', 'n_embd', GIANT), ('shakespeare', 'n_embd', 2**62), ('shakespeare', 'n_embd', 10**9), ('adder', 'n_layer', 100_000), ('cifar10', 'n_embd', 2**40),
    ('shakespeare', 'batch_size', 2**70), ('shakespeare', 'max_new_tokens', 2**64), ('sample', 'max_new_tokens', 2**64), ('sample', 'seed', 2**70), ('shakespeare', 'dropout', 1.5), ('shakespeare', 'text', '/dev/zero'),
    ('shakespeare', 'text', 'mark.txt'), ('train', 'text', 'mark.txt'), ('train', 'tokenizer', ''), ('shakespeare', 'out', '~nouser/x'), ('shakespeare', 'out', ''), ('shakespeare', 'out', 'a\0b'), ('sample', 'png', 'x')], ids=repr)
def test_by_name(place, command, name, value):
    options = BASE[command] | {'out': 'new'} if 'dry-run' in BASE[command] else dict(BASE[command])
    options.pop('dry-run', None)
    before = sorted(place.rglob('*'))
    refused(call(command, *flags(options | {name.replace('_', '-'): value})), {name: value})
    assert sorted(place.rglob('*')) == before

def test_a_size_says_what_it_takes_and_what_there_is(place):
    done = call('adder', *flags(BASE['adder'] | {'n-embd': 2**30}))
    have = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') if hasattr(os, 'sysconf') else 2**40
    params = 2 * 12 * 2**60 / 2
    assert re.search(rf'make 1\.38e\+19 parameters, which take 1\.66e\+20 bytes; this machine has {have:.3g}'.replace('e+', r'e\+'), done.err) and f'{params:.3g}' == '1.38e+19', done.err

def test_a_batch_says_what_it_takes_and_what_there_is(place, monkeypatch):
    "A machine of 100 kB does not take 109 chunks at once, but in pieces."
    monkeypatch.setattr(run, 'machine_memory', lambda: 100_000)
    options = BASE['shakespeare'] | {'batch-size': 10**6}
    done = call('shakespeare', *flags(options))
    assert done.code == 1 and re.fullmatch(r'mingpt: error: batch_size=1000000 takes [1-9]\.\d+e\+06 bytes a step, and this machine has 1e\+05: .*accumulate.*\n', done.err), done
    assert call('shakespeare', *flags(options | {'accumulate': 109})).code == 0

@pytest.mark.parametrize('name', ['p.png', 'folder/q.PNG'])
def test_pictures_go_where_they_should(place, name):
    assert call('sample', '--model', 'painter', '--png', name).code == 0 and (place/name).read_bytes().startswith(b'\x89PNG')
    (place/name).unlink()

def test_pictures_that_cannot_be_written(place):
    "Found before they are painted."
    (place/'dir.png').mkdir(exist_ok=True)
    for png in 'dir.png', 'wood.txt/x.png': refused(call('sample', '--model', 'painter', '--png', png), {'png': png.split('/')[0]})
    (place/'dir.png').rmdir()

def test_a_run_for_real(place):
    "Accepted and right: the folder has a model of these sizes, and the text is as long as was asked for."
    done = call('train', *flags(TINY | {'text': 'wood.txt', 'out': 'real', 'max-steps': 2, 'max-new-tokens': 7, 'block-size': 8, 'prompt': 'wood', 'tokenizer': 'bytes', 'n-embd': 4}))
    assert done.code == 0 and 0 < float(re.search(r'held-out loss: ([\d.]+)', done.out)[1]) < 6, done
    about = json.loads((place/'real'/'config.json').read_text(encoding='utf-8'))
    assert [about[k] for k in ('n_embd', 'n_layer', 'n_head', 'n_positions', 'vocab_size')] == [4, 1, 2, 8, 256]
    shutil.rmtree(place/'real')

@settings(max_examples=30, **COMMON)
@given(command=st.sampled_from([*OPTIONS, '']), word=st.text(st.characters(codec='utf-8', exclude_categories=['Z', 'C']), min_size=3, max_size=9))
def test_an_option_that_is_none(command, word):
    "And a command."
    done = call(command, f'--x{word}') if command else call(f'x{word}')
    assert done.code == 2 and done.err.count('\n') == 1 and f'x{word}' in done.err and not done.out, done


# Signals. Their names say `interrupt`: conftest leaves such tests out on Windows

STRIKE = """
import os, signal, sys
class Strike:
    def find_spec(self, name, *_):
        if name == {name!r}: os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Strike())
from mingpt_nb.cli import program
sys.argv = ['mingpt', 'sample', '--model', 'nowhere']
program()
"""

@pytest.mark.parametrize('name', ['tyro', 'mingpt_nb.run', 'numpy', 'torch._C'])
def test_interrupt_of_imports(mingpt, name):
    "A Ctrl-C while the program is still being put together ends it without a word."
    begin = subprocess.Popen([mingpt.python, '-c', STRIKE.format(name=name)], env=mingpt.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    out, err = begin.communicate(timeout=120)
    assert (begin.returncode, out, err) == (-signal.SIGINT, '', '')

def test_interrupt_by_a_closed_terminal(mingpt, tmp_path):
    "SIGHUP ends a run after its step, and it goes on from there; the terminal is gone by then."
    (tmp_path/'wood.txt').write_text(WOOD)
    options = TINY | {'text': tmp_path/'wood.txt', 'block-size': 16, 'max-steps': 10**6, 'eval-interval': 10**5, 'out': tmp_path/'run'}
    import pty, select
    master, slave = pty.openpty()
    def lead(): # a session of its own, whose terminal this is
        import fcntl, termios
        as_in_a_terminal()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    command = [mingpt.python.parent/'mingpt', 'shakespeare', *flags(options)]
    process = subprocess.Popen(command, env=mingpt.env, cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=lead)
    os.close(slave)
    history = tmp_path/'run'/'history.jsonl'
    try:
        seen, begin = b'', time.monotonic()
        while not history.exists() or history.read_text().count('\n') < 20:
            assert process.poll() is None and time.monotonic() < begin + 120, seen
            if select.select([master], [], [], .1)[0]: seen += os.read(master, 4096)
        os.close(master)
        process.wait(timeout=60)
    finally: process.kill()
    steps = history.read_text().count('\n')
    latest = json.loads((tmp_path/'run'/'checkpoints'/'latest').read_text())['checkpoint']
    assert steps >= 20 and latest == f'step-{steps}', (steps, latest)
    done = mingpt('shakespeare', '--resume', tmp_path/'run', '--dry-run')
    assert done.code == 0 and f'in {10**6 - steps:,} steps' in done.out, done.err
