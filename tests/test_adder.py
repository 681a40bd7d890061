"What the notebook on sums can't hold: its splits, made in other processes, and the command."
import re, signal, subprocess, sys

import pytest
from test_command import complains, read_until

SPLITS = """
import hashlib
from mingpt_nb.adder import Sorting, Sums
splits = [Sums(n, 'test').pairs for n in (1, 2, 3)] + [Sorting(split='test').rows]
print([hashlib.sha256(str(s.tolist()).encode()).hexdigest() for s in splits])
"""

def test_splits_are_the_same_in_every_process(repo, quiet_env):
    "Whatever salt Python's own hashes have."
    def splits(salt):
        env = quiet_env | {'PYTHONHASHSEED': salt, 'PYTHONPATH': str(repo)}
        done = subprocess.run([sys.executable, '-c', SPLITS], cwd=repo, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
    assert splits('1') == splits('2')


@pytest.fixture(scope='session')
def taught(mingpt, tmp_path_factory):
    "A model of two digits after a short training: its folder, and what the command printed."
    out = tmp_path_factory.mktemp('taught')/'a model'
    done = mingpt('adder', '--ndigit', 2, '--out', out, '--n-layer', 1, '--n-embd', 32, '--max-steps', 30)
    assert done.code == 0, done.err
    done.folder = out
    return done

def test_training_ends_with_an_exam(taught):
    assert {'checkpoints', 'history.jsonl', 'config.json', 'generation_config.json', 'model.safetensors', 'mingpt_adder.json', 'loss.png', 'tokenizer.json', 'tokenizer_config.json'} == {p.name for p in taught.folder.iterdir()}
    assert '9,000 sums to learn from, 1,000 held out' in taught.out
    score = int(re.search(r'^(\d+)/1000 right$', taught.out, re.M)[1])
    mistakes = re.findall(r'^(\d+) \+ (\d+) = (\d+), right is (\d+)$', taught.out, re.M)
    assert len(mistakes) == 1000 - score > 0
    assert all(int(a) + int(b) == int(right) != int(said) for a, b, said, right in mistakes)

def test_it_answers(mingpt, taught):
    done = mingpt('adder', '--model', taught.folder, '85+50')
    assert (done.code, done.err) == (0, '')
    said = re.fullmatch(r'85 \+ 50 = (\d+)( \(wrong: it is 135\))?\n', done.out)
    assert said and (said[1] == '135') == (said[2] is None), done.out

@pytest.mark.parametrize('question', ['85*50', 'abc', '85+', '1+2+3', '123+4'])
def test_no_sum(mingpt, taught, question): complains(mingpt('adder', '--model', taught.folder, question), question)

@pytest.mark.parametrize('args, word', [(['--ndigit', 0], 'ndigit=0'), (['--ndigit', 12], 'ndigit=12'), (['--max-steps', 0], 'max_steps=0'), (['--n-head', 3], 'n_head=3')], ids=lambda p: ' '.join(map(str, p)) if isinstance(p, list) else '')
def test_bad_options(mingpt, tmp_path, args, word):
    complains(mingpt('adder', '--out', tmp_path/'out', *args), word)
    assert not (tmp_path/'out'/'model.safetensors').exists()

def test_no_adder(mingpt, taught, tmp_path):
    complains(mingpt('adder', '--model', tmp_path, '1+1'), 'mingpt_adder.json', tmp_path)
    complains(mingpt('sample', '--model', taught.folder), 'a model that adds: mingpt adder --model')

def test_interrupt_keeps_the_model(mingpt, tmp_path):
    "Ctrl-C in mid-training: the model is saved, sits its exam, and answers."
    process = mingpt.start('adder', '--out', tmp_path/'model', '--n-layer', 1, '--n-embd', 32, '--max-steps', 1_000_000)
    try:
        got, _ = read_until(process, rb'step +50:')
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=90)
    finally: process.kill()
    assert code == 0 and b'Traceback' not in got, got.decode()
    assert mingpt('adder', '--model', tmp_path/'model', '85+50').out.startswith('85 + 50 = ')
