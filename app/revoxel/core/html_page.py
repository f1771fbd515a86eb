"""HTML pages that need no network: one frame, one style sheet, everything escaped, pictures inside the page.

Templates are Jinja files in the folder `templates` of a package; `frame.html.jinja` and `tables.html.jinja`
of this package are there for all of them. What is not marked safe is escaped: names in records are not ours.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from revoxel.core.volumes import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterable

_HOME = "revoxel.core"


def render_page(package: str, template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        package: Package whose `templates` folder holds it.
        template: File name; it usually extends `frame.html.jinja`.
        values: What the template shows; strings are escaped unless they are `Markup`.

    Returns:
        HTML.
    """
    return _environment(package).get_template(template).render(notice=RESEARCH_USE, **values)


def own_text(package: str, name: str) -> Markup:
    """A style sheet or script of ours, to be written into a page as it is.

    Args:
        package: Package that holds the file in `templates`.
        name: File name.
    """
    return Markup((files(package) / "templates" / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that needs no file.

    Args:
        content: A picture.
        kind: Its media type, such as `image/webp`.
    """
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def content_policy(scripts: Iterable[str] = ()) -> str:
    """What a browser may do with the page: load nothing, and run the given scripts alone.

    Args:
        scripts: Text of every inline script of the page and of the frames inside it.

    Returns:
        Content security policy, for the head of the page.
    """
    hashes = {f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'" for text in scripts}
    allowed = " ".join(sorted(hashes)) or "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


@cache
def _environment(package: str) -> Environment:
    loader = ChoiceLoader([PackageLoader(package), PackageLoader(_HOME)])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["own_text"] = own_text
    return environment
