"The site as a reader has it: rendered by Quarto as the deployment does, in a real browser."
import os, re, shutil, subprocess, sys

import checks, pytest
from pathlib import Path
from conftest import serve

REPO = Path(__file__).resolve().parent.parent
PAGES = [re.sub(r'^\d+_', '', p.stem) + '.html' for p in checks.notebooks(REPO)] + ['glossary.html', 'api.html']
KINDS = [(width, theme) for width in (1280, 390) for theme in ('light', 'dark')]
FIRST_VISIT = 1_500_000 # bytes
needs_quarto = pytest.mark.skipif(shutil.which('quarto') is None, reason='quarto, which renders the site, is not installed')


@pytest.fixture(scope='session')
def proc(repo, tmp_path_factory):
    "The pages that tests/pages.py makes in a copy of the repository, and where Quarto is installed the site."
    fresh = checks.copy(repo, tmp_path_factory.mktemp('site')/'repo')
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | {'PYTHONPATH': str(fresh), 'MPLBACKEND': 'agg'}
    call = [sys.executable, 'tests/pages.py', *(['--render'] if shutil.which('quarto') else [])]
    done = subprocess.run(call, cwd=fresh, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return fresh/'_proc'


# What is sure before Quarto has seen the pages

def test_pictures_are_small(proc, repo):
    "All pictures of a page together, so that the page can be shown within its bytes."
    for path in checks.notebooks(repo):
        size = sum(len(''.join(p)) * 3 // 4 for c in checks.code(checks.read(proc/path.name)) for p in checks.pictures(c))
        assert size < 900_000, f'{path.name}: {size} bytes of pictures'

def test_no_state_of_widgets(proc, repo):
    "Quarto would fetch a library for it from another host."
    for path in checks.notebooks(repo): assert 'widgets' not in checks.read(proc/path.name)['metadata'], path.name

def test_files_for_machines(proc, repo):
    "llms.txt names every page with what it is, in the order of the sidebar, and every notebook; robots.txt names the map."
    cfg, text = checks.settings(repo), (proc/'llms.txt').read_text(encoding='utf-8')
    site = cfg['doc_host'] + cfg['doc_baseurl']
    assert re.match(rf'# {cfg["title"]}\n\n> {cfg["description"]}\n\n## ', text)
    assert all(re.fullmatch(r'- \[[^]]+\]\(https://[^)]+\): \S.*', l) for l in text.splitlines()[3:] if l and l[0] != '#')
    listed = re.findall(rf'\({re.escape(site)}/([\w.]+)\)', text)
    assert sorted(listed) == sorted(PAGES)
    in_order = [re.sub(r'^\d+_|\.\w+$', '', f) + '.html' for section, f in checks.sidebar(repo) if section != 'Pages']
    assert [p for p in listed if p in in_order] == in_order
    assert re.findall(r'/main/nbs/([\w.]+)\)', text) == [p.name for p in checks.notebooks(repo)]
    assert f'Sitemap: {site}/sitemap.xml' in (proc/'robots.txt').read_text(encoding='utf-8')

def test_index_in_order(proc, repo):
    "The modules stand in the index in the order of their notebooks."
    modules = re.findall(r'^## \w+\.(\w+)$', (proc/'api.qmd').read_text(encoding='utf-8'), re.M)
    assert modules == list(checks.homes(repo))

def test_live_is_there(proc, repo):
    for file in (repo/'mingpt_nb'/'live').iterdir(): assert (proc/'live'/file.name).read_bytes() == file.read_bytes()


# The site that Quarto makes of them

@pytest.fixture(scope='session')
def docs(proc): return proc/'_docs'

def html(docs, page): return (docs/page).read_text(encoding='utf-8')

def attributes(text, tag, **having):
    "The attributes of each such tag that has those."
    found = [dict(re.findall(r'([\w:-]+)="([^"]*)"', t)) for t in re.findall(rf'<{tag}\b[^>]*>', text)]
    return [a for a in found if having.items() <= a.items()]

@needs_quarto
def test_all_there(docs, repo):
    "Every page, and what a site has beside its pages."
    for name in [*PAGES, '404.html', 'sitemap.xml', 'robots.txt', 'llms.txt', 'search.json', *(f'live/{p.name}' for p in (repo/'mingpt_nb'/'live').iterdir())]:
        assert (docs/name).is_file(), name
    mapped = re.findall(r'<loc>.*/([\w.]+)</loc>', html(docs, 'sitemap.xml'))
    assert set(PAGES) <= set(mapped)

@needs_quarto
@pytest.mark.parametrize('page', PAGES)
def test_head(docs, repo, page):
    "A page says its address, what it is, and how it looks in a list of links."
    text, cfg = html(docs, page), checks.settings(repo)
    site, faults = cfg['doc_host'] + cfg['doc_baseurl'], []
    canonical = [a['href'] for a in attributes(text, 'link', rel='canonical')]
    if canonical != [f'{site}/{page}']: faults.append(f'canonical: {canonical}')
    for key in 'name', 'property':
        named = 'description' if key == 'name' else 'og:description'
        if not any(a.get('content') for a in attributes(text, 'meta', **{key: named})): faults.append(f'no {named}')
    image = [a.get('content', '') for a in attributes(text, 'meta', property='og:image')]
    if len(image) != 1 or not image[0].startswith(site) or not (docs/image[0].removeprefix(site + '/')).is_file(): faults.append(f'og:image: {image}')
    icons = [a['href'] for a in attributes(text, 'link', rel='icon')]
    if not icons or not all((docs/i).is_file() for i in icons): faults.append(f'favicon: {icons}')
    assert not faults, faults

@needs_quarto
@pytest.mark.parametrize('page', PAGES)
def test_body(docs, page):
    "Every picture has words for who does not see it, and every link within the site points to something."
    text = html(docs, page)
    faults = [f'no alt: {a.get("src")}' for a in attributes(text, 'img') if not a.get('alt') and a.get('role') != 'presentation']
    for link in {a.get('href', '') for a in attributes(text, 'a')}:
        if link in ('', '#') or re.match(r'\w+:|//', link): continue
        to, _, at = link.removeprefix('./').partition('#')
        there = docs/(to or page)
        if not there.is_file(): faults.append(f'{link}: no such page')
        elif at and f'id="{at}"' not in there.read_text(encoding='utf-8'): faults.append(f'{link}: no such place')
    assert not faults, faults

@needs_quarto
def test_navigation(docs, repo):
    "The sidebar has its sections, and from each page one goes on to the next of the sidebar and back."
    sections = list(dict.fromkeys(s for s, _ in checks.sidebar(repo) if s != 'Pages'))
    assert sections, 'the sidebar has no sections'
    order = [re.sub(r'^\d+_|\.\w+$', '', f) + '.html' for _, f in checks.sidebar(repo)]
    for i, page in enumerate(order):
        text = html(docs, page)
        for section in sections: assert re.search(rf'<span class="menu-text">{re.escape(section)}</span>', text), f'{page}: {section}'
        for rel, other in ('prev', order[i - 1] if i else None), ('next', order[i + 1] if i + 1 < len(order) else None):
            assert [a['href'].removeprefix('./') for a in attributes(text, 'link', rel=rel)] == [other] * (other is not None), f'{page}: {rel}'
            assert (f'class="nav-page nav-page-{rel.replace("prev", "previous")}"' in text), page


@pytest.fixture(scope='module')
def address(docs):
    "Where the site is served."
    with serve(docs) as address: yield address

@pytest.fixture
def visit(browser, address):
    "A function that opens a page for a reader who was never here; other hosts answer nothing, and are noted."
    contexts = []
    def visit(name, width=1280, theme='light'):
        contexts.append(browser.new_context(viewport={'width': width, 'height': 800}, color_scheme=theme, reduced_motion='reduce'))
        page = contexts[-1].new_page()
        page.wrong, page.others, page.loaded = [], set(), []
        def route(r):
            if r.request.url.startswith((address, 'data:', 'blob:')): return r.continue_()
            page.others.add(r.request.url)
            r.fulfill(status=200, body='')
        page.route('**/*', route)
        page.on('console', lambda m: page.wrong.append(f'{m.text} {m.location.get("url", "")}') if m.type == 'error' else None)
        page.on('pageerror', lambda e: page.wrong.append(str(e)))
        page.on('requestfinished', lambda r: page.loaded.append(r))
        page.goto(address + name, wait_until='networkidle')
        return page
    yield visit
    for c in contexts: c.close()

@needs_quarto
@pytest.mark.parametrize('width,theme', KINDS)
@pytest.mark.parametrize('page', PAGES)
def test_visit(visit, page, width, theme):
    "No error, no other host, nothing wider than the window, and not too much to load."
    there, faults = visit(page, width, theme), []
    if there.wrong: faults.append(f'errors: {there.wrong}')
    if there.others: faults.append(f'asks other hosts: {sorted(there.others)}')
    wide = there.evaluate('document.documentElement.scrollWidth')
    if wide > width: faults.append(f'is {wide} pixels wide')
    size = sum(r.sizes()['responseBodySize'] for r in there.loaded if r.url.startswith('http'))
    if size > FIRST_VISIT: faults.append(f'loads {size} bytes')
    if theme not in there.evaluate('document.body.className'): faults.append(f'does not turn {theme}')
    assert not faults, faults

@needs_quarto
@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('page', PAGES)
def test_contrast(visit, page, theme):
    "Text stands out from its background (axe-core's rule `color-contrast`). Code has the same colours everywhere: one page is looked at."
    axe = pytest.importorskip('axe_playwright_python.sync_playwright').Axe()
    context = None if page == 'attention.html' else {'include': [['body']], 'exclude': [['div.sourceCode']]}
    found = axe.run(visit(page, theme=theme), context, options={'runOnly': ['color-contrast'], 'resultTypes': ['violations']}).response
    nodes = [n for v in found['violations'] for n in v['nodes']]
    assert not nodes, f'{len(nodes)} texts, such as ' + '\n'.join(f'{n["target"]} {n["html"][:120]} {n["any"][0]["message"]}' for n in nodes[:3])

@needs_quarto
def test_map(visit, docs):
    "The map's parts are links, reached by the keyboard, to pages and places that are there."
    there = visit('index.html')
    there.locator('svg.gptmap a').first.wait_for()
    links = there.locator('svg.gptmap a').evaluate_all('all => all.map(a => a.getAttribute("href"))')
    assert {l.partition('#')[0] for l in links} == {f'{n}.html' for n in ('data', 'tokenizer', 'sampling', 'attention', 'block', 'model', 'optimizer', 'trainer')}
    for page, _, at in (l.partition('#') for l in links): assert not at or f'id="{at}"' in html(docs, page), (page, at)
    there.locator('svg.gptmap a[href="attention.html"]').focus()
    there.keyboard.press('Enter')
    there.wait_for_url('**/attention.html')

@needs_quarto
@pytest.mark.parametrize('words,page', [('KV cache', 'attention'), ('KVCache', 'attention'), ('CausalSelfAttention', 'attention'),
                                        ('RandomChunks', 'data'), ('nucleus', 'sampling'), ('GPTConfig', 'model'), ('perplexity', 'gpt2'), ('BPE', 'tokenizer')])
def test_search(visit, words, page):
    "The search finds what the field calls a thing, and what the code calls it, among its first three pages."
    there = visit('index.html')
    there.locator('#quarto-search button').first.click()
    there.locator('.aa-Input').fill(words)
    there.locator('.aa-Item a').first.wait_for(timeout=10_000)
    links = there.locator('.aa-Item a').evaluate_all('all => all.map(a => a.getAttribute("href"))')
    first = list(dict.fromkeys(re.search(r'([\w.]+)\.html', l)[1] for l in links if '.html' in l))[:3]
    assert page in first, first
