"Pictures: our k-means beside scikit-learn's, memory, the command, and data that is not what it should be."
import os, re, subprocess, sys

import numpy as np, pytest, torch
from PIL import Image
from mingpt_nb.cifar10 import cifar10_folder, kmeans, load_cifar10, nearest_colour
from test_command import complains


def scene(rng, label):
    "A picture of 32 × 32: a sky, a ground, and a block whose colour tells the class."
    p = np.empty((32, 32, 3))
    p[:] = rng.uniform(100, 255, 3)
    p[rng.integers(10, 24):] = rng.uniform(0, 160, 3)
    y, x = rng.integers(4, 20, 2)
    p[y:y + 9, x:x + 9] = [25 * label, 250 - 25 * label, 128]
    return (p + rng.normal(0, 6, p.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    "A folder of data in CIFAR-10's binary layout, but with pictures of our own."
    folder = tmp_path_factory.mktemp('data')/'cifar-10-batches-bin'
    folder.mkdir()
    rng = np.random.default_rng(0)
    few = [(label, scene(rng, label)) for label in list(range(10)) * 20]
    records = np.stack([np.concatenate([[label], p.transpose(2, 0, 1).reshape(-1)]) for label, p in few]).astype(np.uint8)
    for name in 'data_batch_1.bin', 'test_batch.bin': (folder/name).write_bytes(np.tile(records, (50, 1)).tobytes())
    return folder.parent


@pytest.fixture(scope='session')
def pixels():
    "250,000 pixels: of CIFAR-10 if it is here, else of noise in three sizes."
    g = torch.Generator().manual_seed(0)
    try: every = load_cifar10()[0].reshape(-1, 3)
    except OSError: every = (torch.rand(300_000, 3, generator=g)**2 * 256).byte()
    return every[torch.randint(len(every), (250_000,), generator=g)].float()


@pytest.mark.parametrize('n', [60_000, pytest.param(250_000, id='all')])
def test_kmeans_is_as_good_as_scikit_learns(pixels, n, request):
    "At most 5 % above its error, on the same pixels."
    if n > 100_000 and not request.config.getoption('--slow'): pytest.skip('takes half a minute: --slow runs it')
    cluster = pytest.importorskip('sklearn.cluster')
    p = pixels[:n]
    theirs = cluster.KMeans(512, random_state=0).fit(p.numpy())
    ours = kmeans(p)
    error = (p - ours[nearest_colour(p, ours)]).square().sum(1).mean().item()
    print(f'{n:,} pixels: ours {error:.2f}, scikit-learn {theirs.inertia_ / n:.2f}, ratio {error * n / theirs.inertia_:.3f}')
    assert error < 1.05 * theirs.inertia_ / n


def test_memory_of_the_palette(quiet_env):
    "k-means on 300,000 pixels, and a million encoded, in far less than a broadcast would take (1.8 and 6 GB)."
    code = '''
import resource, torch
from mingpt_nb.cifar10 import Palette, kmeans
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
p = torch.randint(256, (300_000, 3), dtype=torch.uint8)
Palette(kmeans(p, 512, steps=1)).encode(torch.randint(256, (1_000, 32, 32, 3), dtype=torch.uint8))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)
'''
    done = subprocess.run([sys.executable, '-c', code], env=quiet_env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 600, f'{done.stdout} MB'


@pytest.fixture(scope='session')
def painter(mingpt, data, tmp_path_factory):
    "A small model of a few steps: its folder, and what the command printed."
    out = tmp_path_factory.mktemp('painter')/'a model'
    done = mingpt('cifar10', '--side', 8, '--out', out, '--n-colours', 32, '--n-layer', 1, '--n-embd', 32, '--max-steps', 40, '--eval-interval', 20,
                  '--n-test', 50, env={'MINGPT_NB_DATA': str(data)})
    assert done.code == 0, done.err
    done.folder = out
    return done

def test_training_writes_pictures(painter):
    assert {'checkpoints', 'history.jsonl', 'config.json', 'model.safetensors', 'mingpt_palette.json', 'samples.png', 'completions.png', 'loss.png'} == {p.name for p in painter.folder.iterdir()}
    assert '10,000 pictures of 8 × 8' in painter.out
    bits = float(re.search(r'held-out loss: ([\d.]+) bits a pixel, the best evaluation, over 50 test pictures', painter.out)[1])
    assert 0 < bits < 5 # what 32 colours would cost without a model
    assert Image.open(painter.folder/'samples.png').size == (498, 198)

def test_sample_paints(mingpt, painter, tmp_path):
    def paint(name, *args):
        done = mingpt('sample', '--model', painter.folder, '--png', tmp_path/name, *args)
        assert (done.code, done.err) == (0, ''), done.err
        return np.asarray(Image.open(tmp_path/name))
    a, b, c = paint('a.png', '--seed', 1), paint('b.png', '--seed', 1), paint('c.png', '--seed', 1, '--prompt', 'horse')
    assert (a == b).all() and (a != c).any()
    complains(mingpt('sample', '--model', painter.folder, '--png', tmp_path/'x.png', '--prompt', 'unicorn'), 'unicorn', 'horse')
    complains(mingpt('sample', '--model', painter.folder, '--png', tmp_path/'x.png', '--temperature', 0), 'temperature')
    complains(mingpt('sample', '--model', painter.folder, '--png', tmp_path/'nowhere'/'x.png'), 'nowhere')

def test_a_palette_of_another_model(mingpt, painter, tmp_path):
    for f in [f for f in painter.folder.iterdir() if f.is_file()]: (tmp_path/f.name).write_bytes(f.read_bytes())
    text = (tmp_path/'mingpt_palette.json').read_text()
    (tmp_path/'mingpt_palette.json').write_text(re.sub(r'"[0-9a-f]{6}", ', '', text, count=1))
    complains(mingpt('sample', '--model', tmp_path), 'palette', 42, 43)
    (tmp_path/'mingpt_palette.json').write_text(text[:30])
    complains(mingpt('sample', '--model', tmp_path), 'mingpt_palette.json')

def cut(path): path.write_bytes(path.read_bytes()[:3073 * 9999])
def alter(path): path.write_bytes(path.read_bytes()[:3073 * 5] + b'\xc8' + path.read_bytes()[3073 * 5 + 1:])

@pytest.mark.parametrize('harm, words', [(cut, ['data_batch_1.bin', 'cut off']), (alter, ['data_batch_1.bin', 'record 5', 200]), (os.remove, ['data_batch_1.bin'])], ids=['cut', 'altered', 'missing'])
def test_data_that_was_harmed(mingpt, data, tmp_path, harm, words):
    (tmp_path/'cifar-10-batches-bin').mkdir()
    for f in (data/'cifar-10-batches-bin').iterdir(): (tmp_path/'cifar-10-batches-bin'/f.name).write_bytes(f.read_bytes())
    harm(tmp_path/'cifar-10-batches-bin'/'data_batch_1.bin')
    complains(mingpt('cifar10', '--out', tmp_path/'out', env={'MINGPT_NB_DATA': str(tmp_path)}), *words)

def test_without_data_and_without_a_network(mingpt, tmp_path):
    env = {k: 'http://127.0.0.1:9' for k in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY')} | {'no_proxy': '', 'XDG_CACHE_HOME': str(tmp_path/'cache')}
    complains(mingpt('cifar10', '--out', tmp_path/'out', env=env), 'cifar-10-binary.tar.gz', tmp_path/'cache')

@pytest.mark.parametrize('args', [['--side', 12], ['--n-colours', 0], ['--n-test', 0], ['--n-head', 3]], ids=lambda args: ' '.join(map(str, args)))
def test_bad_options(mingpt, data, tmp_path, args):
    complains(mingpt('cifar10', '--out', tmp_path/'out', *args, env={'MINGPT_NB_DATA': str(data)}), args[0].strip('-').replace('-', '_'))
    assert not (tmp_path/'out').exists()
