"""Where templates lie: `omegacli/templates` in the wheel, `templates` in checkouts and editable installs."""

from __future__ import annotations

from pathlib import Path

from omegaml.errors import NotFound

# An editable install maps packages to directories by name only and does not know `omegacli.templates`
# apart from `omegacli`, so both places are looked up as files and nothing is imported.
_PLACES = (Path(__file__).parents[1] / "templates", Path(__file__).parents[2] / "templates")


def templates() -> Path:
    """Return the directory of the templates. Raises: NotFound when the installation lacks it."""
    for place in _PLACES:
        if place.is_dir():
            return place
    raise NotFound(
        f"the installation has no templates: looked in {' and '.join(str(place) for place in _PLACES)}",
        hint="reinstall with `pip install --force-reinstall omegaml`",
    )


def template(name: str) -> Path:
    """Return the path of template `name`, relative to the templates' directory. Raises: NotFound."""
    path = templates() / name
    if not path.is_file():
        raise NotFound(f"there is no template named {name!r} in {templates()}")
    return path
