"Runs that are killed, stopped, spoilt and spread over processes: what is left of them goes on to the bit."
import io, json, multiprocessing, os, pickle, random, re, shlex, shutil, signal, subprocess, sys, time
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save

from conftest import as_in_a_terminal
from mingpt_nb.checkpoint import Checkpoint, name_tensors, read_checkpoint
from mingpt_nb.cli import main
from mingpt_nb.data import RandomChunks, Windows
from mingpt_nb.files import file_digest as digest
from mingpt_nb.model import GPT, GPTConfig
from mingpt_nb.tokenizer import CharTokenizer
from mingpt_nb.trainer import BestWeights, Trainer, TrainerConfig

resource = pytest.importorskip('resource', reason='Windows has other signals and processes')

SPEECH = 'KING:\nWho goes there, at this hour, and with no lamp?\n\nGUARD:\nA friend, my lord, that brings you word of rain.\n\n'
LETTERS = 'abcdefghijklmnopqrst'


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    "In this process as in all that the tests start, so that they are alike to the bit."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

def make(folder, optimizer='adamw', steps=12, seed=0, dropout=0.1, learning_rate=1e-2, kind=Trainer, keeps=BestWeights, more={}, **settings):
    "A small trainer on letters without sense: 93 examples, 13 a step, an evaluation each 3 steps, and the best is not the last."
    ids = torch.randint(len(LETTERS), (1800,), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(seed)
    model = GPT(GPTConfig(len(LETTERS), 16, 1, 2, 16, dropout, dropout, dropout))
    settings = dict(batch_size=13, gradient_accumulation_steps=2, eval_interval=3, lr_decay=True, progress=False) | settings
    config = TrainerConfig(max_epochs=steps, max_steps=steps, optimizer=optimizer, learning_rate=learning_rate, **settings)
    trainer = kind(model, RandomChunks(ids[:1500], 16), Windows(ids[1500:], 16), config, [best := keeps()], **more)
    trainer.best = best
    extra = {'mingpt_tokenizer.json': CharTokenizer.from_text(LETTERS).save}
    trainer.checkpoint = Checkpoint(folder or 'nowhere', best, extra_files=extra)
    if folder: trainer.callbacks.append(trainer.checkpoint)
    return trainer

def tensors(trainer):
    "The weights and the optimizer state, by name."
    return {k: v.clone() for k, v in name_tensors(trainer, trainer.state_dict()).items()}

def go(folder, *args, fatal=None, **settings):
    "Train into the folder, from its newest checkpoint if there is one; `fatal`: what `die` takes."
    torch.set_num_threads(1)
    if fatal: die(*fatal)
    trainer = make(folder, *args, **settings)
    if (Path(folder)/'checkpoints'/'latest').exists(): trainer.checkpoint.resume(trainer)
    trainer.train()

def die(name, n, after):
    "Let this process kill itself at its n-th call of a function of `os`: before it, or after it."
    real, left = getattr(os, name), [n]
    def call(*args, **keys):
        left[0] -= 1
        if not left[0] and not after: os.kill(os.getpid(), signal.SIGKILL)
        real(*args, **keys)
        if not left[0]: os.kill(os.getpid(), signal.SIGKILL)
    setattr(os, name, call)

@pytest.fixture(scope='session')
def worker():
    "A function that starts `go` in a process of its own. They are forked from one that has imported all this: seconds less for each."
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['test_resume', 'accelerate', 'torch._dynamo'])
    def start(*args, **keys):
        process = context.Process(target=go, args=args, kwargs=keys, daemon=True)
        process.start()
        return process
    return start

@pytest.fixture(scope='session')
def env(repo, quiet_env):
    "For Python processes that import this file."
    return quiet_env | {'PYTHONPATH': os.pathsep.join([str(repo), str(repo/'tests')]), 'OMP_NUM_THREADS': '1'}

def family(pid):
    "A process and its descendants."
    try: children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except OSError: children = []
    return [pid, *(p for c in children for p in family(int(c)))]

@contextmanager
def running(call, env, folder):
    "A process that writes into two files in the folder; at the end nothing of it runs any more."
    with open(folder/'out.txt', 'wb') as out, open(folder/'err.txt', 'wb') as err:
        process = subprocess.Popen([str(c) for c in call], env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=as_in_a_terminal)
    process.out, process.err = ((folder/name).read_text for name in ('out.txt', 'err.txt'))
    try: yield process
    finally:
        for pid in family(process.pid):
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: pass
        process.wait(timeout=60)

def until(true, alive, timeout=120):
    "Wait, without a pause, for what a running process does."
    end = time.monotonic() + timeout
    while not true(): assert alive() and time.monotonic() < end

def lines(folder):
    "How many steps are in the history."
    try: return (Path(folder)/'history.jsonl').read_bytes().count(b'\n')
    except OSError: return 0

def losses(folder): return [json.loads(l) for l in (Path(folder)/'history.jsonl').read_text().splitlines()]


# kill -9

def end_state(folder):
    "All that a finished run leaves, the best weights among it, as bytes."
    at, about = read_checkpoint(folder)
    files = [Path(folder)/'history.jsonl', at.parent/about['best']['file'], *(at/name for name in sorted(about['files']))]
    return [f.read_bytes() for f in files], {k: v for k, v in about.items() if k != 'config'}

def kill(how, start, folder, *args, **keys):
    "Train in a process of its own and kill it; whenever that was, the newest checkpoint is whole."
    before, moment = lines(folder), how[0]
    process = start(folder, *args, fatal=None if moment in ('writing', 'after') else how, **keys)
    try:
        if moment in ('writing', 'after'): until(lambda: lines(folder) > before + 4, process.is_alive) # with a checkpoint more than before
        if moment == 'writing': until(lambda: [*Path(folder).glob('checkpoints/step-*.part')], process.is_alive)
        if moment == 'after': time.sleep(how[1])
        if moment in ('writing', 'after'): process.kill()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
    finally: process.kill()
    read_checkpoint(folder)

def check_kills(start, folder, optimizer, steps, kills):
    "A run that is killed again and again ends, to the bit, as the one that nobody stopped."
    whole = start(folder/'whole', optimizer, steps)
    try:
        for how in kills: kill(how, start, folder/'killed', optimizer, steps)
        assert 0 < lines(folder/'killed') < steps
        last = start(folder/'killed', optimizer, steps)
        for process in whole, last: process.join(300)
        assert whole.exitcode == last.exitcode == 0
    finally: whole.kill()
    assert end_state(folder/'killed') == end_state(folder/'whole')
    at, about = read_checkpoint(folder/'killed')
    assert {k.split('.')[0] for k in load_file(at/'tensors.safetensors')} == {'model', 'exp_avg', 'exp_avg_sq', 'step'} | ({'momentum_buffer'} if optimizer == 'muon' else set())
    assert about['best']['step'] < about['step'] == steps

@pytest.fixture
def rng():
    "Prints its seed where the test fails."
    seed = random.randrange(10**6)
    print('seed', seed)
    return random.Random(seed)

IN_SAVE = ('writing',), ('rename', 3, True), ('replace', 4, False), ('replace', 3, True), ('rename', 2, False) # replaced is `latest`

@pytest.mark.parametrize('optimizer, kills', [('adamw', [0, 1]), ('muon', [None])])
def test_killed(worker, tmp_path, rng, optimizer, kills):
    "At a random instant, in mid-checkpoint, between a checkpoint and its becoming the latest; with dropout and accumulation, in mid-epoch."
    check_kills(worker, tmp_path, optimizer, 150, [('after', rng.uniform(0, 0.7)) if k is None else IN_SAVE[k] for k in kills])

@pytest.mark.parametrize('optimizer', ['adamw', 'muon'])
def test_killed_twenty_times(worker, tmp_path, rng, optimizer, request):
    if not request.config.getoption('--slow'): pytest.skip('takes a minute: --slow')
    kills = [('after', rng.uniform(0, 0.5)) for _ in range(12)] + [rng.choice(IN_SAVE) for _ in range(8)]
    check_kills(worker, tmp_path, optimizer, 1000, rng.sample(kills, 20))


# Ctrl-C, SIGTERM and --resume

STEPS = 150
SMALL = ['--n-layer', 1, '--n-embd', 16, '--n-head', 2, '--block-size', 16, '--batch-size', 8, '--learning-rate', 1e-3, '--eval-interval', 10, '--max-new-tokens', 20]

def command(*words):
    "The command, in this process: its exit code."
    return main([str(w) for w in words])

@pytest.fixture(scope='module')
def speech(tmp_path_factory):
    path = tmp_path_factory.mktemp('text')/'speech.txt'
    path.write_text(SPEECH * 30, encoding='utf-8')
    return path

@pytest.fixture(scope='module')
def alone(mingpt):
    "An environment for one thread."
    return mingpt.env | {'OMP_NUM_THREADS': '1'}

@pytest.fixture(scope='module')
def whole(speech, tmp_path_factory):
    "A run of `STEPS` steps that nobody stopped: its folder, and what was printed."
    folder = tmp_path_factory.mktemp('whole')/'model'
    with redirect_stdout(io.StringIO()) as out: assert command('shakespeare', '--text', speech, '--out', folder, '--max-steps', STEPS, *SMALL) == 0
    return SimpleNamespace(folder=folder, out=out.getvalue())

def held_out(said): return re.search(r'held-out loss: (\d+\.\d+)', said)[1]

@pytest.fixture(scope='module')
def stopped(mingpt, alone, speech, tmp_path_factory):
    "The same run, stopped by Ctrl-C after 25 steps or more; and a copy of its folder as it was then."
    folder = tmp_path_factory.mktemp('it\'s stopped')/'model'
    call = [mingpt.python.parent/"mingpt", 'shakespeare', '--text', speech, '--out', folder, '--max-steps', STEPS, *SMALL]
    with running(call, env=alone, folder=folder.parent) as process:
        until(lambda: lines(folder) >= 25, lambda: process.poll() is None)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    shutil.copytree(folder, folder.parent/'copy')
    return SimpleNamespace(code=code, out=process.out(), err=process.err(), folder=folder, copy=folder.parent/'copy')

def way_on(said, folder):
    "The words of the command that a stopped run prints, after `mingpt`; the step is the last in its history, and its checkpoint is there."
    found = re.search(r'^stopped at step (\d+) of (\d+); to go on: (mingpt .*)$', said, re.MULTILINE)
    assert found, said
    assert int(found[1]) == lines(folder) == read_checkpoint(folder)[1]['step'] < int(found[2]) == STEPS
    program, *words = shlex.split(found[3])
    assert program == 'mingpt' and words == ['shakespeare', '--resume', str(folder)]
    return words

def test_stopped_by_ctrl_c_then_by_sigterm(capsys, mingpt, alone, stopped, whole, tmp_path):
    "It ends well both times, with the command that goes on, and this ends where the run that nobody stopped did."
    assert stopped.code == 0 and 'Traceback' not in stopped.err, stopped.err
    with running([mingpt.python.parent/"mingpt", *way_on(stopped.out, stopped.folder)], env=alone, folder=tmp_path) as process:
        before = lines(stopped.folder)
        until(lambda: lines(stopped.folder) >= before + 20, lambda: process.poll() is None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0 and 'Traceback' not in process.err(), process.err()
    capsys.readouterr()
    assert command(*way_on(process.out(), stopped.folder)) == 0
    assert held_out(capsys.readouterr().out) == held_out(whole.out)
    for name in 'history.jsonl', 'model.safetensors': assert (stopped.folder/name).read_bytes() == (whole.folder/name).read_bytes()
    assert end_state(stopped.folder)[0] == end_state(whole.folder)[0]

def killed_before(name, *words):
    "The command, which kills itself in the middle of replacing a file of the model."
    torch.set_num_threads(1)
    real = os.replace
    def call(old, new):
        if Path(new).name == name and Path(new).parent.name == 'model': os.kill(os.getpid(), signal.SIGKILL)
        real(old, new)
    os.replace = call
    command(*words)

@pytest.mark.parametrize('name', ['mingpt_tokenizer.json', 'model.safetensors', 'config.json'])
def test_a_model_that_was_half_replaced(capsys, speech, tmp_path, name):
    "A run with other letters into the folder of a finished one, killed between two files: each file is whole, and a mixture writes no nonsense but is refused by name."
    folder, other = tmp_path/'model', tmp_path/'other.txt'
    other.write_text('0123456789 98765 43210\n' * 200, encoding='utf-8')
    brief = ['--out', folder, '--max-steps', 5, *SMALL, '--eval-interval', 5]
    assert command('shakespeare', '--text', speech, *brief) == 0
    process = multiprocessing.get_context('forkserver').Process(target=killed_before, args=(name, 'shakespeare', '--text', other, *brief))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    for file in 'config.json', 'mingpt_tokenizer.json': json.loads((folder/file).read_text(encoding='utf-8'))
    load_file(folder/'model.safetensors')
    if name != 'mingpt_tokenizer.json': refused(capsys, ['sample', '--model', folder], 'files of different models', 'mingpt_tokenizer.json', 'model.safetensors')
    else: assert command('sample', '--model', folder, '--prompt', 'KING') == 0 # nothing was replaced yet

def refused(capsys, call, *words):
    "The command ends with one line that has the words."
    capsys.readouterr()
    assert command(*call) == 1
    said = capsys.readouterr().err
    assert said.startswith('mingpt: error: ') and said.count('\n') == 1 and all(str(w) in said for w in words), said

@pytest.mark.parametrize('command, args, words', [('shakespeare', ['--n-layer', 2], ['--n-layer 2', 'has 1']), ('shakespeare', ['--seed', 1], ['--seed 1', 'has 42']), ('shakespeare', ['--optimizer', 'adamw'], ['--optimizer adamw', 'has muon']),
    ('train', [], ['not made by mingpt train']), ('adder', [], ['not made by mingpt adder'])], ids=lambda x: x if isinstance(x, str) else ' '.join(map(str, x)))
def test_resume_with_what_contradicts(capsys, stopped, command, args, words):
    before = end_state(stopped.copy)
    refused(capsys, [command, '--resume', stopped.copy, *args], *words)
    assert end_state(stopped.copy) == before

def test_resume_where_there_is_no_run(capsys, tmp_path):
    refused(capsys, ['shakespeare', '--resume', tmp_path], tmp_path, 'no run')
    refused(capsys, ['shakespeare', '--resume', tmp_path/'nowhere'], tmp_path/'nowhere', 'no run')
    assert not [*tmp_path.iterdir()]

def test_resume_from_one_checkpoint_leaves_it_whole(stopped, tmp_path):
    "Given by its own path, as the error about a damaged one advises; afterwards the run's folder goes on from there."
    shutil.copytree(stopped.copy, tmp_path/'run')
    at = sorted((tmp_path/'run'/'checkpoints').glob('step-*'))[0]
    before = {f.name: f.read_bytes() for f in at.iterdir()}
    assert command('shakespeare', '--resume', at) == 0
    assert not at.exists() or {f.name: f.read_bytes() for f in at.iterdir() if f.is_file()} == before
    assert read_checkpoint(tmp_path/'run')[1]['step'] == STEPS

def test_every_checkpoint_that_is_kept_can_be_resumed(tmp_path):
    "Those that are not the newest, too: the weights that were the best then are not thinned out."
    trainer, bad = make(tmp_path/'run', steps=20, eval_interval=1, dropout=0., learning_rate=0.1), []
    class Look:
        def after_step(self, trainer):
            for at in trainer.checkpoint.list_checkpoints():
                try: read_checkpoint(at)
                except ValueError as e: bad.append(str(e))
    trainer.callbacks.append(Look())
    trainer.train()
    assert bad == []

def test_dry_run(capsys, speech, tmp_path, monkeypatch):
    "Memory, work and time, and not one file."
    monkeypatch.chdir(tmp_path)
    assert command('shakespeare', '--text', speech, '--dry-run', '--max-steps', 7, *SMALL) == 0
    said = capsys.readouterr().out
    assert re.search(r'^memory: .*weights.*gradients.*optimizer.*activations', said, re.M) and re.search(r'^work: [\d,]+ tokens in 7 steps', said, re.M) and re.search(r'^time: ', said, re.M), said
    assert not [*tmp_path.iterdir()]


# Planted files

class Evil:
    "Who unpickles it makes a file."
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (str(self.path), 'w')

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "Two runs with the checkpoints of steps 9 and 12; they differ in their seed."
    temp = tmp_path_factory.mktemp('good')
    for seed, name in enumerate(['run', 'other']): make(temp/name, seed=seed, eval_interval=3).train()
    return temp

@pytest.fixture
def run(good, tmp_path): return shutil.copytree(good/'run', tmp_path/'run')

def sign(folder, **changes):
    "Put the right SHA-256 of every file into trainer.json, and of that into latest, as an attacker would."
    latest = folder/'checkpoints'/'latest'
    name = json.loads(latest.read_text())['checkpoint']
    at = folder/'checkpoints'/name
    about = json.loads((at/'trainer.json').read_text())
    about['files'] = {f: digest(at/f) for f in about['files']}
    if about['best']['file'].startswith(name): about['best']['sha256'] = digest(at.parent/about['best']['file'])
    for k, v in changes.items(): about[k] |= v
    (at/'trainer.json').write_text(json.dumps(about))
    latest.write_text(json.dumps({'checkpoint': name, 'sha256': digest(at/'trainer.json')}))

def no_entry(folder, *words):
    "Neither a fresh trainer nor `read_checkpoint` alone is fooled; the error has the words."
    trainer = make(None)
    before = tensors(trainer)
    with pytest.raises((ValueError, FileNotFoundError)) as e: trainer.checkpoint.resume(trainer, folder)
    assert all(str(w) in str(e.value) for w in words), e.value
    assert trainer.step == 0 and all(torch.equal(v, before[k]) for k, v in tensors(trainer).items())

FILES = 'tensors.safetensors', 'history.jsonl', 'mingpt_tokenizer.json', 'trainer.json'

def file_of(folder, name): return folder/'checkpoints'/name if name == 'latest' else folder/'checkpoints'/'step-12'/name

@pytest.mark.parametrize('signed', [False, True], ids=['', 'signed'])
@pytest.mark.parametrize('name', [*FILES, 'latest'])
def test_a_pickle_is_not_loaded(run, tmp_path, name, signed):
    "The checksums put right, too."
    evil = pickle.dumps(Evil(tmp_path/'control'))
    pickle.loads(evil).close()
    assert (tmp_path/'control').exists() # it works
    file_of(run, name).write_bytes(pickle.dumps(Evil(tmp_path/'made')))
    if signed and name == 'trainer.json': (run/'checkpoints'/'latest').write_text(json.dumps({'checkpoint': 'step-12', 'sha256': digest(file_of(run, name))}))
    elif signed and name != 'latest': sign(run)
    no_entry(run, file_of(run, name))
    assert not (tmp_path/'made').exists()

@pytest.mark.parametrize('how', ['cut off', 'empty', 'altered', 'swapped', 'missing'])
@pytest.mark.parametrize('name', FILES)
def test_a_file_that_is_not_what_was_saved(run, good, name, how):
    "Swapped: with that of the checkpoint before, and with that of another run."
    file = file_of(run, name)
    was = file.read_bytes()
    now = dict(empty=[b''], altered=[was[:-9] + bytes([was[-9] ^ 1]) + was[-8:]], missing=[None]).get(how, [was[:len(was) // 2]])
    if how == 'swapped': now = [(where/name).read_bytes() for where in (run/'checkpoints'/'step-9', good/'other'/'checkpoints'/'step-12')]
    for content in now:
        if content == was: continue # both runs have the same letters
        file.write_bytes(content) if content is not None else file.unlink()
        no_entry(run, file, 'missing' if content is None else 'not the file that was saved', 'step-9')

@pytest.mark.parametrize('content', [None, '', '{"checkpoint": "st', '[]', '{}', '5', '{"checkpoint": 5, "sha256": "x"}', '{"checkpoint": "", "sha256": "x"}', '{"checkpoint": "..", "sha256": "x"}', '{"checkpoint": "step-12", "sha256": 5}'])
def test_a_latest_that_cannot_be(run, content):
    file = file_of(run, 'latest')
    file.write_text(content) if content is not None else file.unlink()
    no_entry(run, run/'checkpoints')

def test_the_tensors_of_another_model(run, tmp_path):
    "Safetensors in their right form, and signed: the weights must be this model's."
    with open(file_of(run, 'tensors.safetensors'), 'wb') as f: f.write(save({'model.x': torch.zeros(2)}))
    sign(run)
    no_entry(run, 'is not in the model')

def outside(run, good, tmp_path):
    "A whole run of somebody else's beside this one, and its checkpoint."
    return shutil.copytree(good/'other', tmp_path/'evil')/'checkpoints'/'step-12'

def test_latest_does_not_lead_outside(run, good, tmp_path):
    evil = outside(run, good, tmp_path)
    for path in '../../evil/checkpoints/step-12', str(evil), '../../evil/checkpoints':
        (run/'checkpoints'/'latest').write_text(json.dumps({'checkpoint': path, 'sha256': digest(evil/'trainer.json')}))
        no_entry(run)

@pytest.mark.parametrize('path', ['../../evil/checkpoints/step-12/tensors.safetensors', '{evil}/tensors.safetensors', '../evil.safetensors', '../../evil.safetensors'])
def test_the_best_weights_do_not_come_from_outside(run, good, tmp_path, path):
    "Signed, with the checksum of the file here or of that outside: what is not in this run's checkpoints is not read."
    evil = outside(run, good, tmp_path)
    for at in run, tmp_path: shutil.copy(evil/'tensors.safetensors', at/'evil.safetensors')
    for checked in file_of(run, 'tensors.safetensors'), evil/'tensors.safetensors':
        sign(run, best=dict(file=path.format(evil=evil), sha256=digest(checked)))
        no_entry(run)

def test_files_are_not_looked_for_outside(run, good, tmp_path):
    evil = outside(run, good, tmp_path)
    for path in '../../../evil/checkpoints/step-12/history.jsonl', str(evil/'trainer.json'):
        sign(run, files={path: digest(evil/'history.jsonl')})
        no_entry(run)

def test_the_command_refuses_a_pickle(mingpt, stopped, tmp_path):
    run = shutil.copytree(stopped.copy, tmp_path/'run')
    file = read_checkpoint(run)[0]/'tensors.safetensors'
    file.write_bytes(pickle.dumps(Evil(tmp_path/'made')))
    sign(run)
    done = mingpt('shakespeare', '--resume', run)
    assert done.code == 1 and done.err.startswith('mingpt: error: ') and done.err.count('\n') == 1 and str(file) in done.err, done.err
    assert not (tmp_path/'made').exists()


# Places that cannot be written

@contextmanager
def small_disk(folder):
    "A file system of 1 MB, or nothing where that is not allowed."
    folder.mkdir()
    mounted = sys.platform == 'linux' and subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], capture_output=True).returncode == 0
    try: yield mounted
    finally:
        if mounted: subprocess.run(['umount', '-l', folder], check=True)

def errors(said):
    "The lines of a command that are errors: of the rest, there is no traceback."
    assert 'Traceback' not in said, said
    return [l for l in re.split(r'[\r\n]+', said) if l.startswith('mingpt: error: ')]

@pytest.mark.parametrize('mean', ['full', 'file too large'])
def test_a_disk_that_is_full(mingpt, alone, speech, tmp_path, mean, request):
    "In mid-run: it says so, and names the folder and the last good checkpoint; from there it goes on."
    with small_disk(tmp_path/'disk') as mounted:
        if mean == 'full' and not mounted: pytest.skip('mounting is not allowed')
        if mean != 'full' and mounted and not request.config.getoption('--slow'): pytest.skip('with --slow')
        folder = tmp_path/'disk'/'model'
        with running([mingpt.python.parent/"mingpt", 'shakespeare', '--text', speech, '--out', folder, '--max-steps', 1_000_000, *SMALL], env=alone, folder=tmp_path) as process:
            until(lambda: lines(folder) >= 25, lambda: process.poll() is None)
            if mean != 'full': resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
            else:
                with open(tmp_path/'disk'/'filler', 'wb', buffering=0) as f:
                    try:
                        for size in 4096, 1:
                            while f.write(bytes(size)): pass
                    except OSError: pass
            code = process.wait(timeout=60)
        [error] = errors(process.err())
        assert code == 1 and str(folder) in error, error
        at, about = read_checkpoint(folder)
        assert at.name in error and about['step'] >= 20, error
        assert not [*folder.glob('checkpoints/step-*.part')]
        (tmp_path/'disk'/'filler').unlink(missing_ok=True)
        with running([mingpt.python.parent/"mingpt", 'shakespeare', '--resume', folder], env=alone, folder=tmp_path) as process:
            until(lambda: lines(folder) > about['step'] + 10, lambda: process.poll() is None)

def test_a_folder_that_is_removed(mingpt, alone, speech, tmp_path):
    "In mid-run: it says so, and does not make a new one. Moved away, it is whole."
    folder = tmp_path/'model'
    with running([mingpt.python.parent/"mingpt", 'shakespeare', '--text', speech, '--out', folder, '--max-steps', 1_000_000, *SMALL], env=alone, folder=tmp_path) as process:
        until(lambda: lines(folder) >= 25, lambda: process.poll() is None)
        folder.rename(tmp_path/'away')
        code = process.wait(timeout=60)
    [error] = errors(process.err())
    assert code == 1 and str(folder) in error and not folder.exists(), error
    assert read_checkpoint(tmp_path/'away')[1]['step'] >= 20

def test_a_file_where_the_folder_should_be(capsys, speech, tmp_path):
    for name in 'model', 'model/checkpoints':
        (tmp_path/name).parent.mkdir(exist_ok=True)
        (tmp_path/name).write_text('yours')
        refused(capsys, ['shakespeare', '--text', speech, '--out', tmp_path/'model', '--max-steps', 10, *SMALL], tmp_path/name)
        assert (tmp_path/name).read_text() == 'yours'
        (tmp_path/name).unlink()

def test_a_folder_that_is_read_only(capsys, speech, tmp_path):
    if os.geteuid() == 0: pytest.skip('no folder is closed to root')
    tmp_path.chmod(0o500)
    try: refused(capsys, ['shakespeare', '--text', speech, '--out', tmp_path, '--max-steps', 10, *SMALL], tmp_path)
    finally: tmp_path.chmod(0o700)

def test_two_runs_into_one_folder(worker, tmp_path):
    "The second is refused at once; not any more when the first was killed."
    first = worker(tmp_path/'run', 'adamw', 60)
    try:
        until(lambda: lines(tmp_path/'run') > 5, first.is_alive)
        os.kill(first.pid, signal.SIGSTOP) # it is there, and does nothing
        for second in make(tmp_path/'run', steps=60), make(tmp_path/'run', steps=60):
            begin = time.monotonic()
            with pytest.raises(ValueError, match='another run is writing') as e: second.train()
            assert str(tmp_path/'run') in str(e.value) and time.monotonic() < begin + 1
            second.checkpoint.resume(second) # may look
            with pytest.raises(ValueError, match='another run is writing'): second.train()
    finally: first.kill()
    first.join()
    with pytest.raises(ValueError, match='holds a run that stopped at step'): make(tmp_path/'run', steps=60).train()
    go(tmp_path/'run', 'adamw', 60)
    assert read_checkpoint(tmp_path/'run')[1]['step'] == 60


# A loss that is no number

def test_a_loss_that_is_no_number(capsys, speech, tmp_path):
    "The step and the learning rate are named; the checkpoint and the model in the folder are good."
    assert command('shakespeare', '--text', speech, '--out', tmp_path, '--max-steps', 200, *SMALL, '--learning-rate', 1e9, '--optimizer', 'adamw') == 1
    [error] = errors(capsys.readouterr().err)
    assert re.search(r'loss is (nan|-?inf).* at step \d+ .*learning rate \d.*weights of step \d+', error), error
    at, about = read_checkpoint(tmp_path)
    assert all(w.isfinite().all() for w in load_file(at.parent/about['best']['file']).values())
    if (tmp_path/'model.safetensors').exists(): assert all(w.isfinite().all() for w in GPT.from_pretrained(tmp_path).state_dict().values())


# Several processes

def torchrun(n, *call): return [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={n}', '--no-python', *call]
def accelerate(n, *call): return [sys.executable, '-m', 'accelerate.commands.launch', '--cpu', '--num_processes', n, '--num_machines', 1, '--mixed_precision', 'no', '--dynamo_backend', 'no', '--main_process_port', 0, '--no_python', *call]

def finished(call, env, folder, timeout=120):
    "Run it to its end: what it wrote."
    with running(call, env, folder) as process:
        code = process.wait(timeout=timeout)
        return SimpleNamespace(code=code, out=process.out(), err=process.err())

def same_curve(folder, other, relative=1e-5):
    "Every step once, and the losses of every step alike."
    ours, theirs = losses(folder), losses(other)
    assert [h['step'] for h in ours] == [h['step'] for h in theirs] == [*range(1, len(ours) + 1)]
    for a, b in zip(ours, theirs):
        assert a.keys() == b.keys()
        for k in a.keys() & {'loss', 'test_loss'}: assert a[k] == pytest.approx(b[k], rel=relative), (a, b)

def names(folder): return sorted(str(f.relative_to(folder)) for f in folder.rglob('*') if f.is_file())

@pytest.mark.parametrize('launch', [torchrun, accelerate], ids=lambda f: f.__name__)
def test_two_processes_are_one(mingpt, alone, speech, whole, tmp_path, launch, request):
    "The same curve, the same files, every line once."
    if launch is accelerate and not request.config.getoption('--slow'): pytest.skip('with --slow')
    done = finished(launch(2, mingpt.python.parent/'mingpt', 'shakespeare', '--text', speech, '--out', tmp_path/'model', '--max-steps', STEPS, *SMALL), alone, tmp_path)
    assert done.code == 0, done.err
    same_curve(tmp_path/'model', whole.folder)
    assert names(tmp_path/'model') == names(whole.folder)
    def shown(out): return [re.sub(r'[\d.]+', '#', l) for l in out.split('held-out loss')[0].splitlines() if ':' in l]
    assert shown(done.out) == shown(whole.out) and done.out.count('held-out loss') == done.out.count('The model is in') == 1
    assert abs(float(held_out(done.out)) - float(held_out(whole.out))) < 2e-4
    assert done.err.count(f' 0/{STEPS} ') == 1 # one progress bar

@pytest.mark.parametrize('n', [2, 3])
def test_300_steps(mingpt, alone, tmp_path, n, request):
    "Of `mingpt train` too, with the model copied and spread."
    if not request.config.getoption('--slow'): pytest.skip('with --slow')
    (tmp_path/'text.txt').write_text(SPEECH * 100)
    call = [mingpt.python.parent/'mingpt', 'train', '--text', tmp_path/'text.txt', '--max-steps', 300, *SMALL, '--optimizer', 'adamw']
    one = finished([*call, '--out', tmp_path/'one'], alone, tmp_path)
    assert one.code == 0, one.err
    for more in [], ['--shard']:
        many = finished(torchrun(n, *call, '--out', tmp_path/f'many{len(more)}', *more), alone, tmp_path, timeout=300)
        assert many.code == 0, many.err
        same_curve(tmp_path/f'many{len(more)}', tmp_path/'one')

def test_one_of_two_dies(mingpt, alone, stopped, whole, tmp_path):
    "Two go on from a checkpoint of one. One of them is killed: the launch ends, and a line says what happened. One goes on from the checkpoint of the two."
    folder = shutil.copytree(stopped.copy, tmp_path/'model')
    before = read_checkpoint(folder)[1]['step']
    with running(torchrun(2, mingpt.python.parent/'mingpt', 'shakespeare', '--resume', folder), alone, tmp_path) as process:
        until(lambda: lines(folder) >= before + 25, lambda: process.poll() is None)
        [victim] = [pid for pid in family(process.pid) if b'\0RANK=1\0' in Path(f'/proc/{pid}/environ').read_bytes()]
        os.kill(victim, signal.SIGKILL)
        assert process.wait(timeout=60) != 0
    assert re.search(fr'Signal 9 \(SIGKILL\) received by PID {victim}', process.err()), process.err()
    assert before < read_checkpoint(folder)[1]['step'] < STEPS
    assert command('shakespeare', '--resume', folder) == 0
    same_curve(folder, whole.folder)

def exact(out):
    "Train in float64 in all processes, with the model copied and, where there are several, spread; for each, its losses and weights into files."
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    from mingpt_nb.scale import DistributedBestWeights, DistributedTrainer
    for shard in (False, True) if 'RANK' in os.environ else (False,):
        trainer = make(None, dropout=0., learning_rate=3e-3, steps=24, kind=DistributedTrainer, keeps=DistributedBestWeights, more=dict(shard=shard))
        kind = type(next(trainer.model.parameters())).__name__
        reduce, sums = trainer.accelerator.reduce, []
        trainer.accelerator.reduce = lambda *args, **keys: sums.append(1) or reduce(*args, **keys)
        trainer.train()
        losses = [h['test_loss'] for h in trainer.history if 'test_loss' in h]
        assert len(sums) == 24 + len(losses), 'more than one sum over the processes in a step or an evaluation'
        weights = tensors(trainer)
        assert (trainer.best.weights is None) == (trainer.rank > 0), 'one process keeps the best weights'
        trainer.best.load(trainer) # all get them
        assert trainer.evaluate() == pytest.approx(min(losses), rel=1e-12)
        if not trainer.rank: torch.save((kind, trainer.history, weights), Path(out)/f'{shard}.pt')

@pytest.mark.parametrize('n', [2, 3])
def test_uneven_batches_in_float64(env, tmp_path, n, request):
    "13 examples on 2 processes, and 2 at the end of an epoch on 3: with the model copied or spread, all is as with one, to 1e-12."
    if n == 3 and not request.config.getoption('--slow'): pytest.skip('with --slow')
    try: exact(tmp_path)
    finally: torch.set_default_dtype(torch.float32)
    _, history, weights = torch.load(tmp_path/'False.pt')
    done = finished(torchrun(n, sys.executable, '-c', f'from test_resume import exact; exact({str(tmp_path)!r})'), env, tmp_path)
    assert done.code == 0, done.err
    for shard, kind in (False, 'Parameter'), (True, 'DTensor'):
        found, h, w = torch.load(tmp_path/f'{shard}.pt')
        assert found == kind and len(h) == len(history) == 24
        for k in 'loss', 'test_loss', 'lr', 'grad_norm': assert [r[k] for r in h if k in r] == pytest.approx([r[k] for r in history if k in r], rel=1e-12)
        for k, v in weights.items(): torch.testing.assert_close(w[k], v, rtol=1e-9, atol=1e-12)
        assert [r['tokens'] for r in h] == [r['tokens'] for r in history]
