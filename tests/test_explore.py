"The live pictures: the lessons' models in a real browser, on a page without a kernel and in JupyterLab."
import json, re, secrets, shutil, socket, subprocess, sys, time

import checks, nbformat, pytest, torch

from conftest import serve
from mingpt_nb.adder import Sums, exam
from mingpt_nb.cifar10 import Palette, Pictures, load_cifar10, shrink
from mingpt_nb.data import Windows, shakespeare_text, split
from mingpt_nb.explore import unpack_model
from mingpt_nb.sampling import held_out_loss

SIZES = { # bytes at most; layers, heads, width, window: those of the lesson
    'shakespeare': (500_000, (2, 4, 128, 64)), 'cifar10': (3_000_000, (6, 4, 128, 256)), 'adder': (1_000_000, (2, 4, 128, 6))}


@pytest.fixture(scope='module')
def live(repo): return repo/'mingpt_nb'/'live'

@pytest.mark.parametrize('name', SIZES)
def test_they_are_the_lessons_models(live, name):
    "Small enough for a page, of the lesson's sizes, and as good as it: `tests/refresh.py --live` makes them again."
    file, (most, sizes) = live/f'{name}.bin', SIZES[name]
    assert file.stat().st_size <= most
    model, tok = unpack_model(file.read_bytes())
    assert tuple(getattr(model.config, k) for k in ('n_layer', 'n_head', 'n_embd', 'block_size')) == sizes
    if name == 'shakespeare':
        text, source = shakespeare_text()
        if source != 'tiny Shakespeare': pytest.skip('tiny Shakespeare is not here')
        assert held_out_loss(model, Windows(split(torch.tensor(tok.encode(text)))[1], 64)) < 1.6
    if name == 'adder': assert exam(model, Sums(2, 'test'), show=False).sum() > 990
    if name == 'cifar10':
        try: pictures, labels = load_cifar10('test')
        except OSError as e: pytest.skip(str(e))
        told = json.loads((live/'pictures.json').read_text())
        palette = Palette([list(bytes.fromhex(c)) for c in told['colours']])
        ids = palette.encode(shrink(pictures[:200], 16))
        assert held_out_loss(model, Pictures(ids, palette, labels[:200]), 50) < 2.9
        assert all(p['ids'] in palette.encode(shrink(pictures[:100], 16)).tolist() for p in told['pictures'])


@pytest.fixture(scope='module')
def site(repo, live, tmp_path_factory):
    "The address of a page with every live picture on it, as the lesson has them."
    folder = tmp_path_factory.mktemp('site')
    shutil.copytree(live, folder/'live')
    cells = [checks.source(c) for c in checks.read(repo/'nbs'/'27_explore.ipynb')['cells']]
    divs = [div for c in cells for div in re.findall(r'<div data-live=.*?</div>', c, re.DOTALL)]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>a page</title><link rel="icon" href="data:,"><link rel="stylesheet" href="live/live.css">'
    text = f'<!doctype html>{head}{"".join(divs)}<script type="module" src="live/page.js"></script>'
    (folder/'index.html').write_text(text, encoding='utf-8')
    with serve(folder) as address: yield address

@pytest.fixture
def page(request, browser, site):
    "The page on a phone (or as wide as is asked), for somebody who asks for less motion: no error, no other host, nothing wider than the window."
    page = browser.new_page(viewport={'width': getattr(request, 'param', 390), 'height': 800}, reduced_motion='reduce')
    wrong, hosts, page.asked = [], set(), []
    page.on('console', lambda m: wrong.append(m.text) if m.type == 'error' else None)
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('request', lambda r: hosts.add(r.url.split('/')[2]) or page.asked.append(r.url))
    page.goto(site, wait_until='networkidle')
    yield page
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert wrong == [] and len(hosts) == 1
    page.close()

def picture(page, name): return page.locator(f'[data-live={name}]')
def said(box, words): box.locator('.said').filter(has_text=re.compile(words)).wait_for(timeout=60_000)

def press(page, button):
    "By the keyboard alone."
    button.focus()
    page.keyboard.press('Enter')

wide_and_narrow = pytest.mark.parametrize('page', [1280, 390], indirect=True)

@wide_and_narrow
def test_weights_wait_for_the_first_touch(page):
    assert any(url.endswith('.js') for url in page.asked) and not any(url.endswith('.bin') for url in page.asked)

@wide_and_narrow
def test_everything_has_a_name(page):
    "For a screen reader: each control, canvas and region says what it is."
    for kind in 'button', 'textarea', 'input', 'select', 'canvas', '[tabindex]':
        for node in page.locator(f'.mingpt-live {kind}').all():
            name = node.evaluate('e => e.ariaLabel || e.innerText?.trim() || e.labels?.[0]?.innerText || e.closest("button")?.ariaLabel')
            assert name, node.evaluate('e => e.outerHTML')

def test_writer(page):
    box = picture(page, 'writer')
    box.get_by_label('prompt').fill('KING:')
    press(page, box.get_by_role('button', name='Write'))
    said(box, r'300 characters, \d+ a second')
    text = box.locator('.written').text_content()
    assert text.startswith('KING:') and len(text) == 305
    speed = int(re.search(r'(\d+) a second', box.locator('.said').text_content())[1])
    assert speed > 100, speed

def test_next(page):
    "The bars follow the sliders, a bar adds its letter, and the loss is the mean surprise."
    box = picture(page, 'next')
    box.get_by_label('text', exact=True).fill('KING RICHARD:')
    press(page, box.get_by_role('button', name='Draw one'))
    said(box, '14 characters; mean surprise')
    assert box.locator('.bars button').count() > 5
    box.get_by_label('top-k').fill('1')
    bars = box.locator('.bars button')
    assert bars.count() == 1 and '100.0%' in bars.first.text_content()
    letter = bars.first.text_content().split()[0]
    press(page, bars.first)
    said(box, '15 characters; mean surprise')
    assert box.locator('.token').count() == 15 and box.locator('.token').last.text_content() == letter
    assert 'nats' in box.locator('.token').last.get_attribute('title')

def test_attention(page, live):
    "What the line says is what Python's model pays."
    box = picture(page, 'attention')
    box.get_by_label('text', exact=True).fill('To be, or not')
    page.keyboard.press('Tab')
    said(box, '“t” reads')
    box.get_by_label('layer').select_option(index=1)
    box.get_by_label('head').select_option(index=1)
    box.locator('.tokens').focus()
    page.keyboard.press('ArrowLeft')
    said(box, '“o” reads')
    model, tok = unpack_model((live/'shakespeare.bin').read_bytes())
    row = model.attention(torch.tensor([tok.encode('To be, or not')]))[1, 0, 1, 11]
    most = row.max().item()
    assert f'{100 * most:.1f}%' in box.locator('.said').text_content()
    box.locator('.token').nth(3).hover()
    said(box, '“b” reads')
    assert box.locator('.token.later').count() == 9

def test_tokens(page):
    box = picture(page, 'tokens')
    box.get_by_label('text', exact=True).fill('the naïve king')
    counts = box.locator('strong')
    assert counts.all_text_contents()[:2] == ['14 characters', '15 bytes']
    fewest = int(counts.nth(2).text_content().split()[0])
    box.get_by_label('merges').fill('0')
    said(box, 'No merges')
    assert counts.nth(2).text_content() == '15 byte pairs' and fewest < 12
    box.get_by_label('merges').fill('1')
    said(box, 'Merge 1: “.+” and “.+” become 256')

def test_painter(page):
    "Four completions that keep the upper half and differ below."
    box = picture(page, 'painter')
    press(page, box.get_by_role('button', name='complete the horse'))
    said(box, r'The horse: 512 pixels, \d+ a second')
    read = "e => [...e.getContext('2d').getImageData(0, 0, e.width, e.height).data]"
    *made, real = [c.evaluate(read) for c in box.locator('figure canvas').all()]
    half = len(real) // 2
    assert len(made) == 4 and all(m[:half] == real[:half] and m[half:] != real[half:] for m in made)
    assert len({tuple(m) for m in made}) == 4 and all(m[3::4] == [255] * 256 for m in made)

def test_adder(page):
    box = picture(page, 'adder')
    box.get_by_label('number 1').fill('58')
    box.get_by_label('number 2').fill('67')
    press(page, box.get_by_role('button', name='add'))
    said(box, 'Right')
    assert box.locator('.answer').text_content() == '125'

@wide_and_narrow
def test_impatient(page):
    "Pressed twice or thrice, and something else meanwhile: the last wish counts, and nothing is mixed up."
    adder, painter, writer = (picture(page, n) for n in ('adder', 'painter', 'writer'))
    page.evaluate("""() => {
        const press = (box, words) => [...document.querySelectorAll(`[data-live=${box}] button`)].find(b => (b.ariaLabel || b.textContent) === words).click();
        press('adder', 'add'); press('adder', 'add'); press('adder', 'add');
        press('painter', 'complete the frog'); press('painter', 'complete the horse');
        press('writer', 'Write'); press('writer', 'Stop'); press('writer', 'Write'); }""")
    said(adder, 'Right')
    assert adder.locator('.answer').text_content() == '135'
    said(painter, 'The horse: 512 pixels')
    said(writer, '300 characters')
    assert len(writer.locator('.written').text_content()) == 306 and writer.locator('button').text_content() == 'Write'
    adder.get_by_label('number 1').fill('-5')
    assert adder.locator('.answer').text_content() == ''
    adder.get_by_label('number 1').press('Enter')
    said(adder, 'Right')
    assert adder.locator('.answer').text_content() == '50' # 0 + 50

def test_odd_texts(page):
    "What the model does not know is said, and markup stays text."
    box = picture(page, 'attention')
    assert box.get_by_label('layer').locator('option').count() == 2 # before anything is computed
    box.get_by_label('text', exact=True).fill('🎭')
    page.keyboard.press('Tab')
    said(box, 'knows none of these')
    box.get_by_label('layer').select_option(index=1)
    box.get_by_label('text', exact=True).fill('<b>ab</b>🎭' + 'x' * 100)
    page.keyboard.press('Tab')
    said(box, 'did not read 46 of the characters')
    box = picture(page, 'next')
    box.get_by_label('temperature').fill('2') # the first touch
    said(box, 'mean surprise')
    assert box.locator('.bars button').count() == 10
    box = picture(page, 'tokens')
    box.get_by_label('text', exact=True).fill('')
    assert box.locator('strong').all_text_contents() == ['0 characters', '0 bytes', '0 byte pairs']

def test_a_file_that_does_not_come_is_said(browser, site):
    "And asked for again. A picture that cannot begin leaves what stood there, and the others alone."
    page, wrong = browser.new_page(reduced_motion='reduce'), []
    page.on('pageerror', lambda e: wrong.append(str(e)))
    for file in '*.bin', 'painter.js', 'merges.json': page.route(f'**/{file}', lambda route: route.fulfill(status=404))
    page.goto(site, wait_until='networkidle')
    assert 'needs JavaScript' in picture(page, 'painter').text_content() and 'merges.json: 404' in picture(page, 'tokens').text_content()
    press(page, picture(page, 'writer').get_by_role('button', name='Write'))
    said(picture(page, 'writer'), r'did not come \(shakespeare.bin: 404\)')
    picture(page, 'attention').locator('.tokens').focus()
    said(picture(page, 'attention'), 'shakespeare.bin: 404')
    page.unroute('**/*.bin')
    page.route('**/*.bin', lambda route: route.fulfill(body='no model'))
    press(page, picture(page, 'writer').get_by_role('button', name='Write'))
    said(picture(page, 'writer'), 'did not come')
    page.unroute('**/*.bin')
    press(page, picture(page, 'writer').get_by_role('button', name='Write'))
    said(picture(page, 'writer'), '300 characters')
    picture(page, 'attention').get_by_label('layer').focus()
    picture(page, 'attention').locator('.tokens').focus()
    said(picture(page, 'attention'), 'reads')
    assert wrong == []
    page.close()


CELLS = """
import torch
from importlib.resources import files
from mingpt_nb import explore
from mingpt_nb.data import RandomChunks
from mingpt_nb.model import GPT, GPTConfig
from mingpt_nb.trainer import Trainer, TrainerConfig
model, tok = explore.unpack_model((files('mingpt_nb')/'live'/'shakespeare.bin').read_bytes())
---
explore.writer(model, tok)
---
explore.attention(model, tok, 'To be')
---
chunks = RandomChunks(torch.tensor(tok.encode('To be, or not to be. ' * 50)), 8)
little = GPT(GPTConfig(tok.vocab_size, 8, 1, 1, 16))
trainer = Trainer(little, chunks, None, TrainerConfig(max_epochs=10**6, eval_interval=50))
explore.train(trainer, lambda m: f'a sample at step {trainer.step}')
"""

def test_in_jupyterlab(browser, repo, tmp_path, quiet_env):
    "Three pictures under their cells: one writes, one asks Python for another text, one shows a run and stops it; nothing of them is stored."
    pytest.importorskip('jupyterlab')
    cells = [nbformat.v4.new_code_cell(c.strip()) for c in CELLS.split('---')]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}}), tmp_path/'a.ipynb')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    token, home = secrets.token_hex(16), {k: str(tmp_path/k) for k in ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR')}
    call = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', f'--port={port}', '--ServerApp.port_retries=0', f'--IdentityProvider.token={token}',
            f'--ServerApp.root_dir={tmp_path}', '--LabApp.news_url=', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate']
    server = subprocess.Popen(call, env=quiet_env | home | {'PYTHONPATH': str(repo)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            time.sleep(.2)
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', port)) == 0: break
        page = browser.new_page(viewport={'width': 1280, 'height': 1800})
        page.goto(f'http://127.0.0.1:{port}/lab/tree/a.ipynb?token={token}')
        page.get_by_text('| Idle').wait_for(timeout=60_000) # the kernel is there
        page.locator('.lm-MenuBar-itemLabel', has_text='Run').first.click()
        page.get_by_text('Run All Cells', exact=True).click()
        boxes = page.locator('.mingpt-live')
        boxes.nth(2).wait_for(timeout=120_000)
        boxes.nth(0).get_by_role('button', name='Write').click()
        said(boxes.nth(0), r'300 characters, \d+ a second')
        said(boxes.nth(1), '“e” reads')
        boxes.nth(1).get_by_label('text', exact=True).fill('that is')
        page.keyboard.press('Tab')
        said(boxes.nth(1), '“s” reads')
        boxes.nth(2).locator('pre').filter(has_text='a sample at step').wait_for(timeout=60_000)
        boxes.nth(2).locator('polyline.training').wait_for(state='attached', timeout=60_000)
        boxes.nth(2).get_by_role('button', name='Stop').click()
        boxes.nth(2).locator('button:disabled').wait_for(timeout=60_000)
        page.keyboard.press('Control+s')
        for _ in range(100):
            if any(c.get('outputs') for c in checks.read(tmp_path/'a.ipynb')['cells']): break
            time.sleep(.2)
        stored = checks.read(tmp_path/'a.ipynb')
        assert any(c.get('outputs') for c in stored['cells']) and 'widgets' not in stored['metadata']
        page.close()
    finally:
        server.terminate()
        server.wait()
