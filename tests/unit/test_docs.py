"""Docs that cannot go stale: generated pages are as generated, links lead somewhere, routes and headers are told."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pointsman.core
from pointsman.core.errors import PointsmanError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *DOCS.rglob("*.md")]


def _generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "pointsman.example.yaml"])
def test_generated_pages_are_as_generated(name):
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == _generator().PAGES[name](), "run: .venv/bin/python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def anchors(page: Path) -> set[str]:
    """Those that a heading gets where Markdown is shown: small letters, spaces as hyphens, other signs left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anchors_are_headings(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            there = page.parent / target if target else page
            assert anchor in anchors(there), f"{page}: {target}#{anchor}"


def test_every_page_is_reachable_from_the_index():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        if page.parent.name != "decisions" and page.parent != DOCS:
            assert str(page.relative_to(DOCS)) in index, page


def test_every_header_of_an_answer_is_told():
    source = (ROOT / "src/pointsman/surfaces/openai/chat.py").read_text()
    page = (DOCS / "reference/http-api.md").read_text()
    for name in set(re.findall(r'b"(x-pointsman-[a-z-]+)"', source)):
        assert f"`{name}`" in page, name


def _kinds(kind: type[PointsmanError]) -> set[type[PointsmanError]]:
    return {kind}.union(*map(_kinds, kind.__subclasses__()))


def test_every_error_that_a_request_may_meet_is_told():
    page = (DOCS / "reference/http-api.md").read_text(encoding="utf-8")
    told = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]*) \|", page, re.MULTILINE)
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    for module in pkgutil.iter_modules(pointsman.core.__path__):
        importlib.import_module(f"pointsman.core.{module.name}")
    kinds = {kind for kind in _kinds(PointsmanError) if kind.__module__.startswith("pointsman.core.")}
    assert len(kinds) > 30
    for kind in kinds:
        assert (kind.status, kind.code) in told, kind


def test_make_targets_that_the_readme_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 15, 0)])
def test_make_refuses_a_python_that_the_pins_are_not_for_and_says_which_it_takes(tmp_path, version):
    other = tmp_path / "python"
    other.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2"\n'
    )
    other.chmod(0o755)
    made = subprocess.run(
        ["make", "-f", ROOT / "Makefile", ".venv/bin/python", f"PYTHON={other}"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode != 0
    taken = re.search(r"error: (Python 3\.\d+ to 3\.\d+) is needed", made.stderr)[1]
    for page in ("README.md", "docs/tutorial/first-answer.md"):
        assert taken in (ROOT / page).read_text(), page
    assert not (tmp_path / ".venv").exists()


def test_the_weights_are_as_told():
    from pointsman.pipeline.decide.policy import WEIGHTS
    from pointsman.pipeline.decide.predict import SLOPE, TYPICAL

    page = (DOCS / "explanation/decisions.md").read_text()
    assert f"logit q − {SLOPE:g} × (complexity − {TYPICAL:g})" in page
    for name, weights in WEIGHTS.items():
        row = (weights.cost, weights.latency, weights.remote, weights.enough, weights.hard)
        assert f"| {name} | {' | '.join(f'{value:g}' for value in row)} |" in page


PINS = ("run.txt", "dev.txt", "entities.txt")


def test_every_dependency_has_its_reason_and_its_pin():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    told = re.search(r"## Dependencies, and why\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    pinned = "".join((ROOT / "requirements" / name).read_text() for name in PINS)
    for requirement in named:
        name = re.match(r"[\w-]+", requirement)[0]
        assert re.search(rf"\b{name}\b", told), name
        assert re.search(rf"^{name}==\S+ .*\\$", pinned, re.MULTILINE), name


def test_pins_hold_hashes_and_no_addresses():
    for name in PINS:
        text = (ROOT / "requirements" / name).read_text()
        assert "://" not in text
        for entry in re.split(r"\n(?=\S)", text):
            if "==" in entry.split("\n")[0]:
                assert "--hash=sha256:" in entry, entry
