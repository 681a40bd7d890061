"The GPT that writes on the page: the lesson's model, in a real browser."
import functools, http.server, re, shutil, threading

import checks, pytest, torch

from mingpt_nb.data import Windows, shakespeare_text, split
from mingpt_nb.explore import unpack_model
from mingpt_nb.sampling import held_out_loss


def test_it_is_the_lessons_model(repo):
    "At most a megabyte, of the lesson's sizes, and as good as it: `tests/refresh.py --live` makes it again."
    file = repo/'mingpt_nb'/'live'/'shakespeare.bin'
    assert file.stat().st_size <= 1_000_000
    model, tok = unpack_model(file.read_bytes())
    assert (model.config.n_layer, model.config.n_head, model.config.n_embd, model.config.block_size) == (4, 4, 128, 64)
    text, source = shakespeare_text()
    if source != 'tiny Shakespeare': pytest.skip('tiny Shakespeare is not here')
    _, test = split(torch.tensor(tok.encode(text)))
    assert held_out_loss(model, Windows(test, 64)) < 1.8


@pytest.fixture(scope='module')
def site(repo, tmp_path_factory):
    "The address of a page with the writer on it."
    folder = tmp_path_factory.mktemp('site')
    shutil.copytree(repo/'mingpt_nb'/'live', folder/'live')
    cells = (checks.source(c) for c in checks.read(repo/'nbs'/'27_explore.ipynb')['cells'])
    [html] = [re.search(r'<link.*</script>', s, re.DOTALL)[0] for s in cells if '<script' in s] # as the lesson has it
    (folder/'index.html').write_text(f'<!doctype html><meta charset="utf-8"><title>a page</title>{html}', encoding='utf-8')
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()

@pytest.fixture(scope='module')
def browser():
    "A browser of this machine."
    api = pytest.importorskip('playwright.sync_api')
    path = shutil.which('chromium') or shutil.which('google-chrome')
    if not path: pytest.skip('there is no Chromium here')
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield browser
        browser.close()

@pytest.mark.parametrize('width', [1280, 390])
def test_it_writes(browser, site, width):
    "With the keyboard alone: no error, no other host, nothing wider than the window; the bars follow the sliders, and a bar adds its letter."
    page = browser.new_page(viewport={'width': width, 'height': 800}, reduced_motion='reduce')
    wrong, hosts, asked = [], set(), []
    page.on('console', lambda m: wrong.append(m.text) if m.type == 'error' and 'favicon' not in m.location.get('url', '') else None)
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('request', lambda r: hosts.add(r.url.split('/')[2]) or asked.append(r.url))
    page.goto(site, wait_until='networkidle')
    assert any(url.endswith('.js') for url in asked) and not any(url.endswith('.bin') for url in asked), 'the weights wait for the first touch'
    page.get_by_label('prompt').fill('KING:')
    page.get_by_role('button', name='Write').focus()
    page.keyboard.press('Enter')
    page.locator('.said').filter(has_text=re.compile(r'300 characters, \d+ a second')).wait_for(timeout=60_000)
    text = page.locator('.written').text_content()
    assert text.startswith('KING:') and len(text) == 305
    speed = int(re.search(r'(\d+) a second', page.locator('.said').text_content())[1])
    assert speed > 100, speed
    page.get_by_label('top-k').fill('1')
    bars = page.locator('.bars button')
    assert bars.count() == 1 and '100.0%' in bars.first.text_content()
    bars.first.click()
    assert len(page.locator('.written').text_content()) == 306
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert wrong == [] and len(hosts) == 1
    page.close()
