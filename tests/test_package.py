"""The package as it is installed."""

import ast
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
MODULES = {"pillow": "PIL"}  # of packages that are not named like their module


def imported(path):
    """Top-level names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def test_a_plain_installation_brings_all_that_the_code_imports():
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", (PROJECT / "pyproject.toml").read_text(), re.M | re.S)[1]
    dependencies = {MODULES.get(name, name) for name in re.findall(r'^ +"([\w-]+)', listed, re.M)}
    assert {"torch", "soundfile"} <= dependencies
    for path in [*PROJECT.glob("asr/**/*.py"), *PROJECT.glob("recipes/*.py")]:
        others = set(imported(path)) - sys.stdlib_module_names - {"asr", "recipes"}
        assert others <= dependencies, path
