"""THIRD_PARTY.md names every package that lipwire is installed with, under the licence that the package tells."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.running import ROOT

FAMILIES = ("AGPL", "LGPL", "GPL", "MIT", "BSD", "Apache", "MPL", "PSF", "Python Software Foundation", "ISC", "CMU")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROWS = [line for line in (ROOT / "THIRD_PARTY.md").read_text().splitlines() if line.startswith("| ")]


def needed(requirements: list[str], seen: set[str]) -> Iterator[str]:
    """These packages, and what they need in turn; canonical names."""
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        yield name
        yield from needed(importlib.metadata.requires(name) or [], seen)


def row_of(name: str) -> str:
    """The table's row whose first cell names the package."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE)
    found = [row for row in ROWS if word.search(row.split("|")[1])]
    assert found, f"THIRD_PARTY.md does not name {name}"
    return found[0]


def families(text: str) -> set[str]:
    """The kinds of licence that a text names."""
    return {family for family in FAMILIES if re.search(rf"(?<![A-Z]){family}", text)}


@pytest.mark.parametrize("name", sorted(needed(PROJECT["dependencies"], set())))
def test_what_is_installed_is_named_with_its_own_licence(name: str) -> None:
    told = importlib.metadata.metadata(name)
    licences = [*(told.get_all("License-Expression") or []), *(told.get_all("License") or [])]
    classifiers = [each for each in told.get_all("Classifier") or [] if each.startswith("License")]
    its_own = families(" ".join([*(text[:200] for text in licences), *classifiers]))  # some carry the whole text
    assert its_own, f"{name} does not tell its licence; look for it and name it here"
    assert its_own & families(row_of(name)), f"{name}: {its_own}"
    assert not {"GPL", "AGPL"} & its_own, f"{name} would make the whole of lipwire GPL"


def test_what_an_extra_brings_is_named() -> None:
    for extra in PROJECT["optional-dependencies"].values():
        for requirement in extra:
            row_of(Requirement(requirement).name)
