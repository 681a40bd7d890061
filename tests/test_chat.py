"What the notebooks can't hold of a talk: the command in a process of its own, with a pipe for a person."
import json, random, subprocess

import pytest
from test_command import complains

KNOWN = [('Ann', 'a friend'), ('Bob', 'no one'), ('Cat', 'a king')]
LINES = [json.dumps({'messages': [{'role': 'user', 'content': f'Who is {name}?'}, {'role': 'assistant', 'content': said}]})
         for name, said in random.Random(0).choices(KNOWN, k=200)] # in every order

@pytest.fixture(scope='module')
def talker(mingpt, tmp_path_factory):
    "A model of 64 characters, trained a little, then tuned until it knows three answers by heart."
    temp = tmp_path_factory.mktemp('talk')
    (temp/'text.txt').write_text('Who is Ann? Bob is a friend, Cat no king, and no one else.\n' * 40, encoding='utf-8')
    (temp/'talk.jsonl').write_text('\n'.join(LINES), encoding='utf-8')
    small = '--n-layer', 1, '--n-embd', 32, '--max-steps', 20
    done = mingpt('train', '--text', temp/'text.txt', '--out', temp/'base', *small)
    assert done.code == 0, done.err
    done = mingpt('train', '--init', temp/'base', '--chat', temp/'talk.jsonl', '--out', temp/'tuned', '--learning-rate', 0.02, '--max-steps', 100)
    assert done.code == 0 and f'mingpt chat --model {temp/"tuned"}' in done.out, done.err
    return temp

@pytest.fixture
def talk(mingpt, talker):
    "A process that waits for questions."
    call = [mingpt.python, '-c', 'from mingpt_nb.cli import program; program()', 'chat', '--model', talker/'tuned', '--greedy']
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with subprocess.Popen(call, cwd=talker, env=mingpt.env | {'PYTHONIOENCODING': 'utf-8'}, **pipes) as process:
        yield process
        process.kill()

def tell(process, words):
    process.stdin.write(words.encode() + b'\n')
    process.stdin.flush()

def hear(process, end='> '):
    "What comes up to the next prompt, while the process lives."
    said = b''
    while not said.endswith(end.encode()):
        new = process.stdout.read(1)
        assert new, (said, process.stderr.read())
        said += new
    return said.decode()[:-len(end)]

def test_a_talk(talk):
    "Answers come before the end of input; the oldest turns go, whole; a mistake ends nothing; exit ends."
    assert hear(talk) == ''
    for question, answer in [('Who is Ann?', 'a friend\n'), ('Who is Bob?', 'no one\n'), ('Who is Cat?', '(1 turns no longer fit)\na king\n')]:
        tell(talk, question)
        assert hear(talk) == answer
    for bad in 'Who is Zoë?', 'Who is Ann?¶', 'Ann ' * 20, '':
        tell(talk, bad)
        assert hear(talk) == ''
    tell(talk, 'Who is Ann?')
    assert hear(talk).endswith('a friend\n')
    tell(talk, 'exit')
    assert talk.wait(20) == 0
    errors = talk.stderr.read().decode().splitlines()
    assert [e.startswith('mingpt: ') for e in errors] == [True] * 3 and "'Z' (U+005A) at position 7" in errors[0] and 'mark ¶' in errors[1] and 'there is room for 48' in errors[2], errors

def test_ctrl_d(talk):
    hear(talk)
    talk.stdin.close()
    assert (talk.wait(20), talk.stdout.read(), talk.stderr.read()) == (0, b'\n', b'')

def test_no_talker(mingpt, talker, tmp_path):
    complains(mingpt('chat', '--model', talker/'base'), 'mingpt_chat.json', talker/'base')
    complains(mingpt('chat', '--model', tmp_path), 'mingpt_chat.json')
    complains(mingpt('chat', '--model', talker/'tuned', '--temperature', 0), 'temperature=0.0')

def test_bad_conversations(mingpt, talker, tmp_path):
    (tmp_path/'bad.jsonl').write_text('\n'.join([*LINES[:3], '{"messages": 3}']), encoding='utf-8')
    complains(mingpt('train', '--init', talker/'base', '--chat', tmp_path/'bad.jsonl', '--out', tmp_path/'out'), 'bad.jsonl, line 4,')
    complains(mingpt('train', '--chat', talker/'talk.jsonl', '--out', tmp_path/'out'), 'chat needs a model in init')
    assert not (tmp_path/'out').exists()
