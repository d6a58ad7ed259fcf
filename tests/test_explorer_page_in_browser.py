"""The page of fields and cells, used in headless Chromium as a person uses it: mouse, keyboard and finger."""

import shutil

import cv2
import numpy as np
import pytest

from hpa_explorer.page import describe_field, write_page
from hpa_utils.labels import CLASS_NAMES

NUCLEOPLASM, GOLGI, SPINDLE = 0, 7, 11
HOSTILE = "<img src=x onerror=alert(1)>\"'/ %#?"


def confidences(**of_class):
    """(19,) of 0.01, but for classes given as c7=0.9."""
    row = np.full(19, 0.01)
    for name, value in of_class.items():
        row[int(name[1:])] = value
    return row


def one_hot(*numbers):
    row = np.zeros(19, int)
    row[list(numbers)] = 1
    return row


def fields(with_truth=True):
    """Four fields of 200²; cells are squares of 60 px from (20, 20), (120, 120).

    alpha 1: Golgi 0.9, is Golgi. alpha 2: nucleoplasm 0.8, Golgi 0.3, is Golgi. The hostile one's cell 1:
    Golgi 0.2, is nucleoplasm. "not predicted" has one cell, "empty" has none.
    """
    two = np.zeros((200, 200), np.uint16)
    two[20:80, 20:80], two[120:180, 120:180] = 1, 2
    one = np.where(two == 1, two, 0).astype(np.uint16)
    field = np.where(two[..., None] > 0, (0, 200, 0, 0), (0, 0, 200, 0)).astype(np.uint8)  # green cells on blue
    alpha = np.stack([confidences(c7=0.9, c0=0.5), confidences(c0=0.8, c7=0.3)])
    truth = {"truth": np.stack([one_hot(GOLGI), one_hot(GOLGI)])} if with_truth else {}
    yield describe_field(field, two, "alpha", [1, 2], alpha, one_hot(GOLGI), **truth)
    truth = {"truth": one_hot(NUCLEOPLASM)[None]} if with_truth else {}
    yield describe_field(field, one, HOSTILE, [1], confidences(c7=0.2)[None], **truth)
    yield describe_field(field, one, "not predicted", [1], np.full((1, 19), np.nan))
    yield describe_field(field, np.zeros_like(one), "empty", [], np.zeros((0, 19)))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser found: {', '.join(names)}")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])  # tests may run as root
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_page(folder / "report.html", fields(), "Cells & <fields>")
    write_page(folder / "without_truth.html", fields(with_truth=False), "Cells")
    write_page(folder / "nothing.html", [], "No fields")
    return folder


@pytest.fixture
def visit(browser, written):
    """Opens a page of the folder; afterwards nothing may have failed, and nothing been asked of a network."""
    contexts, complaints, requests = [], [], []

    def opened(name="report.html", width=1280, height=800, **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url.split(":")[0]))
        page.goto((written / name.split("#")[0]).as_uri() + "".join(name.partition("#")[1:]))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(requests) <= {"file", "data"}


def place(page, x, y):
    """Where the pixel (x, y) of the shown field is in the window."""
    return page.evaluate(
        """([x, y]) => { const at = new DOMPoint(10 * x, 10 * y).matrixTransform(picture.getScreenCTM());
        return [at.x, at.y] }""",
        [x, y],
    )


def point_at(page, x, y):
    page.mouse.move(*place(page, x, y))


def value_of(page, number):
    return page.inner_text(f"#bars tr[data-class='{number}'] .value")


def mark_of(page, number):
    return page.inner_text(f"#bars tr[data-class='{number}'] .mark")


def count(page):
    return page.inner_text("#count").partition(":")[0]


def visible_fields(page):
    return page.locator("#fields li:visible .n").all_inner_texts()


def test_pointing_at_a_cell_shows_its_confidences_and_its_truth(visit):
    page = visit()
    point_at(page, 50, 50)
    assert page.inner_text("#cell-name") == "Cell 1"
    assert (value_of(page, GOLGI), value_of(page, NUCLEOPLASM), value_of(page, SPINDLE)) == ("0.900", "0.500", "0.010")
    assert (mark_of(page, GOLGI), mark_of(page, NUCLEOPLASM)) == ("✓ right", "")
    point_at(page, 150, 150)
    assert page.inner_text("#cell-name") == "Cell 2"
    assert (value_of(page, GOLGI), value_of(page, NUCLEOPLASM)) == ("0.300", "0.800")
    assert (mark_of(page, GOLGI), mark_of(page, NUCLEOPLASM)) == ("○ 2nd", "✗ false")
    page.fill("#least", "0.5")
    point_at(page, 150, 150)
    assert mark_of(page, GOLGI) == "○ missed"
    assert page.inner_text("#cell-note") == "Most confident: Nucleoplasm. Truth: Golgi apparatus."


def test_the_picture_lies_under_its_outlines(visit):
    page = visit()
    page.keyboard.press("o")
    shown = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    for x, y, inside in ((24, 24, True), (76, 76, True), (124, 124, True), (176, 176, True), (16, 16, False)):
        left, top = place(page, x, y)
        blue, green, _ = shown[round(top), round(left)]
        assert (green > blue) == inside


def test_a_cell_is_hit_up_to_its_edge_and_no_further(visit):
    page = visit()
    point_at(page, 119, 119)
    assert page.inner_text("#cell-name") == "No cell chosen"
    point_at(page, 121, 121)
    assert page.inner_text("#cell-name") == "Cell 2"


def test_a_clicked_cell_stays_when_the_pointer_leaves(visit):
    page = visit()
    page.mouse.click(*place(page, 50, 50))
    point_at(page, 150, 150)
    assert page.inner_text("#cell-name") == "Cell 2"
    page.mouse.move(5, 5)
    assert page.inner_text("#cell-name") == "Cell 1"
    page.mouse.click(*place(page, 100, 100))
    assert page.inner_text("#cell-name") == "No cell chosen"


def test_bars_are_as_long_as_the_confidences(visit):
    page = visit()
    point_at(page, 50, 50)
    widths = [
        page.locator(f"#bars tr[data-class='{k}'] .bar-cell div").bounding_box()["width"] for k in (GOLGI, NUCLEOPLASM)
    ]
    assert widths[0] / widths[1] == pytest.approx(0.9 / 0.5, rel=0.02)


def test_filters_by_class_confidence_and_truth_leave_the_cells_known_by_hand(visit):
    page = visit()
    assert count(page) == "4 cells in 4 fields; 1 cell not predicted"
    page.select_option("#class", str(GOLGI))
    assert count(page) == "2 cells in 2 fields of 4 cells in 4 fields"
    assert visible_fields(page) == ["1 of 2 cells", "1 of 1 cell"]
    for outcome, fields_left in (("right", ["1 of 2 cells"]), ("false", ["1 of 1 cell"]), ("missed", ["1 of 2 cells"])):
        page.select_option("#outcome", outcome)
        assert count(page) == "1 cell in 1 field of 4 cells in 4 fields"
        assert visible_fields(page) == fields_left
    page.fill("#least", "0.25")  # both cells of alpha, and both are Golgi
    assert count(page) == "No cell of 4 cells in 4 fields"
    page.select_option("#outcome", "right")
    assert count(page) == "2 cells in 1 field of 4 cells in 4 fields"
    page.click("#clear")
    assert count(page).startswith("4 cells in 4 fields")
    assert len(visible_fields(page)) == 4


def test_without_a_class_a_cell_is_judged_by_its_most_confident_one(visit):
    page = visit()
    assert page.locator("#outcome option").all_inner_texts() == ["any", "✓ right", "✗ false"]
    page.select_option("#outcome", "right")
    assert count(page) == "1 cell in 1 field of 4 cells in 4 fields"
    page.select_option("#outcome", "false")
    assert count(page) == "2 cells in 2 fields of 4 cells in 4 fields"
    page.fill("#least", "0.75")
    assert count(page) == "1 cell in 1 field of 4 cells in 4 fields"


def test_the_slider_goes_by_rank_to_the_most_confident_cell(visit):
    page = visit()
    page.focus("#rank")
    page.keyboard.press("End")
    assert page.input_value("#least") == "0.9"
    assert count(page) == "1 cell in 1 field of 4 cells in 4 fields"
    page.keyboard.press("Home")
    assert page.input_value("#least") == ""
    assert count(page).startswith("4 cells")


def test_cells_outside_the_filter_are_dimmed(visit):
    page = visit()
    page.select_option("#class", str(GOLGI))
    assert page.locator("#cells .dim").all_inner_texts() == ["2 ○"]
    assert page.locator("#picture path.dim").count() == 1


def test_a_class_that_nobody_predicts_says_so(visit):
    page = visit()
    page.select_option("#class", str(SPINDLE))
    assert page.inner_text("#count").startswith("No cell of 4 cells in 4 fields: Mitotic spindle")
    assert visible_fields(page) == []
    page.fill("#least", "0.5")
    assert page.inner_text("#count").endswith("The highest confidence is 0.010.")


def test_keys_step_through_fields_and_cells_and_escape_lets_go(visit):
    page = visit()
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#cell-name") == "Cell 1"
    page.keyboard.press("j")
    assert page.inner_text("#cell-name") == "Cell 2"
    page.keyboard.press("k")
    assert page.inner_text("#cell-name") == "Cell 1"
    page.keyboard.press("Escape")
    assert page.inner_text("#cell-name") == "No cell chosen"
    names = []
    for key in ("ArrowRight", "n", "n", "n", "p", "ArrowLeft"):
        page.keyboard.press(key)
        names.append(page.inner_text("#field-name"))
    assert names == [HOSTILE, "not predicted", "empty", "empty", "not predicted", HOSTILE]


def test_escape_clears_the_filter_once_no_cell_is_chosen(visit):
    page = visit()
    page.select_option("#class", str(GOLGI))
    page.locator("#picture").click(position={"x": 2, "y": 2})
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    assert page.input_value("#class") == str(GOLGI)
    page.keyboard.press("Escape")
    assert page.input_value("#class") == "-1"
    assert count(page).startswith("4 cells in 4 fields")


def test_with_a_filter_the_keys_step_over_what_does_not_match(visit):
    page = visit()
    page.select_option("#class", str(NUCLEOPLASM))
    page.evaluate("document.activeElement.blur()")
    for _ in range(2):
        page.keyboard.press("j")
        assert page.inner_text("#cell-name") == "Cell 2"
    page.keyboard.press("n")
    assert page.inner_text("#field-name") == "alpha"


def test_keys_in_a_form_control_are_left_to_it(visit):
    page = visit()
    page.focus("#least")
    page.keyboard.press("ArrowRight")
    page.keyboard.type("g0.5n")
    assert page.inner_text("#field-name") == "alpha"
    assert page.get_attribute("#channel", "aria-pressed") == "false"


def test_g_and_o_switch_the_channel_and_the_outlines_as_their_buttons_do(visit):
    page = visit()
    colour = page.get_attribute("#picture image", "href")
    page.keyboard.press("g")
    assert page.get_attribute("#picture image", "href") != colour
    page.click("#channel")
    assert page.get_attribute("#picture image", "href") == colour
    stroke = "getComputedStyle(document.querySelector('#picture path')).stroke"
    assert page.evaluate(stroke) != "none"
    page.keyboard.press("o")
    assert page.evaluate(stroke) == "none"
    point_at(page, 50, 50)
    assert page.inner_text("#cell-name") == "Cell 1"
    page.click("#outlines")
    assert page.evaluate(stroke) != "none"


def test_the_help_opens_and_closes_by_key(visit):
    page = visit()
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")
    assert page.inner_text("#field-name") == "alpha"


def test_classes_are_in_fixed_order_or_most_confident_first(visit):
    page = visit()
    page.keyboard.press("j")
    rows = page.locator("#bars tbody tr th")
    assert rows.first.get_attribute("title") == "0 Nucleoplasm"
    page.keyboard.press("s")
    assert [rows.nth(i).get_attribute("title") for i in (0, 1)] == ["7 Golgi apparatus", "0 Nucleoplasm"]
    assert rows.count() == len(CLASS_NAMES)


def test_cells_can_be_reached_by_tab_and_pressed(visit):
    page = visit()
    page.focus("#outlines")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.inner_text("#cell-name") == "Cell 2"


def test_odd_cases_are_named(visit):
    page = visit()
    page.click("#fields li:nth-child(2) button")
    assert page.inner_text("#field-name") == HOSTILE
    assert page.inner_text("#field-labels") == "Labels of the field: unknown"
    page.click("#fields li:nth-child(3) button")
    assert page.inner_text("#legend") == "The cells of this field were not predicted."
    page.keyboard.press("j")
    assert page.inner_text("#cell-note") == "This cell was not predicted. Truth: unknown."
    assert not page.is_visible("#bars")
    page.keyboard.press("n")
    assert page.inner_text("#cell-note") == "This field has no cells."
    page.keyboard.press("j")
    assert page.inner_text("#cell-name") == "No cell chosen"


def test_without_truth_nothing_is_right_or_wrong(visit):
    page = visit("without_truth.html")
    assert not page.is_visible("#outcome")
    page.keyboard.press("j")
    assert page.inner_text("#cell-note") == "Most confident: Golgi apparatus."
    assert page.locator("#bars td.mark").count() == 0
    assert page.locator("#cells button").all_inner_texts() == ["1", "2"]


def test_a_page_of_no_fields_says_so(visit):
    page = visit("nothing.html")
    assert page.inner_text("#count") == "This page holds no fields."
    for key in ("j", "n", "g", "o", "Escape", "?"):
        page.keyboard.press(key)


def test_the_address_leads_back_to_a_cell(visit):
    page = visit()
    page.keyboard.press("n")
    page.keyboard.press("j")
    page.wait_for_url(lambda address: address.endswith("/1"))
    again = visit("report.html#" + page.url.partition("#")[2])
    assert (again.inner_text("#field-name"), again.inner_text("#cell-name")) == (HOSTILE, "Cell 1")
    astray = visit("report.html#no-such-field/7")
    assert astray.inner_text("#field-name") == "alpha"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_a_tap_shows_the_cell(visit, scheme):
    page = visit(width=390, height=844, has_touch=True, is_mobile=True, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.touchscreen.tap(*place(page, 150, 150))
    assert page.inner_text("#cell-name") == "Cell 2"
    assert value_of(page, NUCLEOPLASM) == "0.800"
    assert page.locator("#bars tbody tr").first.bounding_box()["y"] < 844  # in view below the picture
    page.tap("summary")
    page.select_option("#class", str(GOLGI))
    assert count(page) == "2 cells in 2 fields of 4 cells in 4 fields"
    page.tap("#next")
    assert page.inner_text("#field-name") == HOSTILE
    page.tap("#cells button")
    assert value_of(page, GOLGI) == "0.200"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
