"""Pages escape what they are given and let the browser load nothing."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from jinja2 import UndefinedError

from revoxel.core.html_page import content_policy, data_uri, render_page
from revoxel.sagnef.comparison.page import page


def test_policy_allows_the_given_scripts_alone() -> None:
    digest = b64encode(sha256(b"go()").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in content_policy(["go()", "go()"])
    assert content_policy().endswith("script-src 'none'")


def test_data_uri_holds_the_bytes() -> None:
    assert data_uri(b"abc", "image/png") == "data:image/png;base64,YWJj"


def test_texts_are_escaped() -> None:
    html = page("<i>t", {"command": "a < b"}, [], b"", ["<script>"])
    assert "<title>&lt;i&gt;t</title>" in html
    assert "a &lt; b" in html
    assert "<script>" not in html
    assert 'href="#main"' in html


def test_forgotten_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render_page("revoxel.sagnef.comparison", "evaluation.html.jinja")
