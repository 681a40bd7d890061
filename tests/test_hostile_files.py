"Files that a stranger sends. Whatever is in them, the answer is one line that names the file, or they are read as they are; nothing else happens."
import copy, json, math, os, shutil, struct, sys, tempfile, time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from hypothesis import HealthCheck, given, settings, strategies as st

from mingpt_nb.checkpoint import Checkpoint, name_tensors
from mingpt_nb.data import RandomChunks, Windows
from mingpt_nb.adder import new_adder
from mingpt_nb.chat import add_marks, load_chat, save_marks
from mingpt_nb.cifar10 import Palette, load_palette, save_palette
from mingpt_nb.elsewhere import load_tokenizer, tokenizer_json
from mingpt_nb.files import file_digest as digest
from mingpt_nb.images import FORMATS, load_images
from mingpt_nb.model import GPT, GPTConfig, TRANSPOSED
from mingpt_nb.modern import ModernConfig, ModernGPT
from mingpt_nb.run import load_adder, save_adder, save_model
from mingpt_nb.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer
from mingpt_nb.trainer import BestWeights, Trainer, TrainerConfig

LETTERS = 'abcde'
SECONDS, BYTES = 10, 2**31 # that an answer may take


@pytest.fixture(scope='module', autouse=True)
def little_memory():
    "The process may grow by two gigabytes, no more: what asks for more fails here as it would bring a small machine down."
    if sys.platform != 'linux': yield; return
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path('/proc/self/statm').read_text().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

def many(request, n):
    "All examples in the slow tests, a share in the quick ones; the same ones each time."
    n = n if request.config.getoption('--slow') else max(2, n // 12)
    return settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


# What is good

def make(folder=None, optimizer='adamw'):
    "A trainer of four steps."
    ids = torch.randint(len(LETTERS), (400,), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = GPT(GPTConfig(len(LETTERS), 8, 1, 2, 8))
    config = TrainerConfig(max_epochs=4, max_steps=4, batch_size=4, eval_interval=2, optimizer=optimizer, progress=False)
    trainer = Trainer(model, RandomChunks(ids[:200], 8), Windows(ids[200:], 8), config, [best := BestWeights()])
    trainer.checkpoint = Checkpoint(folder or 'nowhere', best)
    if folder: trainer.callbacks.append(trainer.checkpoint)
    return trainer

class Stop:
    "Stops a run after two steps."
    def after_step(self, trainer): trainer.should_stop = trainer.step == 2

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "Folders that are as they should be: a model, tokenizers, and two runs that were stopped."
    temp = tmp_path_factory.mktemp('good')
    torch.manual_seed(0)
    model, tok = GPT(GPTConfig(len(LETTERS), 8, 1, 2, 8)), CharTokenizer(LETTERS)
    save_model(model, temp/'model', {'mingpt_tokenizer.json': tok.save})
    for name, tok in dict(char=tok, bytes=ByteTokenizer(), bpe=BPETokenizer.from_text('to be or not to be ' * 3, 5, ['<|end|>'])).items():
        (temp/name).mkdir()
        tok.save(temp/name/'mingpt_tokenizer.json')
        (temp/f'their {name}').mkdir()
        (temp/f'their {name}'/'tokenizer.json').write_text(json.dumps(tokenizer_json(tok)))
    ModernGPT(ModernConfig(len(LETTERS), 8, 1, 2, 8, n_kv_head=1)).save_pretrained(temp/'llama')
    talker, letters = add_marks(model, CharTokenizer(LETTERS))
    save_model(talker, temp/'talker', {'mingpt_tokenizer.json': letters.save, 'mingpt_chat.json': save_marks})
    adder, _, sums = new_adder(1, True, 1, 2, 8, 0)
    save_adder(adder, sums, temp/'adds')
    (temp/'paints').mkdir()
    save_palette(Palette([[0, 0, 0], [9, 9, 9], [255, 255, 255]]), temp/'paints')
    for optimizer in 'adamw', 'muon':
        trainer = make(temp/optimizer, optimizer)
        trainer.callbacks.insert(0, Stop())
        trainer.train()
    return temp

def sign(run, files=True):
    "Put the right SHA-256 of every file into trainer.json, and of that into latest, as an attacker would."
    latest = run/'checkpoints'/'latest'
    name = json.loads(latest.read_text())['checkpoint']
    at = run/'checkpoints'/name
    if files:
        about = json.loads((at/'trainer.json').read_text())
        about['files'] = {f: digest(at/f) for f in about['files']}
        about['best']['sha256'] = digest(at.parent/about['best']['file'])
        (at/'trainer.json').write_text(json.dumps(about))
    latest.write_text(json.dumps({'checkpoint': name, 'sha256': digest(at/'trainer.json')}))


# What is read

def read_model(folder):
    model = GPT.from_pretrained(folder)
    ids = model.generate(torch.zeros(1, 1, dtype=torch.int64), 10, do_sample=True)
    assert ids.max() < model.config.vocab_size and model(ids[:, :8])[0].isfinite().all()
    if os.path.lexists(folder/'mingpt_tokenizer.json'): read_tokenizer(folder)
    return model

def read_llama(folder):
    model = ModernGPT.from_pretrained(folder)
    ids = model.generate(torch.zeros(1, 1, dtype=torch.int64), 10, do_sample=True)
    assert ids.max() < model.config.vocab_size and model(ids[:, :8])[0].isfinite().all()
    return model

def read_tokenizer(folder):
    tok = load_tokenizer(folder)
    for i in {0, tok.vocab_size - 1}: tok.decode([i])
    tok.save(folder.parent/'again.json')
    again = Tokenizer.load(folder.parent/'again.json')
    (folder.parent/'again.json').unlink()
    text = getattr(tok, 'chars', 'to be')
    assert tok.decode(tok.encode(text)) == text and again.encode(text) == tok.encode(text)
    return tok

def read_run(folder):
    trainer = make(folder, folder.name)
    trainer.checkpoint.resume(trainer)
    return trainer

def tree(folder):
    "All files below, and what is in them."
    return {p: p.is_file() and p.stat().st_size < 10**7 and p.read_bytes() for p in folder.rglob('*')}

SAID = [] # what was answered

def answer(read, folder):
    "What was read, or None after one line that names a file in the folder; in time, and no file is another than before."
    before, began, result = tree(folder.parent), time.monotonic(), None
    try: result = read(folder)
    except (ValueError, OSError) as e:
        SAID.append(words := str(e))
        assert '\n' not in words and len(words) < 1000 and str(folder) in words, words[:2000]
    assert time.monotonic() - began < SECONDS
    assert tree(folder.parent) == before
    return result

def go_on(trainer):
    "A run that was resumed goes on to its end."
    if trainer is None: return
    assert trainer.step == 2
    trainer.train()
    assert trainer.step == 4 and all(math.isfinite(h['loss']) for h in trainer.history)
    plt.close(trainer.plot())

@pytest.fixture
def sandbox(good):
    "A function that copies a good folder to a place of its own, harms it and asks for the answer."
    def harmed(name, read, harm):
        with tempfile.TemporaryDirectory() as temp:
            folder = shutil.copytree(good/name, Path(temp)/name)
            harm(folder)
            result = answer(read, folder)
            if read is read_run: go_on(result)
            return result
    return harmed


@pytest.mark.parametrize('name, read', [('model', read_model), *((kind, read_tokenizer) for kind in ('char', 'bytes', 'bpe', 'their char', 'their bytes', 'their bpe')), ('adamw', read_run), ('muon', read_run)])
def test_what_is_good_is_read(sandbox, name, read): assert sandbox(name, read, lambda folder: None)


# JSON

def nested(n, inside=0): return [nested(n - 1, inside)] if n else inside

ODD = [-1, 0, 1, 2, 3, 5, 8, 2**31, 2**40, 2**63 - 1, 2**63, 2**64, 10**30, 10**300, 10**4000, 0.5, 1.5, 1e308, math.nan, math.inf, -math.inf,
       '', 'x', '\x00', '..', '../..', '/', '~', 'step-2', 'step-²', 'gelu', '\ud800', '\n', 'x' * 100_000, [], {}, [[]], {'': None}, [0] * 1000, nested(19), nested(500),
       [[116, 116], *([256 + i] * 2 for i in range(59))]]
VALUES = st.sampled_from(ODD) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.recursive(st.none() | st.integers(0, 9), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3), max_leaves=9)
SPOILT = { # the bytes of a file
    'empty': lambda b: b'', 'only a mark': lambda b: b'\xef\xbb\xbf', 'a mark in front': lambda b: b'\xef\xbb\xbf' + b, 'cut off': lambda b: b[:len(b) // 2], 'UTF-16': lambda b: b.decode().encode('utf-16'),
    'not UTF-8': lambda b: b + b'\xff', 'lists': lambda b: b'[' * 100_000 + b']' * 100_000, 'open lists': lambda b: b'[' * 100_000, 'dictionaries': lambda b: b'{"a":' * 100_000 + b'0' + b'}' * 100_000,
    'zeros': lambda b: bytes(len(b)), 'a long number': lambda b: b'9' * 5000, 'twice': lambda b: b + b}

@st.composite
def changed(draw, said):
    "JSON with one or two changes somewhere in it."
    said = copy.deepcopy(said)
    for _ in range(draw(st.integers(1, 2))):
        at, parent, key = said, None, None
        while isinstance(at, (dict, list)) and at and (parent is None or draw(st.integers(0, 3))):
            parent, key = at, draw(st.sampled_from([*at] if isinstance(at, dict) else range(min(len(at), 300))))
            at = parent[key]
        how = draw(st.sampled_from(['replace', 'replace', 'replace', 'remove', 'add']))
        if parent is None: return draw(VALUES)
        if how == 'remove': del parent[key]
        elif how == 'replace': parent[key] = draw(VALUES)
        elif isinstance(parent, dict): parent[draw(st.sampled_from(['type', 'chars', 'merges', 'special', 'block_size', 'n_inner', 'test_loss']) | st.text(max_size=5))] = draw(VALUES)
        else: parent.append(draw(VALUES))
    return said

def text(said): return json.dumps(said).encode()

JSONS = [('model', 'config.json', read_model), ('model', 'mingpt_tokenizer.json', read_model), ('char', 'mingpt_tokenizer.json', read_tokenizer), ('bytes', 'mingpt_tokenizer.json', read_tokenizer),
         ('bpe', 'mingpt_tokenizer.json', read_tokenizer), ('their char', 'tokenizer.json', read_tokenizer), ('their bytes', 'tokenizer.json', read_tokenizer),
         ('their bpe', 'tokenizer.json', read_tokenizer), ('llama', 'config.json', read_llama), ('talker', 'mingpt_chat.json', load_chat), ('adds', 'mingpt_adder.json', load_adder),
         ('paints', 'mingpt_palette.json', load_palette), ('adamw', 'checkpoints/latest', read_run), ('adamw', 'checkpoints/step-2/trainer.json', read_run), ('muon', 'checkpoints/step-2/trainer.json', read_run),
         ('adamw', 'checkpoints/step-2/history.jsonl', read_run)]

def put(file, content, run):
    "Put bytes into a file, and sign what has to be signed."
    file.write_bytes(content)
    if run and file.name != 'latest': sign(file.parent.parent.parent, file.name != 'trainer.json')

@st.composite
def json_file(draw, content, lines):
    if lines: return b'\n'.join(map(text, draw(changed([json.loads(line) for line in content.splitlines()]).filter(lambda x: isinstance(x, list)))))
    return text(draw(changed(json.loads(content))))

def test_json(good, sandbox, request):
    "300 files of JSON in which something is changed."
    accepted = []
    for name, file, read in JSONS:
        @many(request, 34)
        @given(json_file((good/name/file).read_bytes(), file.endswith('jsonl')))
        def check(content): accepted.append(sandbox(name, read, lambda folder: put(folder/file, content, read is read_run)) is not None)
        check()
    print(f'{sum(accepted)} of {len(accepted)} files were accepted')
    if request.config.getoption('--slow'): assert len(accepted) >= 300 and sum(accepted) > 10

@pytest.mark.parametrize('how', SPOILT)
@pytest.mark.parametrize('name, file, read', JSONS, ids=[f'{name}-{Path(file).name}' for name, file, _ in JSONS])
def test_a_file_of_json_that_is_spoilt(good, sandbox, name, file, read, how):
    assert sandbox(name, read, lambda folder: put(folder/file, SPOILT[how]((folder/file).read_bytes()), read is read_run)) is None


# Pictures

@pytest.fixture(scope='module')
def photos(good):
    "The same picture in every format that Pillow writes here, each in a folder of its own."
    rng, ends = np.random.default_rng(0), {}
    picture = Image.fromarray(rng.integers(256, size=(30, 40, 3), dtype=np.uint8))
    for end, kind in sorted(Image.registered_extensions().items()):
        if kind in FORMATS and kind in Image.SAVE: ends.setdefault(kind, end)
    for kind, end in ends.items():
        (good/kind).mkdir()
        picture.save(good/kind/f'1{end}')
    return {kind: f'1{end}' for kind, end in ends.items()}

@st.composite
def scratched(draw, content):
    "Bytes of a file, with a few put elsewhere, and cut off or not."
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at, new = draw(st.integers(0, len(content) - 1)), draw(st.binary(min_size=1, max_size=8))
        content[at:at + len(new)] = new
    return bytes(content[:draw(st.integers(1, len(content)))] if draw(st.booleans()) else content)

def test_pictures(good, photos, sandbox, request):
    "1,000 pictures in which something is changed."
    accepted = []
    for kind, name in photos.items():
        @many(request, 80)
        @given(scratched((good/kind/name).read_bytes()))
        def check(content):
            read = sandbox(kind, lambda folder: load_images(folder, 8), lambda folder: (folder/name).write_bytes(content))
            if read is not None: assert read[0].shape == (1, 8, 8, 3) and read[0].dtype == torch.uint8
            accepted.append(read is not None)
        check()
    print(f'{sum(accepted)} of {len(accepted)} pictures were accepted')
    assert len(photos) > 8 and 0 < sum(accepted) < len(accepted)


# Tensors

SIZES = dict(F64=8, F32=4, F16=2, BF16=2, I64=8, I32=4, I16=2, I8=1, U64=8, U32=4, U16=2, U8=1, BOOL=1, C64=8, F8_E4M3=1, F8_E5M2=1, F8_E8M0=1, F4=.5, X9=4)
TYPES = dict(F64=torch.float64, F32=torch.float32, F16=torch.float16, BF16=torch.bfloat16)

def unpack(content):
    "Name to type, shape and bytes; and the words about them."
    length = struct.unpack('<Q', content[:8])[0]
    head = json.loads(content[8:8 + length])
    about = head.pop('__metadata__', None)
    return {k: [t['dtype'], t['shape'], content[8 + length:][slice(*t['data_offsets'])]] for k, t in head.items()}, about

def pack(tensors, about, spoil=lambda head: head):
    head, data = {'__metadata__': about} if about else {}, b''
    for k, (dtype, shape, content) in tensors.items():
        head[k] = dict(dtype=dtype, shape=shape, data_offsets=[len(data), len(data) + len(content)])
        data += content
    head = text(spoil(head))
    return struct.pack('<Q', len(head)) + head + data

def numbers(value, dtype, n):
    "n times a number, as bytes of a type."
    if dtype in TYPES: return torch.full((n,), value, dtype=torch.float64).to(TYPES[dtype]).view(torch.uint8).numpy().tobytes()
    return bytes([1]) * int(n * SIZES[dtype])

NUMBERS = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e300, 2e6, -1., 0., 1e-45, 1e-300, 1.]
HEADS = { # the list of names
    'a list': lambda h: [h], 'no shape': lambda h: {k: {'dtype': 'F32'} for k in h}, 'half a character': lambda h: h | {'\ud800': 5}, 'deep': lambda h: h | {'x': nested(400)},
    'words that are none': lambda h: h | {'__metadata__': {'fingerprint': 5}}, 'overlap': lambda h: {k: v | {'data_offsets': [0, v['data_offsets'][1] - v['data_offsets'][0]]} if k[0] != '_' else v for k, v in h.items()}}
WHOLE = {'cut off': lambda b: b[:-3], 'more': lambda b: b + b'xyz', 'empty': lambda b: b'', 'a length alone': lambda b: b[:8], 'a head that does not end': lambda b: struct.pack('<Q', 2**63) + b[8:],
         'a head of 90 MB': lambda b: struct.pack('<Q', 90_000_000) + b[8:].ljust(90_000_000), 'zeros': lambda b: bytes(len(b)), 'a pickle': lambda b: b'\x80\x04cos\nsystem\n.', 'a head of brackets': lambda b: struct.pack('<Q', 100_000) + b'[' * 100_000}

@st.composite
def tensor_file(draw, content):
    "What it should hold, if that can be said, and its bytes."
    tensors, about = unpack(content)
    how = draw(st.integers(2, 9))
    if how == 2:
        at = draw(st.integers(0, len(content) - 1))
        return None, content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1:]
    if how == 3: return None, pack(tensors, about, lambda head: draw(changed(head)))
    key = draw(st.sampled_from([*tensors]))
    dtype, shape, data = tensors[key]
    n = math.prod(shape)
    if how == 4: # a name
        new = draw(st.sampled_from(['', 'x', 'x' * 10_000, key + '.x', key.partition('.')[2] or 'y', *(f'{kind}.{key.partition(".")[2]}' for kind in ('model', 'exp_avg', 'exp_avg_sq', 'step', 'momentum_buffer')), 'transformer.h.0.attn.bias', 'lm_head.weight']))
        if draw(st.booleans()): del tensors[key]
        tensors[new] = [dtype, shape, data]
    elif how == 5: del tensors[key]
    elif how == 6: # a shape
        new = draw(st.sampled_from([[n], shape[::-1], [1, *shape], [*shape, 1], [], [0], [0, 2**62], [2, 2], [2**62, 4], [2**40] * 4, [1] * 200]))
        tensors[key] = [dtype, new, data[:4] if new == [] else numbers(0., dtype, math.prod(new)) if math.prod(new) < 100 and math.prod(new) != n else data]
    elif how == 7: # a type
        new = draw(st.sampled_from([*SIZES]))
        tensors[key] = [new, shape, numbers(draw(st.sampled_from(NUMBERS)), new, n)]
    else: # numbers
        value, keys = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from([[key], [*tensors]]))
        new = draw(st.sampled_from(['F32', 'F32', 'F64', 'F16', 'BF16']))
        for k in keys:
            n, one = math.prod(tensors[k][1]), draw(st.booleans()) and new == 'F32'
            content = numbers(value, new, n)
            tensors[k] = [new, tensors[k][1], content[:4] + tensors[k][2][4:] if one else content]
    return tensors, pack(tensors, about)

TENSORS = [('model', 'model.safetensors', read_model)] + [(kind, 'checkpoints/step-2/tensors.safetensors', read_run) for kind in ('adamw', 'muon')]

def check_values(result, tensors):
    "What was accepted are the numbers of the file."
    if isinstance(result, GPT): have = {k: w.T if k.endswith(TRANSPOSED) else w for k, w in result.state_dict().items()}
    else: have = result
    for k, (dtype, shape, data) in tensors.items():
        if k.endswith('.attn.bias'): continue # a mask of old files
        want = torch.frombuffer(bytearray(data), dtype=TYPES[dtype]).reshape(shape).float()
        assert torch.equal(have[k], want), k

def test_tensors(good, sandbox, request):
    "300 files of tensors in which something is changed."
    accepted = []
    for name, file, read in TENSORS:
        @many(request, 100)
        @given(tensor_file((good/name/file).read_bytes()))
        def check(made):
            tensors, content = made
            def look(folder):
                result = read(folder)
                if tensors: check_values(result if isinstance(result, GPT) else name_tensors(result, result.state_dict()), tensors)
                return result
            with tempfile.TemporaryDirectory() as temp:
                folder = shutil.copytree(good/name, Path(temp)/name)
                put(folder/file, content, read is read_run)
                result = answer(look, folder)
                accepted.append(result is not None)
                if read is read_run and result and all(w.abs().max() < 10 for w in name_tensors(result, result.state_dict()).values()): go_on(result)
        check()
    print(f'{sum(accepted)} of {len(accepted)} files were accepted')
    if request.config.getoption('--slow'): assert len(accepted) >= 300 and sum(accepted) > 10

@pytest.mark.parametrize('how', [*WHOLE, *HEADS])
def test_a_file_of_tensors_that_is_spoilt(good, sandbox, how):
    for name, file, read in TENSORS:
        content = (good/name/file).read_bytes()
        new = WHOLE[how](content) if how in WHOLE else pack(*unpack(content), HEADS[how])
        assert sandbox(name, read, lambda folder: put(folder/file, new, read is read_run)) is None


# One by one, what once went wrong

def edit(file, change, run=False):
    "Change what a JSON file says."
    put(file, text(change(json.loads(file.read_bytes()))), run)

@pytest.mark.parametrize('change, words', [(dict(n_embd=2**40), 'n_embd=1099511627776 make 1.45e+25 parameters, which take 5.80e+25 bytes; this machine has'), (dict(n_positions=2**63), 'block_size=9223372036854775808'),
    (dict(vocab_size=10**30), 'vocab_size=1000000000000000000000000000000'), (dict(n_layer=100_000), 'n_layer=100000')])
def test_a_size_that_cannot_be(sandbox, change, words):
    assert sandbox('model', read_model, lambda folder: edit(folder/'config.json', lambda c: c | change)) is None
    assert words in SAID[-1] and 'config.json' in SAID[-1]

def test_a_tokenizer_that_explodes(sandbox):
    doubling = [[116, 116], *([256 + i] * 2 for i in range(59))]
    assert sandbox('bpe', read_tokenizer, lambda folder: edit(folder/'mingpt_tokenizer.json', lambda t: t | dict(merges=doubling))) is None
    assert 'merge 16 makes a token of 131,072 bytes' in SAID[-1]

def test_an_alphabet_that_ends_with_a_repetition(sandbox):
    letters = ''.join(map(chr, range(0x10000, 0x60000)))
    assert sandbox('char', read_tokenizer, lambda folder: edit(folder/'mingpt_tokenizer.json', lambda t: t | dict(chars=letters + letters[-1]))) is None

@pytest.mark.parametrize('dtype, value, whole, words', [('F8_E4M3', 0, True, 'float8_e4m3fn'), ('I64', 0, True, 'int64'), ('F32', 3e38, True, 'beyond a million: 3e+38'), ('F64', 1e300, False, 'beyond a million: 1e+300'), ('F32', math.nan, False, 'not finite'), ('F16', math.inf, True, 'beyond a million: inf')])
def test_weights_that_cannot_be(good, sandbox, dtype, value, whole, words):
    tensors, about = unpack((good/'model'/'model.safetensors').read_bytes())
    for k, (_, shape, _) in tensors.items() if whole else [('transformer.wpe.weight', tensors['transformer.wpe.weight'])]:
        n = math.prod(shape)
        tensors[k] = [dtype, shape, numbers(value, dtype, 1) + numbers(0. if not whole else value, dtype, n - 1)]
    assert sandbox('model', read_model, lambda folder: (folder/'model.safetensors').write_bytes(pack(tensors, about))) is None
    assert words in SAID[-1]

def test_a_step_without_end(sandbox):
    "A list of all steps up to this one would not fit into memory."
    def harm(run):
        at = (run/'checkpoints'/'step-2').rename(run/'checkpoints'/'step-1000000000000')
        (run/'checkpoints'/'latest').write_text(json.dumps({'checkpoint': at.name, 'sha256': ''}))
        edit(at/'trainer.json', lambda a: a | dict(step=10**12, total_steps=10**12, best=a['best'] | dict(file=f'{at.name}/tensors.safetensors')), True)
    assert sandbox('adamw', read_run, harm) is None
    assert 'holds no history of 1000000000000 steps: it has 2 lines' in SAID[-1]

@pytest.mark.parametrize('change', [lambda h: {k: v for k, v in h.items() if k != 'loss'}, lambda h: h | {'lr': 10**400}, lambda h: h | {'test_loss': 'low'}])
def test_a_history_that_cannot_be_drawn(sandbox, change):
    def harm(run):
        file = run/'checkpoints'/'step-2'/'history.jsonl'
        put(file, b'\n'.join(text(change(json.loads(line))) for line in file.read_bytes().splitlines()), True)
    assert sandbox('adamw', read_run, harm) is None

@pytest.mark.parametrize('name, kinds', [('adamw', {'exp_avg': 'momentum_buffer', 'exp_avg_sq': '', 'step': ''}), ('muon', {'momentum_buffer': 'exp_avg'})])
def test_what_another_optimizer_keeps(good, sandbox, name, kinds):
    file = 'checkpoints/step-2/tensors.safetensors'
    tensors, about = unpack((good/name/file).read_bytes())
    new = {k: v for k, v in tensors.items() if k.partition('.')[0] not in kinds}
    for k, v in tensors.items():
        kind, _, weight = k.partition('.')
        if kinds.get(kind): new[f'{kinds[kind]}.{weight}'] = v
        if kinds.get(kind) == 'exp_avg': new |= {f'exp_avg_sq.{weight}': v[:2] + [bytes(len(v[2]))], f'step.{weight}': ['F32', [], bytes(4)]}
    assert sandbox(name, read_run, lambda run: put(run/file, pack(new, about), True)) is None
    assert 'that is not what its optimizer keeps' in SAID[-1]

@pytest.mark.parametrize('content', ['{"checkpoint": 5, "sha256": "x"}', '[' * 100_000, '{"checkpoint": "\\u0000", "sha256": ""}'])
def test_a_new_run_where_a_strange_one_lies(good, tmp_path, content):
    run = shutil.copytree(good/'adamw', tmp_path/'adamw')
    (run/'checkpoints'/'latest').write_text(content)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match='holds a run that stopped at step'): make(run).train()
    assert tree(tmp_path) == before

def test_strange_checkpoints_beside_a_good_one(sandbox):
    def harm(run):
        (run/'checkpoints'/'step-²').mkdir()
        (run/'checkpoints'/'step-0'/'trainer.json').write_bytes(SPOILT['lists'](b''))
        (run/'checkpoints'/'step-1').mkdir()
    assert sandbox('adamw', read_run, harm)

posix = pytest.mark.skipif(os.name == 'nt', reason='Windows has no pipes with names, and links for few')

@posix
@pytest.mark.parametrize('how', ['a pipe', 'a device', 'a folder', 'a link to itself'])
@pytest.mark.parametrize('name, file, read', [*JSONS, *TENSORS], ids=[f'{name}-{Path(file).name}' for name, file, _ in [*JSONS, *TENSORS]])
def test_no_ordinary_file(sandbox, name, file, read, how):
    def harm(folder):
        (folder/file).unlink()
        if how == 'a pipe': os.mkfifo(folder/file)
        elif how == 'a folder': (folder/file).mkdir()
        else: (folder/file).symlink_to('/dev/zero' if how == 'a device' else folder/file)
    assert sandbox(name, read, harm) is None

@posix
@pytest.mark.parametrize('link', ['checkpoints', 'checkpoints/lock', 'history.jsonl', 'checkpoints/.new-1', 'checkpoints/step-4.part', 'checkpoints/step-3'])
def test_a_link_does_not_lead_out(good, tmp_path, link):
    "What a run writes or clears away is its own: a stranger's folder may hold links to yours."
    yours = shutil.copytree(good/'muon', tmp_path/'yours')
    shutil.copytree(yours/'checkpoints'/'step-2', yours/'checkpoints'/'step-4') # a checkpoint that is further on than the run
    run = shutil.copytree(good/'adamw', tmp_path/'adamw')
    trainer = make(run)
    trainer.checkpoint.resume(trainer)
    if link == 'checkpoints': shutil.rmtree(run/link)
    else: (run/link).unlink(missing_ok=True)
    target = {'checkpoints': yours/'checkpoints', 'checkpoints/lock': yours/'history.jsonl', 'checkpoints/step-3': yours}.get(link, yours/'history.jsonl')
    (run/link).symlink_to(target)
    before = tree(yours)
    try: trainer.train()
    except (ValueError, OSError) as e: assert str(run) in str(e)
    assert tree(yours) == before

def test_what_may_be_otherwise(sandbox):
    "A callback has put a word of its own into the history; and fp16, which has a scale to keep, begins half-way."
    def harm(run):
        file = run/'checkpoints'/'step-2'/'history.jsonl'
        put(file, b'\n'.join(text(json.loads(line) | dict(mood='good', grad_norm=None)) for line in file.read_bytes().splitlines()), True)
    def read(run):
        trainer = make(run)
        trainer.scaler = torch.amp.GradScaler('cpu')
        trainer.checkpoint.resume(trainer)
        assert trainer.history[0]['mood'] == 'good' and trainer.scaler.state_dict()['scale'] == 65536
        return trainer
    assert sandbox('adamw', read, harm)
