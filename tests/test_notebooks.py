"Every notebook runs from top to bottom, each in a process of its own."
import json, os, signal, subprocess, sys

import checks, pytest
from conftest import as_in_a_terminal

CALL = '''
import sys
from pathlib import Path
from nbdev.test import test_nb
repo, path, skip, force = sys.argv[1:]
ok, seconds = test_nb(Path(path), skip_flags=skip.split(), force_flags=force.split(), basepath=repo)
sys.exit(0 if ok else 1)
'''


def run(path, repo, env, slow=False):
    "Run a notebook as `nbdev_test` does, but in a new process, not a fork of this one: whether it passed, and what it printed."
    flags = checks.settings(repo)['tst_flags']
    process = subprocess.Popen([sys.executable, '-c', CALL, repo, path, flags, 'slow' if slow else ''], cwd=path.parent, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=as_in_a_terminal)
    try: out, _ = process.communicate(timeout=7200 if slow else 300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL) # with all that it started
        return False, 'it took too long:\n' + process.communicate()[0]
    return process.returncode == 0, out


def test_notebook(notebook, request, repo, quiet_env):
    if notebook.stem == '11_cifar10': # the only data set that has no stand-in
        from mingpt_nb.cifar10 import cifar10_folder
        try: cifar10_folder()
        except OSError as e: pytest.skip(str(e))
    before = set(notebook.parent.iterdir())
    passed, out = run(notebook, repo, quiet_env, request.config.getoption('--slow'))
    assert passed, f'{notebook.name} failed:\n{out[-8000:]}'
    assert set(notebook.parent.iterdir()) == before, 'it left files beside the notebook'
    assert 'IN_TEST' not in os.environ # which nbdev sets in the process of the notebook and leaves there


def test_a_red_cell_is_seen(repo, quiet_env, tmp_path):
    "A cell that fails fails the notebook, by default only if it is not slow, and cells that are never to run don't."
    def passes(*cells, **keys):
        cells = [{'cell_type': 'code', 'execution_count': None, 'id': f'c{i}', 'metadata': {}, 'outputs': [], 'source': s.splitlines(True)} for i, s in enumerate(cells)]
        nb = {'cells': cells, 'metadata': {'kernelspec': {'language': 'python', 'name': 'python3'}}, 'nbformat': 4, 'nbformat_minor': 5}
        (tmp_path/'a.ipynb').write_text(json.dumps(nb))
        return run(tmp_path/'a.ipynb', repo, quiet_env, **keys)
    assert passes('x = 1', 'assert x == 1')[0]
    passed, out = passes('x = 1', 'assert x == 2')
    assert not passed and 'AssertionError' in out
    assert passes('#| slow\nassert False', '#| eval: false\nassert False', '#| notest\nassert False')[0]
    assert not passes('#| slow\nassert False', slow=True)[0]
