"""The page of a run in a browser: sorting, explorer and theme by keyboard, widths, print, and that nothing is requested."""

import re
import shutil
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from html_pages import HOSTILE, SCRIPT, hostile_files, run_in

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.charts, pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome on the path")]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    hostile_files(folder)
    run_in(folder)
    return (folder / "out/report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("needs Playwright, of the extra test")
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


@contextmanager
def opened(browser, address, **context):
    """The page; afterwards, no request but for itself, no error, no dialog."""
    own, problems, requests = browser.new_context(**context), [], []
    page = own.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.wait_for_load_state()
    yield page
    own.close()
    assert problems == []
    assert {url for url in requests if not url.startswith("data:")} == {address}


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as own:
        yield own


def column(page, number):
    return page.locator(f"#results table.sortable tbody tr > :nth-child({number})").all_inner_texts()


def numbers(page, number):
    return [float(re.search(r"\d\.\d+", text)[0]) for text in column(page, number)]


def test_columns_are_sorted_by_mouse_and_keyboard(page):
    heads = page.locator("#results table.sortable thead th")
    button = heads.nth(1).get_by_role("button", name="ndcg@5")
    button.click()
    assert heads.nth(1).get_attribute("aria-sort") == "descending"
    values = numbers(page, 2)
    assert values == sorted(values, reverse=True)
    button.focus()
    page.keyboard.press("Enter")
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    assert numbers(page, 2) == values[::-1]
    heads.nth(0).get_by_role("button").focus()
    page.keyboard.press("Space")
    assert [text.removesuffix(" chosen") for text in column(page, 1)] == ["ease", "network", "popularity"]
    assert heads.nth(1).get_attribute("aria-sort") == "none"
    heads.nth(2).get_by_role("button").click()  # an error: the lowest value first, those without one last
    assert heads.nth(2).get_attribute("aria-sort") == "ascending"
    assert column(page, 1)[0].startswith("network")
    assert column(page, 3)[1:] == ["-", "-"]


def test_the_explorer_works_without_a_mouse(page):
    page.locator("#search").focus()
    assert page.locator("#said").inner_text().startswith("User ")
    first = page.locator("#said").inner_text()
    page.locator("#user").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#said").inner_text() != first
    page.locator("#before").focus()
    page.keyboard.press("Enter")
    assert page.locator("#said").inner_text() == first
    summary = page.locator("#shown li summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#shown li details[open] .why li").count() >= 1
    page.locator("#search").fill("no such thing")
    assert page.locator("#said").inner_text() == "No user of the sample has “no such thing”."
    assert page.locator("#shown").inner_text() == ""
    page.locator("#search").fill("title 4")
    assert page.locator("#shown h3").count() == 4


def test_hits_are_marked_in_words_too(page):
    hits = page.locator("#shown .hit")
    for _ in range(30):
        if hits.count():
            break
        page.locator("#after").click()
    text = hits.first.text_content()
    assert text.startswith("✓ ")
    assert "(in the test part)" in text


def test_hostile_titles_and_ids_are_shown_as_text(page):
    assert page.locator("#shown img").count() == 0
    page.locator("#search").fill(HOSTILE)
    assert HOSTILE in page.locator("#shown").inner_text()
    page.locator("#search").fill(SCRIPT[:20])
    assert "</script><script>alert(2)</script>" in page.locator("#shown").inner_text()
    assert page.locator("section img").count() == page.locator("figure.pixelated img").count()


def test_the_theme_is_chosen_by_keyboard_and_remembered(page):
    def paper():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    page.locator("#theme").focus()
    page.keyboard.type("dark")
    page.keyboard.press("Enter")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")  # a closing menu reports its choice later
    dark = paper()
    assert dark != light
    page.reload()
    assert paper() == dark
    assert page.locator("#theme").input_value() == "dark"
    page.locator("#theme").select_option("")
    assert paper() == light


def test_the_theme_follows_the_system(browser, address):
    papers = set()
    for scheme in ("light", "dark"):
        with opened(browser, address, color_scheme=scheme) as page:
            papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2


def test_it_works_in_a_frame_without_storage(browser, address):
    """As MLflow shows artifacts."""
    source = Path(unquote(urlsplit(address).path)).read_text()
    own = browser.new_page()
    problems = []
    own.on("pageerror", lambda error: problems.append(str(error)))
    own.set_content('<iframe sandbox="allow-scripts" style="width: 100%; height: 800px"></iframe>')
    own.locator("iframe").evaluate("(frame, source) => { frame.srcdoc = source; }", source)
    frame = own.frame_locator("iframe")
    frame.locator("#theme").select_option("dark")
    assert frame.locator("#shown h3").count() == 4
    own.close()
    assert problems == []


@pytest.mark.parametrize("width", [360, 768, 1280, 1600])
def test_the_page_is_never_wider_than_the_window(browser, address, width):
    with opened(browser, address, viewport={"width": width, "height": 800}) as page:
        for section in page.locator("details").all():
            section.evaluate("one => { one.open = true; }")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_print_is_light_and_without_controls(browser, address):
    with opened(browser, address, color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert not page.locator(".controls").is_visible()
        assert page.locator("#results table.sortable").first.is_visible()
        assert page.locator("#shown h3").first.is_visible()
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"


def test_structure_for_assistive_technology(page):
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.locator("main").count() == page.locator("header").count() == page.locator("footer").count() == 1
    unnamed = """[...document.querySelectorAll('button, select, input, summary, a, [role=region]')].filter(one =>
        !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).length"""
    assert page.evaluate(unnamed) == 0
    assert page.evaluate("[...document.images].every(one => one.alt)")
    assert page.evaluate("[...document.querySelectorAll('figure')].every(one => one.querySelector('figcaption').textContent)")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate("document.documentElement.lang") == "en"


CONTRAST = """() => {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((one) => one / 255)
      .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const low = [];
  for (const one of document.querySelectorAll("body *:not(script):not(style)")) {
    if (!one.checkVisibility() || ![...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
    const style = getComputedStyle(one);
    const ink = luminance(one.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) low.push([one.tagName, one.className, one.textContent.trim().slice(0, 30), ratio]);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser, address, scheme):
    with opened(browser, address, color_scheme=scheme) as page:
        assert page.evaluate(CONTRAST) == []
