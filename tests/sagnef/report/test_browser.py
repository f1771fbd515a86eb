"""The page in a real browser: quiet, without a network, moved by mouse and keyboard, readable, printable."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CONTRAST = 4.5


@dataclass
class Visit:
    """A page that is open, and what it did."""

    page: playwright.Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def frame(self) -> playwright.FrameLocator:
        """The first viewer, opened."""
        viewer = self.page.locator("details.viewer").first
        if viewer.get_attribute("open") is None:
            viewer.locator("summary").click()
        viewer.scroll_into_view_if_needed()
        frame = self.page.frame_locator("iframe >> nth=0")
        frame.locator("canvas[tabindex]").wait_for()
        return frame


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser found: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        # A container's root has no sandbox.
        opened = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, page: Path) -> Iterator[Visit]:
    """The report, with every request beyond the file itself recorded and stopped."""
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    visit = Visit(opened)

    def stop(route: playwright.Route) -> None:
        url = route.request.url
        if url.startswith(("data:", "blob:", page.as_uri())):
            route.continue_()
        else:
            visit.requests.append(url)
            route.abort()

    opened.route("**/*", stop)
    opened.on("console", lambda message: visit.errors.append(message.text))
    opened.on("pageerror", lambda error: visit.errors.append(str(error)))
    opened.on("dialog", lambda dialog: (visit.errors.append(dialog.message), dialog.dismiss()))
    opened.goto(page.as_uri())
    yield visit
    assert visit.errors == []
    assert visit.requests == []
    opened.close()


def places(frame: playwright.FrameLocator) -> list[str]:
    return [frame.locator(f"#place-{axis}").input_value() for axis in "XYZ"]


def pixels(frame: playwright.FrameLocator) -> str:
    return frame.locator("canvas").evaluate("canvas => canvas.toDataURL()")


def test_viewer_moves_when_it_is_clicked(visit) -> None:
    frame = visit.frame()
    before, drawn = places(frame), pixels(frame)
    width = frame.locator("canvas").bounding_box()["width"]
    frame.locator("canvas").click(position={"x": 0.9 * width, "y": 60})
    after = places(frame)
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[2] == before[2], "a click into the axial slice stays in that slice"
    assert pixels(frame) != drawn


def test_viewer_moves_by_keyboard_alone(visit) -> None:
    frame = visit.frame()
    x, y, z = map(int, places(frame))
    frame.locator("canvas").focus()
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "PageDown"):
        visit.page.keyboard.press(key)
    assert list(map(int, places(frame))) == [x + 1, y + 2, z - 1]
    visit.page.keyboard.press("Shift+ArrowLeft")
    assert int(places(frame)[0]) == max(x - 9, 0)
    frame.locator("#place-Z").focus()
    visit.page.keyboard.press("ArrowRight")
    assert int(places(frame)[2]) == z


def test_viewer_shows_other_volumes_and_colours(visit) -> None:
    frame = visit.frame()
    seen = {pixels(frame)}
    for title in ("thick slices", "truth", "error of fused"):
        frame.locator("#volume").select_option(label=title)
        visit.page.wait_for_timeout(150)
        seen.add(pixels(frame))
    assert len(seen) == 4
    colours = frame.locator("input.slider")
    assert colours.input_value() == "0"
    colours.fill("100")
    assert pixels(frame) not in seen


def test_every_part_is_reached_by_the_tab_key(visit) -> None:
    visit.frame()
    visit.page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    name = (
        "(({tagName, className}) => `${tagName}.${className.baseVal ?? className}`)(document.activeElement)"
    )
    wanted = {"A.skip", "BUTTON.", "SUMMARY.", "IFRAME.", "DIV.scroll", "a."}
    for _ in range(200):
        visit.page.keyboard.press("Tab")
        wanted.discard(visit.page.evaluate(name))
        if not wanted:
            break
    assert wanted == set()


def test_focus_is_visible(visit) -> None:
    visit.page.keyboard.press("Tab")
    style = "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]"
    assert visit.page.evaluate(f"(() => {{ {style} }})()") == ["solid", "3px"]
    assert visit.page.locator(".skip").bounding_box()["x"] >= 0


def test_thumbnail_leads_to_its_run(visit) -> None:
    visit.page.locator(".thumbnails a").nth(1).click()
    target = visit.page.locator("article:target h2")
    assert target.inner_text() == visit.page.locator(".thumbnails a span").nth(2).inner_text()
    playwright.expect(target).to_be_in_viewport()


def test_table_sorts_by_number_and_says_so(visit) -> None:
    head = visit.page.locator(".sortable th", has_text="PSNR dB")
    column = head.evaluate("cell => cell.cellIndex")
    values = f"rows => rows.map(row => Number(row.cells[{column}].textContent))"
    for direction, reverse in (("ascending", False), ("descending", True)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        sorted_values = visit.page.locator(".sortable tbody tr").evaluate_all(values)
        assert sorted_values == sorted(sorted_values, reverse=reverse)


def test_names_and_headings_are_there_for_those_who_do_not_see(visit) -> None:
    page = visit.page
    assert page.locator("img:not([alt])").count() == 0
    described = "images => images.filter(image => !image.alt && !image.closest('a')).length"
    assert page.locator("img").evaluate_all(described) == 0
    levels = page.locator("h1, h2, h3").evaluate_all("heads => heads.map(head => Number(head.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    identifiers = page.locator("[id]").evaluate_all("parts => parts.map(part => part.id)")
    assert len(identifiers) == len(set(identifiers))
    unnamed = "parts => parts.filter(part => !(part.labels && part.labels.length) && !part.ariaLabel).length"
    frame = visit.frame()
    assert frame.locator("input, select").evaluate_all(unnamed) == 0
    assert page.locator("iframe:not([title])").count() == 0


CONTRAST_SCRIPT = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const linear = (c) => (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    const [r, g, b] = channels(colour).map((c) => linear(c / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (part) => {
    for (; part; part = part.parentElement) {
      const colour = getComputedStyle(part).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = [...document.querySelectorAll("body *:not(script)")].filter((part) =>
    [...part.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return texts.map((part) => {
    const style = getComputedStyle(part);
    const ink = part instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(part))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), part.tagName + ": " + part.textContent.trim().slice(0, 40)];
  });
}
"""


def test_texts_stand_out_from_their_ground(visit) -> None:
    for place in (visit.page, visit.frame().locator("body")):
        found = place.evaluate(CONTRAST_SCRIPT)
        assert found
        assert [text for ratio, text in found if ratio < CONTRAST] == []


def test_paper_is_white_without_viewers_and_with_details_opened(visit) -> None:
    page = visit.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not(.viewer):not([open])").count() == 0
    assert page.locator("iframe:visible").count() == 0
    drawn = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert page.evaluate(drawn), "a picture that waits to be scrolled to is white on paper"
    assert page.locator("nav:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not(.viewer)[open]").count() == 0
    assert len(page.pdf(format="A4")) > 10_000


def test_page_fits_a_narrow_window(visit) -> None:
    visit.page.set_viewport_size({"width": 400, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400
