"""Before a release is built: the README's links and pictures as a package index needs them, and the project's URLs.

Rewrites README.md and pyproject.toml in the working directory; `release.yml` runs it on a tag. The address of the
repository and the tag come from the environment of that workflow, so that nothing here goes stale.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELATIVE = re.compile(r"(?<=\]\()(?![#/]|[a-z]+:)[^)\s]+")  # what stands in the brackets of a link or picture


def main():
    """Rewrite both files."""
    if not {"GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_REF_NAME"} <= set(os.environ):
        raise SystemExit("Set GITHUB_SERVER_URL, GITHUB_REPOSITORY and GITHUB_REF_NAME, as the release workflow does.")
    home = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ)
    tag = os.environ["GITHUB_REF_NAME"]

    def absolute(match):
        path = ROOT / match[0].split("#")[0]
        if not path.exists():
            raise SystemExit(f"README.md links to {match[0]}, which is not in the repository: correct the link.")
        kind = "raw" if path.suffix in (".png", ".jpg", ".svg") else "tree" if path.is_dir() else "blob"
        return f"{home}/{kind}/{tag}/{match[0]}"

    readme, project = Path("README.md"), Path("pyproject.toml")
    parts = re.split(r"(^```.*?^```$)", readme.read_text(), flags=re.MULTILINE | re.DOTALL)  # every second one is code
    parts[::2] = [RELATIVE.sub(absolute, part) for part in parts[::2]]
    readme.write_text("".join(parts))
    pages = {"Homepage": "", "Documentation": f"/blob/{tag}/README.md", "Source": f"/tree/{tag}",
             "Changelog": f"/blob/{tag}/CHANGELOG.md", "Issues": "/issues"}  # fmt: skip
    lines = [f'{name} = "{home}{page}"\n' for name, page in pages.items()]
    project.write_text(project.read_text() + "\n[project.urls]\n" + "".join(lines))


if __name__ == "__main__":
    main()
