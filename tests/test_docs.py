"""The documents: every link and anchor leads somewhere, every page is in the menu, and excerpts are what they quote."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

EXCERPT = re.compile(r"^```\w+ (?P<file>\S+\.\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FETCHED = re.compile(
    r"""<(?:script|img|link rel="(?:stylesheet|icon|preconnect)")[^>]*(?:src|href)=["']?https?:[^>]*>"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    told = [line for line in built.stderr.splitlines() if not line.startswith("INFO")]
    assert built.returncode == 0, "\n".join(told)  # names each page that mkdocs.yml's nav lacks, each broken link
    return folder


def test_the_site_has_the_readme_first_and_files_of_the_repository_as_pages(site: Path) -> None:
    assert "A voice goes in" in (site / "index.html").read_text()
    assert "heartbeat_timeout_ms" in (site / "source" / "supervisor.toml" / "index.html").read_text()


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))
    assert {str(page): found for page in pages if (found := FETCHED.findall(page.read_text()))} == {}


@pytest.mark.parametrize("page", ["extending.md", "probes.md"])
def test_excerpts_are_what_they_quote(page: str) -> None:
    excerpts = list(EXCERPT.finditer((ROOT / "docs" / page).read_text()))
    assert excerpts
    for excerpt in excerpts:
        assert excerpt["text"] in (ROOT / excerpt["file"]).read_text(), excerpt["file"]


NAMED = re.compile(r"`((?:deploy|examples|models|pipeline|scripts|stages|tests|webclient)/[\w./-]+)`")


def test_every_file_that_a_document_names_is_there() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    named = {(document.name, path) for document in documents for path in NAMED.findall(document.read_text())}
    assert len(named) > len(documents)
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []
