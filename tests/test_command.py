"The console command, from a wheel in a new virtual environment, as a person with a terminal meets it."
import json, math, re, signal, socket, subprocess, threading, time

import pytest

SPEECH = """KING:
Who goes there, at this hour, and with no lamp?

GUARD:
A friend, my lord, that brings you word of rain.

"""


@pytest.fixture(scope='session')
def text(tmp_path_factory):
    "A small text of our own: 13 kB."
    path = tmp_path_factory.mktemp('text')/'speech.txt'
    path.write_text(SPEECH * 120, encoding='utf-8')
    return path


@pytest.fixture(scope='session')
def trained(mingpt, text, tmp_path_factory):
    "A model of 20 steps: its folder, and what the command printed."
    out = tmp_path_factory.mktemp('trained')/'model'
    done = mingpt('shakespeare', '--text', text, '--out', out, '--max-steps', 20)
    assert done.code == 0, done.err
    done.folder = out
    return done


def test_it_is_the_wheels_package(mingpt):
    "Not the repository's, which the environment of the tests may have installed too."
    done = subprocess.run([mingpt.python, '-c', 'import mingpt_nb; print(mingpt_nb.__file__)'], cwd=mingpt.python.parent, env=mingpt.env, capture_output=True, text=True)
    assert done.stdout.startswith(str(mingpt.python.parent.parent)), done.stdout + done.stderr


# Help

def options(help):
    "The entries of a help text that describe options, each in one piece. tyro puts them into boxes."
    help = '\n'.join(line.strip('│|').rstrip() for line in help.splitlines())
    entries = re.split(r'\n(?= {1,2}\S)', help)
    return [' '.join(e.split()) for e in entries if re.match(r' {1,2}-', e) and not re.match(' *-h', e)]

def test_help(mingpt):
    mingpt('--help') # once to write the bytecode, as pip does
    began = time.monotonic()
    done = mingpt('--help')
    assert done.code == 0 and all(c in done.out for c in ('shakespeare', 'cifar10', 'adder', 'train', 'sample', 'gpt2'))
    assert time.monotonic() - began < 1, 'no more than a second: it needs no PyTorch'

@pytest.mark.parametrize('command, some', [('shakespeare', ['--text', '--out', '--max-steps', '--seed']), ('cifar10', ['--side', '--out', '--n-colours', '--seed']),
    ('adder', ['--model', '--ndigit', '--out', '--seed']), ('sample', ['--model', '--prompt', '--max-new-tokens', '--temperature', '--seed', '--png']),
    ('train', ['--text', '--tokenizer', '--init', '--out', '--seed']), ('gpt2', ['--model', '--prompt', '--top-k', '--greedy'])])
def test_help_names_every_default(mingpt, command, some):
    done = mingpt(command, '--help')
    entries = options(done.out)
    assert done.code == 0 and {o for o in some if any(o in e for e in entries)} == set(some), done.out
    assert [e for e in entries if 'default' not in e and 'required' not in e] == []

def test_no_command(mingpt):
    done = mingpt()
    assert done.code == 2 and 'one of {shakespeare' in done.err and 'Traceback' not in done.err


# Training and sampling

def test_training_writes_the_folder(trained):
    assert {'config.json', 'model.safetensors', 'mingpt_tokenizer.json'} <= {p.name for p in trained.folder.iterdir()}
    assert json.loads((trained.folder/'config.json').read_text(encoding='utf-8'))['vocab_size'] == len(set(SPEECH))

def test_transformers_opens_the_folder(mingpt, trained):
    "With nothing but the folder its pipeline writes what `mingpt sample` does."
    transformers = pytest.importorskip('transformers')
    write = transformers.pipeline('text-generation', str(trained.folder), device='cpu')
    said = write('KING:', max_new_tokens=40, do_sample=False)[0]['generated_text']
    done = mingpt('sample', '--model', trained.folder, '--prompt', 'KING:', '--max-new-tokens', 40, '--greedy')
    assert done.out == said + '\n', done.err

def test_training_prints_a_loss_and_a_sample(trained):
    loss = re.search(r'held-out loss\D*(\d+\.\d+)', trained.out)
    assert loss and 0 < float(loss[1]) < 1.2 * math.log(len(set(SPEECH))), trained.out
    assert len(trained.out[loss.end():]) >= 500 or len(trained.out[:loss.start()]) >= 500

def test_sampling_is_a_function_of_the_seed(mingpt, trained):
    def sample(seed): return mingpt('sample', '--model', trained.folder, '--prompt', 'KING:', '--max-new-tokens', 50, '--seed', seed)
    one, again, other = sample(1), sample(1), sample(2)
    assert (one.code, one.err) == (0, '')
    assert one.out.startswith('KING:') and len(one.out.removesuffix('\n')) == len('KING:') + 50
    assert one.out == again.out != other.out


# Bad input: one clear line, no traceback, nothing lost

def complains(done, *words):
    assert done.code in (1, 2), done.out + done.err
    assert 'Traceback' not in done.err
    *usage, last = done.err.rstrip().splitlines()
    assert all(l.startswith(('usage:', ' ')) for l in usage), f'more than one line:\n{done.err}'
    assert all(w in last for w in map(str, words)), f'no {words} in: {last}'

@pytest.mark.parametrize('content, word', [(None, 'no'), (b'', 'empty'), (b'a text\xff', 'UTF-8'), (b'To be, or not to be.', 'block_size')], ids=['missing', 'empty', 'not UTF-8', 'short'])
def test_bad_text(mingpt, tmp_path, content, word):
    path = tmp_path/'own.txt'
    if content is not None: path.write_bytes(content)
    complains(mingpt('shakespeare', '--text', path, '--out', tmp_path/'out', '--max-steps', 1), word, *([] if word == 'block_size' else [path]))
    assert not (tmp_path/'out'/'model.safetensors').exists()

@pytest.mark.parametrize('out', ['there', 'there/below'])
def test_folder_that_cannot_be_written(mingpt, text, tmp_path, out):
    "Found before training: a file stands where the folder should be (no folder is closed to root)."
    (tmp_path/'there').write_text('a file of yours')
    done = mingpt('shakespeare', '--text', text, '--out', tmp_path/out, '--max-steps', 1_000_000, timeout=60)
    complains(done, tmp_path/'there')
    assert (tmp_path/'there').read_text() == 'a file of yours'

@pytest.mark.parametrize('args', [['--temperature', 0], ['--temperature', -1], ['--temperature', 1e-300], ['--top-k', 0], ['--top-p', 1.5], ['--max-new-tokens', -5]], ids=lambda args: ' '.join(map(str, args)))
def test_bad_sampling(mingpt, trained, args):
    complains(mingpt('sample', '--model', trained.folder, '--prompt', 'KING:', *args), args[0].strip('-').replace('-', '_'))

def test_unseen_character(mingpt, trained): complains(mingpt('sample', '--model', trained.folder, '--prompt', 'KING ☃'), '☃')

def test_missing_model(mingpt, tmp_path): complains(mingpt('sample', '--model', tmp_path/'nowhere', '--prompt', 'a'), tmp_path/'nowhere')

@pytest.mark.parametrize('name', ['model.safetensors', 'config.json', 'mingpt_tokenizer.json'])
def test_truncated_model(mingpt, trained, tmp_path, name):
    for f in trained.folder.iterdir():
        if f.is_file(): (tmp_path/f.name).write_bytes(f.read_bytes()[:len(f.read_bytes()) // (2 if f.name == name else 1)])
    complains(mingpt('sample', '--model', tmp_path, '--prompt', 'KING:'), name)

@pytest.mark.parametrize('args', [['--max-steps', 'many'], ['--no-such-option'], ['--max-steps', -1]], ids=lambda args: ' '.join(map(str, args)))
def test_bad_options(mingpt, text, tmp_path, args):
    complains(mingpt('shakespeare', '--text', text, '--out', tmp_path/'out', *args), args[0] if args[-1] != -1 else 'max')


# While it runs

def read_until(process, *patterns, timeout=120):
    "Read both outputs of a process until every pattern has appeared: what was read, and the seconds it took."
    got, begin = bytearray(), time.monotonic()
    def pump(stream):
        while piece := stream.read1(4096): got.extend(piece)
    for stream in (process.stdout, process.stderr): threading.Thread(target=pump, args=[stream], daemon=True).start()
    while not all(re.search(p, got) for p in patterns):
        assert process.poll() is None and time.monotonic() < begin + timeout, f'no {patterns} in: {got.decode()}'
        time.sleep(0.05)
    return got, time.monotonic() - begin

def test_interrupt_keeps_the_model(mingpt, text, tmp_path):
    "Ctrl-C in mid-training ends it cleanly, and the folder holds a model that samples."
    process = mingpt.start('shakespeare', '--text', text, '--out', tmp_path/'model', '--max-steps', 1_000_000)
    try:
        got, _ = read_until(process, rb'\bloss\b')
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=90)
        time.sleep(0.5) # for the last of its output
    finally: process.kill()
    assert code in (0, 130) and b'Traceback' not in got, got.decode()
    done = mingpt('sample', '--model', tmp_path/'model', '--prompt', 'KING:', '--max-new-tokens', 5)
    assert done.code == 0 and done.out.startswith('KING:'), done.err

@pytest.mark.parametrize('signals', [['SIGKILL'], ['SIGTERM'], ['SIGINT', 'SIGINT']], ids='+'.join)
def test_a_run_that_is_killed_leaves_its_best_model(mingpt, text, tmp_path, signals):
    "Whatever ends a run after its first evaluation, the folder holds a whole model."
    small = ['--n-layer', 1, '--n-embd', 32, '--eval-interval', 5]
    process = mingpt.start('shakespeare', '--text', text, '--out', tmp_path/'model', '--max-steps', 1_000_000, *small)
    try:
        read_until(process, rb'step +10:')
        for s in signals: process.send_signal(signal.Signals[s])
        process.wait(timeout=90)
    finally: process.kill()
    done = mingpt('sample', '--model', tmp_path/'model', '--prompt', 'KING:', '--max-new-tokens', 5)
    assert done.code == 0 and done.out.startswith('KING:'), done.err

def test_a_loss_that_is_no_number(mingpt, text, tmp_path):
    "It stops, and says at which step and whose weights the model has now."
    small = ['--n-layer', 1, '--n-embd', 32, '--eval-interval', 1, '--max-steps', 1000]
    done = mingpt('shakespeare', '--text', text, '--out', tmp_path/'model', '--learning-rate', 1e8, *small)
    assert done.code == 1 and 'Traceback' not in done.err, done.err
    assert re.search(r'mingpt: error: the .*(loss is|norm) (nan|-?inf).* at step \d+.*weights of step \d+', done.err), done.err

@pytest.fixture(params=['refuses', 'is silent'])
def dead_proxy(request):
    "The address of a proxy that leads nowhere: one that is not there, and one that takes calls and never answers."
    with socket.create_server(('127.0.0.1', 0)) as server:
        if request.param == 'refuses': server.close()
        yield f'http://127.0.0.1:{server.getsockname()[1]}' if request.param == 'is silent' else 'http://127.0.0.1:9'

def test_without_a_network_it_goes_on_with_the_plays(mingpt, tmp_path, dead_proxy):
    "Within ten seconds, and it says so."
    begin = time.monotonic()
    mingpt('shakespeare', '--text', tmp_path/'missing.txt')
    start_up = time.monotonic() - begin # what it takes to begin at all
    env = {k: dead_proxy for k in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY')} | {'no_proxy': '', 'XDG_CACHE_HOME': str(tmp_path/'cache')}
    process = mingpt.start('shakespeare', '--out', tmp_path/'model', env=env)
    try: _, seconds = read_until(process, rb'plays')
    finally: process.kill()
    assert seconds <= 10 + 2 * start_up

def test_data_that_was_altered(mingpt, tmp_path):
    "A file in the data folder that is not what its name says is refused, not trained on."
    (tmp_path/'tinyshakespeare.txt').write_text(SPEECH * 300)
    complains(mingpt('shakespeare', '--out', tmp_path/'model', env={'MINGPT_NB_DATA': str(tmp_path)}), 'tinyshakespeare.txt', 'sha256')
