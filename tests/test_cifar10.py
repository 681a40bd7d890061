"Pictures: our k-means beside scikit-learn's, memory, the command, and data that is not what it should be."
import os, re, shutil, subprocess, sys

import numpy as np, pytest, torch
from PIL import Image
from mingpt_nb.cifar10 import cifar10_folder, kmeans, load_cifar10, load_palette, nearest_colour
from mingpt_nb.images import load_images
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


# Pictures of one's own

@pytest.fixture(scope='session')
def album(tmp_path_factory):
    "400 scenes in two classes, in five formats and many sizes; some lie deeper, some in no class."
    folder, rng = tmp_path_factory.mktemp('album')/'my pictures', np.random.default_rng(1)
    for k in range(400):
        size, at = rng.integers(20, 300, 2), folder/['', 'cats', 'dogs', 'dogs/2019'][k % 4]
        at.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(rng, k % 4)).resize(size.tolist()).save(at/f'{k}.{["png", "jpg", "bmp", "tiff", "gif"][k % 5]}')
    return folder

SMALL = ['--side', 8, '--n-colours', 32, '--n-layer', 1, '--n-embd', 32, '--max-steps', 60, '--eval-interval', 20]

def test_own_pictures(mingpt, album, tmp_path):
    "Trained; opened again from another folder; painted by class."
    done = mingpt('cifar10', '--images', album.name, '--out', tmp_path/'out', *SMALL, '--max-steps', 20, cwd=album.parent)
    assert done.code == 0 and 'left out' not in done.err, done.err
    assert '360 pictures of 8 × 8 pixels in 2 classes' in done.out and 'over 40 test pictures' in done.out
    assert load_palette(tmp_path/'out').classes == ['cats', 'dogs']
    again = mingpt('cifar10', '--resume', tmp_path/'out', cwd=tmp_path)
    assert again.code == 0, again.err
    for name in 'cats', 'dogs':
        assert mingpt('sample', '--model', tmp_path/'out', '--png', tmp_path/f'{name}.png', '--seed', 1, '--prompt', name).code == 0
    a, b = (np.asarray(Image.open(tmp_path/f'{name}.png')) for name in ('cats', 'dogs'))
    assert a.shape[:2] == (198, 498) and (a != b).any()
    complains(mingpt('sample', '--model', tmp_path/'out', '--png', tmp_path/'x.png', '--prompt', 'horse'), 'there are cats, dogs')

def test_own_pictures_learn(mingpt, album, tmp_path):
    "Far below what 32 colours cost without a model."
    done = mingpt('cifar10', '--images', album, '--out', tmp_path/'out', *SMALL)
    assert float(re.search(r'held-out loss: ([\d.]+) bits', done.out)[1]) < 4, done.out

def test_a_damaged_picture(mingpt, album, tmp_path):
    "It ends the run with its name; or is left out, and told."
    mine = shutil.copytree(album, tmp_path/'mine')
    one = next((mine/'cats').glob('*.jpg'))
    one.write_bytes(one.read_bytes()[:300])
    (mine/'notes.txt').write_text('which are the good ones?')
    complains(mingpt('cifar10', '--images', mine, '--out', tmp_path/'out', *SMALL), one, 'damaged', 'skip_damaged')
    assert not list((tmp_path/'out').glob('*.safetensors'))
    done = mingpt('cifar10', '--images', mine, '--out', tmp_path/'out', *SMALL, '--skip-damaged', '--max-steps', 1)
    assert done.code == 0 and f'1 damaged, left out: {one}' in done.err and '.txt' in done.err and 'Traceback' not in done.err, done.err
    complains(mingpt('cifar10', '--images', tmp_path/'nowhere', '--out', tmp_path/'other', *SMALL), 'nowhere', 'is not a folder')
    complains(mingpt('cifar10', '--images', mine/'notes.txt', '--out', tmp_path/'other', *SMALL), 'notes.txt', 'is not a folder')
    complains(mingpt('cifar10', '--resume', tmp_path/'out', '--images', album), 'images')

def test_a_run_among_the_pictures(mingpt, album, tmp_path):
    "What it paints is not learned from; a file's name can't write a line of its own, nor steer the terminal."
    mine = shutil.copytree(album, tmp_path/'mine')
    (mine/'x.txt\nmingpt: error: \x1b[31mno').touch()
    for words in ['--images', '.', '--out', 'out', *SMALL, '--max-steps', 20], ['--resume', 'out', '--dry-run']:
        done = mingpt('cifar10', *words, cwd=mine)
        assert done.code == 0 and '360 pictures' in done.out and '\nmingpt: error' not in done.err and '\x1b' not in done.err, done.out + done.err
    assert load_palette(mine/'out').classes == ['cats', 'dogs'] and (mine/'out'/'samples.png').is_file()
    complains(mingpt('cifar10', '--images', mine, '--out', mine, *SMALL), mine, 'out must be another')

def test_cifar10_unpacked_into_files_is_the_same(data, tmp_path, monkeypatch):
    "PNG files of its pictures give its bytes."
    monkeypatch.setenv('MINGPT_NB_DATA', str(data))
    pictures, labels = (t[:200] for t in load_cifar10())
    for k, (p, label) in enumerate(zip(pictures, labels)):
        (tmp_path/str(label.item())).mkdir(exist_ok=True)
        Image.fromarray(p.numpy()).save(tmp_path/str(label.item())/f'{k:03}.png')
    again, theirs, classes = load_images(tmp_path)
    order = sorted(range(200), key=lambda k: (labels[k], k))
    assert torch.equal(again, pictures[order]) and torch.equal(theirs, labels[order]) and classes == list('0123456789')
