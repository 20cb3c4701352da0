"""MkDocs' hook: what the repository has outside docs/ becomes pages too, and links hold in both places.

README.md is the first page. A file that a page links to, supervisor.toml say, is a page under source/. A folder outside
docs/ has no page: its link becomes plain text.
"""

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
TOP: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "THIRD_PARTY.md": "third-party.md",
}
"""Files of the top folder and their pages."""
DOCS: Final = "docs/"
_LINK: Final = re.compile(
    r"\[(?P<text>(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)"
)
_FENCE: Final = re.compile(r"^```(\w+) .*$", re.MULTILINE)
_LANGUAGES: Final = {".py": "python", ".toml": "toml", ".js": "javascript", ".mjs": "javascript", ".sh": "sh"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    icon = ROOT / "webclient" / "icon.svg"
    files.append(File.generated(config, "images/icon.svg", abs_src_path=str(icon)))
    for name, uri in TOP.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
    linked = {
        path
        for file in files.documentation_pages()
        for link in _LINK.finditer(file.content_string)
        if _page_of(path := _in_repository(file.src_uri, link["path"])) == _source_page(path)
        and (ROOT / path).is_file()
    }
    for path in sorted(linked):
        text = (ROOT / path).read_text(encoding="utf-8")
        content = f"# {path}\n\n~~~~~~{_LANGUAGES.get(Path(path).suffix, 'text')}\n{text}\n~~~~~~\n"
        files.append(File.generated(config, _source_page(path), content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - named so
    """Point links at pages. What stands behind a code block's language is for tests."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown

    def pointed(link: re.Match[str]) -> str:
        path = _in_repository(here, link["path"])
        if (ROOT / path).is_dir():
            return link["text"]
        target = posixpath.relpath(_page_of(path), posixpath.dirname(here) or ".")
        return f"[{link['text']}]({target}{link['anchor'] or ''})"

    return _FENCE.sub(r"```\1", _LINK.sub(pointed, markdown))


def _in_repository(page: str, link: str) -> str:
    """The path, from the top folder, of what a page's link names."""
    original = next((name for name, uri in TOP.items() if uri == page), DOCS + page)
    return posixpath.normpath(posixpath.join(posixpath.dirname(original), link))


def _page_of(path: str) -> str:
    """The page, or the picture, of a file of the repository."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return TOP.get(path) or _source_page(path)


def _source_page(path: str) -> str:
    return f"source/{path}.md"
