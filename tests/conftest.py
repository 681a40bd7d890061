import functools, gzip, http.server, os, shutil, signal, subprocess, sys, sysconfig, threading, venv
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import checks


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='also run the cells marked `#| slow`: minutes to hours')


PROCESSES = ['test_resume.py', 'test_interrupt', 'test_a_run_that_is_killed', 'test_memory', '[20_checkpoint]', '[21_scale]'] # parts of the ids of tests
ONLY_LINUX = ['test_a_disk_that_is_full', 'test_one_of_two_dies', 'test_memory'] # /proc, prlimit, and kilobytes in ru_maxrss


def pytest_configure(config):
    config.addinivalue_line('markers', 'processes: sends signals, forks, or asks the system about a process, as Windows cannot')


if 'PYTEST_XDIST_WORKER' in os.environ: os.environ['OMP_NUM_THREADS'] = '1' # or the threads of two processes fight for the same cores


def pytest_collection_modifyitems(items):
    "Let one process run the tests of a file, which share fixtures, but for the notebooks; skip what a system cannot do."
    for item in items:
        if item.path.name != 'test_notebooks.py': item.add_marker(pytest.mark.xdist_group(item.path.name))
        reason = None
        if any(part in item.nodeid for part in PROCESSES):
            item.add_marker('processes')
            if sys.platform == 'win32': reason = 'Windows has other signals and processes'
        if sys.platform == 'win32' and 'test_in_step.py' in item.nodeid: reason = 'on Windows nbdev ends lines otherwise'
        if sys.platform == 'darwin' and any(part in item.nodeid for part in ONLY_LINUX): reason = 'it asks Linux about a process'
        if reason: item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc):
    "One test for each notebook."
    if 'notebook' in metafunc.fixturenames:
        paths = sorted((Path(__file__).parent.parent/'nbs').glob('[!_]*.ipynb'))
        metafunc.parametrize('notebook', paths, ids=[p.stem for p in paths])


@pytest.fixture(scope='session')
def repo(): return Path(__file__).resolve().parent.parent


def as_in_a_terminal():
    "What started the tests in the background may have told its children to ignore Ctrl-C, or (nohup) a closed terminal: take that back."
    for s in signal.SIGINT, signal.SIGHUP: signal.signal(s, signal.SIG_DFL)

IN_CHILD = as_in_a_terminal if os.name == 'posix' else None # Windows knows no such thing


@pytest.fixture(scope='session')
def quiet_env():
    "An environment for processes of our own: few threads, no window, nothing of the test's own making."
    env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'PYTHONPATH', 'PYTEST_CURRENT_TEST')}
    return env | {'OMP_NUM_THREADS': '1' if 'PYTEST_XDIST_WORKER' in env else '2', 'MPLBACKEND': 'agg', 'PYTHONUNBUFFERED': '1'}


@pytest.fixture(scope='session')
def built(repo, tmp_path_factory, quiet_env):
    "A source distribution, the wheel built from it, and what the build printed."
    temp = tmp_path_factory.mktemp('build')
    checks.copy(repo, temp/'repo')
    call = [sys.executable, '-m', 'build', '--outdir', temp/'dist', temp/'repo']
    env = quiet_env | {'PIP_RETRIES': '1', 'PIP_DEFAULT_TIMEOUT': '20'}
    done = subprocess.run(call, env=env, capture_output=True, text=True, timeout=300)
    if done.returncode and 'setuptools' in done.stdout + done.stderr: # no package index to isolate the build with
        done = subprocess.run([*call, '--no-isolation'], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return SimpleNamespace(sdist=next((temp/'dist').glob('*.tar.gz')), wheel=next((temp/'dist').glob('*.whl')), log=done.stdout + done.stderr)


@pytest.fixture(scope='session')
def mingpt(built, tmp_path_factory, quiet_env):
    "A function that runs the console command as a user has it: from the wheel, in a new virtual environment, in a folder of its own."
    temp = tmp_path_factory.mktemp('user')
    builder = venv.EnvBuilder(symlinks=os.name == 'posix')
    builder.create(temp/'venv')
    python = Path(builder.ensure_directories(temp/'venv').env_exe)
    subprocess.run([sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--no-deps', '--no-index', built.wheel], check=True, timeout=300)
    site = Path(sysconfig.get_path('purelib', 'venv', {'base': temp/'venv'}))
    lines = [sysconfig.get_path(k) for k in ('purelib', 'platlib')] # all other packages: those of the tests
    lines += ["import sys; sys.modules |= {'nbdev': None, 'execnb': None}"] # but not these, which nobody has in Colab
    (site/'borrowed.pth').write_text('\n'.join(lines))
    command = shutil.which('mingpt', path=python.parent)
    env = {k: v for k, v in quiet_env.items() if k != 'MINGPT_NB_DATA' and 'proxy' not in k.lower()} | {'XDG_CACHE_HOME': str(temp/'cache')}

    def start(*args, env={}, cwd=temp, **keys):
        return subprocess.Popen([command, *map(str, args)], cwd=cwd, env=start.env | env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=IN_CHILD, **keys)

    def run(*args, timeout=300, **keys):
        process = start(*args, text=True, **keys)
        try: out, err = process.communicate(timeout=timeout)
        finally: process.kill()
        return SimpleNamespace(code=process.returncode, out=out, err=err)

    run.start, start.env, run.python, run.env = start, env, python, env
    return run


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


@contextmanager
def serve(folder):
    "The address under which a folder is served, text packed by gzip as GitHub Pages does."
    packed = functools.cache(lambda path: gzip.compress(path.read_bytes()))
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
        def do_GET(self):
            path = Path(self.translate_path(self.path))
            if path.suffix not in ('.html', '.css', '.js', '.json', '.svg', '.txt') or not path.is_file(): return super().do_GET()
            self.send_response(200)
            for head in ('Content-Type', self.guess_type(path)), ('Content-Encoding', 'gzip'), ('Content-Length', str(len(packed(path)))): self.send_header(*head)
            self.end_headers()
            self.wfile.write(packed(path))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}/'
    finally: server.shutdown()
