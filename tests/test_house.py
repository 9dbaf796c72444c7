"""The house rules that no linter knows: sizes, light imports, documents that stay true."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import ei_automation
from ei_automation import errors
from ei_automation.settings import ENVIRONMENT, FOREIGN_ENVIRONMENT, STUDIO, Settings
from ei_automation.workflow.boards import supported_markdown
from ei_automation.workflow.project import open_session
from ei_automation.workflow.readme import is_of_this_lock, overview_row, project_readme

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "ei_automation").rglob("*.py"))
README = (ROOT / "README.md").read_text()
HEAVY = ("tensorflow", "keras", "numpy", "edgeimpulse", "kaggle", "pydantic")


def function_lengths() -> dict[str, int]:
    """Lines of every function, signature and docstring included."""
    lengths = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{path.name}:{node.name}:{node.lineno}"] = (
                    (node.end_lineno or node.lineno) - node.lineno + 1
                )
    return lengths


def percentile(values: list[int], share: float) -> int:
    return sorted(values)[int(share * (len(values) - 1))]


def test_functions_are_short():
    lengths = function_lengths()
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert percentile(list(lengths.values()), 0.9) <= 35
    assert statistics.median(lengths.values()) <= 10


def test_modules_are_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > 500} == {}
    assert percentile(list(lengths.values()), 0.9) <= 350


@pytest.mark.parametrize(
    "code",
    [
        "from ei_automation.cli.main import cli; cli.main(['--help'], standalone_mode=False)",
        "from ei_automation.cli.main import cli; cli.main(['reproduce', '--help'], standalone_mode=False)",
        "import ei_automation.settings, ei_automation.errors",
    ],
)
def test_help_imports_nothing_heavy(code):
    program = f"import sys\n{code}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_looking_at_a_project_imports_no_tensorflow(project):
    program = (
        "import sys; from pathlib import Path; from ei_automation.settings import Settings\n"
        "from ei_automation.workflow.project import open_session\n"
        f"with open_session(Path({str(project)!r}), Settings.from_env()).open_backend() as backend:\n"
        "    backend.list_samples()\n"
        "print([m for m in ('tensorflow', 'sklearn', 'cv2', 'kaggle') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_only_the_door_imports_kaggle():
    importing = [
        str(path.relative_to(ROOT / "ei_automation"))
        for path in MODULES
        if re.search(r"^\s*(?:from|import) kaggle(?:sdk)?\b", path.read_text(), re.MULTILINE)
    ]
    assert importing
    assert all(name.startswith("dataset/fetch/kaggle") for name in importing)


def test_the_changelog_has_todays_version():
    versions = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] in ("Unreleased", ei_automation.__version__)
    assert ei_automation.__version__ in versions


def test_the_readme_names_every_room_and_every_variable():
    rooms = {
        path.name for path in (ROOT / "ei_automation").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    tree = README.split("## The tree", 1)[1]
    assert {room for room in rooms if f"{room}/" not in tree} == set()
    assert {name for name in ENVIRONMENT | STUDIO | FOREIGN_ENVIRONMENT if f"`{name}`" not in README} == set()


def test_the_readme_has_every_exit_code():
    table = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|", README.split("## Exit codes", 1)[1], re.MULTILINE))
    found = {
        str(kind.exit_code)
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EiautoError)
    }
    assert found <= set(table)


def test_the_readme_has_the_table_of_boards():
    assert supported_markdown() in README, "paste what `eiauto boards --supported` prints"


@pytest.mark.parametrize("folder", sorted((ROOT / "projects").iterdir()), ids=lambda folder: folder.name)
def test_the_projects_readmes_are_what_manifest_and_lock_say(folder):
    session = open_session(folder, Settings.from_env())
    if not is_of_this_lock(session):
        pytest.skip("this machine has measured anew; the README shows the committed lock")
    assert (folder / "README.md").read_text() == project_readme(session), f"run `eiauto report {folder} --readme`"
    assert overview_row(session) in README


def test_the_lock_file_pins_what_the_project_declares():
    pinned = dict(
        line.lower().split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line[:60]
    )
    declared = re.findall(r'^\s+"([A-Za-z0-9_-]+)[>=\[]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    names = {name.lower() for name in declared} - {"eiauto", "setuptools"}
    pins = {name.replace("_", "-") for name in pinned}
    assert {name for name in names if name.replace("_", "-") not in pins} == set()
    assert tuple(map(int, pinned["kaggle"].split("."))) >= (2, 2, 5)
