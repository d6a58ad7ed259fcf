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
    Golgi 0.2, is nucleoplasm. "not predicted" has one cell, "empty" has none. On the map of cells those of alpha lie
    left, below and above, the hostile one's right above. A pixel is 0.5 µm in alpha.
    """
    two = np.zeros((200, 200), np.uint16)
    two[20:80, 20:80], two[120:180, 120:180] = 1, 2
    one = np.where(two == 1, two, 0).astype(np.uint16)
    field = np.where(two[..., None] > 0, (0, 200, 0, 0), (0, 0, 200, 0)).astype(np.uint8)  # green cells on blue
    alpha = np.stack([confidences(c7=0.9, c0=0.5), confidences(c0=0.8, c7=0.3)])
    truth = {"truth": np.stack([one_hot(GOLGI), one_hot(GOLGI)])} if with_truth else {}
    truth |= {"pixel_size_um": 0.5, "places": [[0, 0], [0, 4]]}
    yield describe_field(field, two, "alpha", [1, 2], alpha, one_hot(GOLGI), **truth)
    truth = {"truth": one_hot(NUCLEOPLASM)[None]} if with_truth else {}
    yield describe_field(field, one, HOSTILE, [1], confidences(c7=0.2)[None], places=[[4, 4]], **truth)
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
    write_page(folder / "report.html", fields(), "Cells & <fields>", "PCA")
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


def colour_at(page, x, y):
    """The colour on the screen, red, green, blue, at the pixel (x, y) of the shown field."""
    screen = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    left, top = place(page, x, y)
    return screen[round(top), round(left), ::-1].astype(int)


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
    for x, y, inside in ((24, 24, True), (76, 76, True), (124, 124, True), (176, 176, True), (16, 16, False)):
        _, green, blue = colour_at(page, x, y)
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
    assert not page.is_visible("#nothing")
    page.select_option("#class", str(SPINDLE))
    assert page.inner_text("#count") == "No cell of 4 cells in 4 fields"
    assert page.inner_text("#nothing-why") == "No cell is left: Mitotic spindle predicted (the most confident class)."
    assert visible_fields(page) == [] and not page.is_visible("#picture")
    page.fill("#least", "0.5")
    assert page.inner_text("#nothing-why").endswith("The highest confidence is 0.010.")
    page.click("#clear-too")
    assert page.is_visible("#picture") and not page.is_visible("#nothing")
    assert count(page).startswith("4 cells in 4 fields")


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
    assert page.is_checked("#red")


def test_channels_are_switched_by_their_boxes_and_keys_and_one_alone_is_white(visit):
    page = visit()
    page.keyboard.press("o")
    red, green, blue = colour_at(page, 50, 50)  # a cell: protein alone
    assert green > 180 and max(red, blue) < 60
    red, green, blue = colour_at(page, 100, 100)  # around it: blue alone
    assert blue > 180 and blue > 2 * red
    page.uncheck("#blue")
    assert colour_at(page, 100, 100).max() < 40
    page.keyboard.press("3")
    assert colour_at(page, 100, 100)[2] > 180
    page.keyboard.press("g")
    assert not page.is_checked("#red") and page.is_checked("#green")
    assert colour_at(page, 50, 50).min() > 180 and colour_at(page, 100, 100).max() < 40
    page.keyboard.press("g")
    assert page.is_checked("#red") and page.is_checked("#blue")


def test_the_wheel_zooms_about_the_pointer_and_a_drag_moves_the_picture_without_choosing(visit):
    page = visit()
    point_at(page, 150, 150)
    before = place(page, 150, 150)
    page.mouse.wheel(0, -500)
    page.wait_for_function("picture.classList.contains('zoomed')")
    assert place(page, 150, 150) == pytest.approx(before, abs=4)  # the event knows whole pixels
    page.mouse.down()
    page.mouse.move(before[0] + 40, before[1] + 30, steps=4)
    page.mouse.up()
    assert place(page, 150, 150) == pytest.approx((before[0] + 40, before[1] + 30), abs=6)
    assert page.get_attribute("#cells button[data-cell='1']", "aria-pressed") == "false"
    page.keyboard.press("0")
    assert page.locator("#picture.zoomed").count() == 0


def test_keys_zoom_to_the_chosen_cell_and_stepping_brings_the_next_into_view(visit):
    page = visit()
    page.keyboard.press("j")
    for _ in range(4):
        page.keyboard.press("+")
    frame = page.locator("#picture").bounding_box()

    def is_in_view(x, y):
        left, top = place(page, x, y)
        return 0 <= left - frame["x"] <= frame["width"] and 0 <= top - frame["y"] <= frame["height"]

    assert is_in_view(50, 50) and not is_in_view(150, 150)
    page.keyboard.press("j")
    assert is_in_view(150, 150) and not is_in_view(50, 50)


def test_the_scale_bar_is_as_long_as_it_says_at_every_zoom(visit):
    page = visit()
    lengths = []
    for _ in range(3):
        um = float(page.locator("#picture .scale-bar text").text_content().removesuffix(" µm"))
        width = page.evaluate("document.querySelector('#picture .scale-bar rect').getBoundingClientRect().width")
        pixels = place(page, um / 0.5, 0)[0] - place(page, 0, 0)[0]
        assert width == pytest.approx(pixels, abs=2)
        lengths.append(um)
        for _ in range(3):
            page.keyboard.press("+")
    assert lengths == sorted(set(lengths), reverse=True)


def test_a_click_on_the_map_chooses_a_cell_and_opens_its_field(visit):
    page = visit()
    page.keyboard.press("m")
    assert page.is_visible("#map") and not page.is_visible("#picture")
    assert page.inner_text("#map-legend").endswith("Golgi 2nucleoplasm 1")
    box = page.locator("#dots path").nth(2).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 + 6, box["y"] + box["height"] / 2)  # near it is near enough
    assert (page.inner_text("#field-name"), page.inner_text("#cell-name")) == (HOSTILE, "Cell 1")
    page.select_option("#class", str(NUCLEOPLASM))
    assert page.locator("#dots path.dim").count() == 2
    page.click("#map-button")
    assert page.is_visible("#picture")


def test_a_page_without_places_has_no_map(visit):
    page = visit("nothing.html")
    page.keyboard.press("m")
    assert not page.is_visible("#map-button") and not page.is_visible("#map")


def test_right_false_and_not_judged_differ_in_line_and_in_sign(visit):
    page = visit()
    page.select_option("#class", str(GOLGI))
    style = """number => { const { stroke, strokeDasharray } =
        getComputedStyle(document.querySelector(`#outlines-drawn [data-cell='${number}']`));
        return [stroke, strokeDasharray] }"""
    drawn = {"right": page.evaluate(style, 0), "missed": page.evaluate(style, 1)}
    page.click("#clear")
    drawn["false"] = page.evaluate(style, 1)
    page.click("#fields li:nth-child(3) button")
    drawn["unpredicted"] = page.evaluate(style, 0)
    for part in (0, 1):
        assert len({look[part] for look in drawn.values()}) == 4
    page.click("#fields li:nth-child(1) button")
    signs = page.locator("#legend span").all_inner_texts()
    assert signs == ["✓ right", "✗ false", "– not judged"]


def test_a_field_names_the_classes_predicted_in_it(visit):
    page = visit()
    names = page.locator("#fields .predicted")
    assert names.all_inner_texts()[:2] == ["nucleoplasm 1, Golgi 1", "Golgi 1"]
    page.fill("#least", "0.25")
    assert names.first.inner_text() == "nucleoplasm 2, Golgi 2"


def test_the_place_among_the_fields_is_told_and_the_arrows_end_with_them(visit):
    page = visit()
    assert page.inner_text("#position") == "1 of 4"
    assert page.is_disabled("#previous") and page.is_enabled("#next")
    for _ in range(3):
        page.keyboard.press("n")
    assert page.inner_text("#position") == "4 of 4"
    assert page.is_enabled("#previous") and page.is_disabled("#next")
    page.select_option("#class", str(GOLGI))
    assert page.inner_text("#position") == "1 of 2"


def test_steps_are_told_to_screen_readers_and_lists_are_one_stop_of_the_tab_key(visit):
    page = visit()
    page.keyboard.press("j")
    told = page.locator("[aria-live=polite]")
    assert told.text_content().startswith("Cell 1, 1 of 2. Most confident: Golgi apparatus.")
    assert told.text_content().endswith("Judged: right.")
    page.keyboard.press("n")
    assert told.text_content() == f"Field 2 of 4, {HOSTILE}, 1 cell. Predicted: Golgi 1."
    for within in ("#fields", "#cells"):
        assert page.locator(f"{within} button[tabindex='0']").count() == 1
    page.focus("#fields button[tabindex='0']")
    page.keyboard.press("n")
    assert page.evaluate("document.activeElement.closest('li').dataset.place") == "2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_and_bars_stand_out_three_to_one(visit, scheme):
    page = visit(color_scheme=scheme)
    page.keyboard.press("j")
    colours = page.evaluate(
        """() => [['#class', 'borderTopColor'], ['#least', 'borderTopColor'], ['#outlines', 'borderTopColor'],
        ['#next', 'borderTopColor'], ['#cells button', 'borderTopColor'], ['.bar-cell div', 'backgroundColor'],
        ['#cell-note', 'color'], ['#cells .right', 'color']].map(([where, what]) =>
        getComputedStyle(document.querySelector(where))[what])"""
    )
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ratios = [contrast(colour, paper) for colour in colours]
    assert min(ratios) >= 3, ratios


def contrast(one, other):
    """The contrast of two CSS colours as WCAG defines it, 1…21."""
    light = []
    for text in (one, other):
        rgb = np.array([float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        light.append(linear @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 800, 390])
def test_nothing_is_wider_than_the_window_and_bars_have_room(visit, width, scheme):
    page = visit(width=width, height=900, color_scheme=scheme)
    page.keyboard.press("j")
    for key in ("", "m"):
        if key:
            page.keyboard.press(key)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("#map-button", "#outlines", "#yellow", "#whole"):
            box = page.locator(name).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.locator("#bars .bar-cell").first.bounding_box()["width"] >= 100


def test_o_switches_the_outlines_as_their_button_does(visit):
    page = visit()
    stroke = "getComputedStyle(document.querySelector('#outlines-drawn path')).stroke"
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
    page.focus("#whole")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.inner_text("#cell-name") == "Cell 1"
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#cell-name") == "Cell 2"
    assert page.evaluate("document.activeElement.textContent") == "2 ✗"


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
