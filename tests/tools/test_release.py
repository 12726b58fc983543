"""`make release` refuses what would be no release, and fragments of the changelog are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))
import release


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, with one commit and one fragment."""
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "README.md").write_text("how")
    (tmp_path / "changes" / "something.fix.md").write_text("It works.")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *args: str) -> None:
    subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    who = ["-c", "user.name=a test", "-c", "user.email=test@example.org"]
    git(folder, "add", "--all")
    git(folder, *who, "commit", "--quiet", "--message", "a commit")


def test_a_clean_tree_with_a_fragment_can_be_released(repository: Path) -> None:
    release.check("0.2.0")
    release.check("1.0.0rc1")


@pytest.mark.parametrize("version", ["1", "v1.0.0", "1.0", "1.0.0-beta", ""])
def test_what_is_no_version_is_refused(version: str, repository: Path) -> None:
    with pytest.raises(release.Refused, match="is no version"):
        release.check(version)


def test_changes_that_are_not_committed_are_refused(repository: Path) -> None:
    (repository / "new").write_text("")
    with pytest.raises(release.Refused, match="not committed"):
        release.check("0.2.0")


def test_a_version_is_released_once(repository: Path) -> None:
    git(repository, "tag", "v0.2.0")
    with pytest.raises(release.Refused, match="exists already"):
        release.check("0.2.0")


def test_nothing_new_is_no_release(repository: Path) -> None:
    (repository / "changes" / "something.fix.md").unlink()
    commit(repository)
    with pytest.raises(release.Refused, match="no fragment"):
        release.check("0.2.0")


def test_what_fails_on_the_way_leaves_no_trace(repository: Path) -> None:
    """CITATION.cff and the rest are missing here, so that nothing can be written."""
    (repository / "pyproject.toml").write_text('version = "0.1.0"\n')
    for name in ("CITATION.cff", "CHANGELOG.md"):
        (repository / name).write_text("nothing\n")
    commit(repository)
    with pytest.raises(release.Refused, match=r"CITATION.cff: .* is there 0 times"):
        release.release("0.2.0")
    assert (repository / "pyproject.toml").read_text() == 'version = "0.1.0"\n'
    release.check("0.2.0")


def test_the_notes_are_the_section_of_the_version(repository: Path) -> None:
    text = "# Changelog\n\n## 0.2.0 (today)\n\n### New\n\n- x\n\n## 0.1.0 (before)\n\n- y\n"
    (repository / "CHANGELOG.md").write_text(text)
    assert release.notes("0.2.0") == "## 0.2.0 (today)\n\n### New\n\n- x\n"
    assert release.notes("0.1.0") == "## 0.1.0 (before)\n\n- y\n"
    with pytest.raises(release.Refused, match="no section"):
        release.notes("0.3.0")


def test_every_file_of_changes_is_a_fragment_of_a_known_kind() -> None:
    others = {"README.md", "template.md"}
    files = {path for path in (REPOSITORY / "changes").iterdir() if path.name not in others}
    assert files == {f for f in release.fragments() if f.name not in others}
    assert all(path.read_text(encoding="utf-8").strip() for path in files)
