"Every notebook runs from top to bottom as a reader in Colab runs it: from the wheel, in an empty folder, without nbdev. Each in a process of its own."
import json, os, signal, subprocess

import checks, pytest
from conftest import IN_CHILD

CALL = '''
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors='nocolor')
for name, source in json.load(sys.stdin):
    if not shell.run_cell(source).success: sys.exit(f'in cell {name}')
'''


@pytest.fixture
def run(mingpt, repo, quiet_env, tmp_path):
    "A function that runs a notebook: whether it passed, and what it printed. Which cells it skips is as in `nbdev_test`."
    env = quiet_env | {'PATH': os.pathsep.join([str(mingpt.python.parent), os.environ['PATH']]), 'VIRTUAL_ENV': str(mingpt.python.parent.parent), # which IPython looks at, too
                       'IPYTHONDIR': str(tmp_path/'ipython'), 'PYTHONIOENCODING': 'utf-8', 'MPLBACKEND': 'module://matplotlib_inline.backend_inline'}
    (folder := tmp_path/'content').mkdir()

    def run(nb, slow=False):
        skip = set(checks.settings(repo)['tst_flags'].split()) - {'slow' if slow else ''} | {'eval:false'}
        cells = [(c['id'], checks.source(c)) for c in checks.code(nb) if not skip & {d.replace(': ', ':') for d in checks.directives(c)}]
        process = subprocess.Popen([mingpt.python, '-c', CALL], cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   encoding='utf-8', start_new_session=True, preexec_fn=IN_CHILD)
        try: out, _ = process.communicate(json.dumps(cells), timeout=7200 if slow else 300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL) if os.name == 'posix' else process.kill() # with all that it started
            return False, 'it took too long:\n' + process.communicate()[0]
        left = [p.name for p in folder.iterdir()]
        return process.returncode == 0 and not left, out + f'\nit left {left} behind' * bool(left)
    return run


def test_notebook(notebook, request, run):
    if notebook.stem == '11_cifar10': # the only data set that has no stand-in
        from mingpt_nb.cifar10 import cifar10_folder
        try: cifar10_folder()
        except OSError as e: pytest.skip(str(e))
    passed, out = run(checks.read(notebook), request.config.getoption('--slow'))
    assert passed, f'{notebook.name} failed:\n{out[-8000:]}'


def test_a_red_cell_is_seen(run):
    "A cell that fails fails the notebook, by default only if it is not slow, and cells that are never to run don't."
    def passes(*cells, **keys): return run({'cells': [{'cell_type': 'code', 'id': f'c{i}', 'source': [s]} for i, s in enumerate(cells)]}, **keys)
    assert passes('x = 1', 'assert x == 1', 'import sys, mingpt_nb; assert mingpt_nb.__file__.startswith(sys.prefix)')[0]
    passed, out = passes('x = 1', 'assert x == 2', 'print("it went on")')
    assert not passed and 'AssertionError' in out and 'in cell c1' in out and 'it went on' not in out
    assert passes('#| slow\nassert False', '#| eval: false\nassert False', '#| notest\nassert False')[0]
    assert not passes('#| slow\nassert False', slow=True)[0]


@pytest.mark.parametrize('cell, why', [('import nbdev', 'ModuleNotFoundError'), ('import execnb', 'ModuleNotFoundError'),
    ('open("../README.md")', 'FileNotFoundError'), ('open("new.txt", "w").close()', 'new.txt')], ids=['nbdev', 'execnb', 'a file of the repository', 'a file left behind'])
def test_what_a_reader_does_not_have(run, cell, why):
    passed, out = run({'cells': [{'cell_type': 'code', 'id': 'c', 'source': [cell]}]})
    assert not passed and why in out, out
