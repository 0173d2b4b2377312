"""The report in a real browser, headless: sorted, filtered and clicked, at the widths of a desk and of a pocket.

Needs Chromium and its driver (Debian: `chromium` and `chromium-driver`); skipped, with the reason, where they are not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys import EcephysSession, UnitFilter

selenium = pytest.importorskip("selenium", reason="pip install 'allen-ecephys[test]' brings selenium")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip
WIDE, NARROW = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ.setdefault("SE_OFFLINE", "true")
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield made
    finally:
        made.quit()


@pytest.fixture(scope="module")
def page(simulated_project: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    [path] = simulated_project[0].glob("session_*/session_*.nwb")
    with EcephysSession(path) as session:
        return session.report(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def units(simulated_project: tuple[Path, Any]) -> Any:
    [path] = simulated_project[0].glob("session_*/session_*.nwb")
    with EcephysSession(path) as session:
        everything = session.with_units(UnitFilter.none()).units
        return everything.assign(shown=everything.index.isin(session.units.index))


def look_at(browser: webdriver.Chrome, page: Path, size: tuple[int, int] = WIDE, fragment: str = "") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == NARROW},
    )
    browser.get("about:blank")
    browser.get(page.as_uri() + fragment)


def wait_for_unit(browser: webdriver.Chrome, unit: int | str = "") -> None:
    """Wait until a unit is open: that happens when the address has changed, some time after a click."""
    heading = f"Unit {unit}"
    WebDriverWait(browser, 30).until(
        lambda seen: any(heading in found.text for found in seen.find_elements(By.CSS_SELECTOR, "#unit h3"))
    )


def ids(browser: webdriver.Chrome) -> list[int]:
    return [int(cell.text) for cell in browser.find_elements(By.CSS_SELECTOR, "#unit-rows th")]


def heading(browser: webdriver.Chrome, key: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, f"#unit-heads th[data-key={key}]")


def picture(browser: webdriver.Chrome, name: str) -> None:
    """Keep what is seen in the folder of ALLEN_ECEPHYS_TEST_PICTURES, if that is set, to be looked at."""
    folder = os.environ.get("ALLEN_ECEPHYS_TEST_PICTURES")
    if folder:
        import base64

        taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(folder, f"{name}.png").write_bytes(base64.b64decode(taken["data"]))


def check_console(browser: webdriver.Chrome) -> None:
    """Nothing failed, and nothing that the page's policy forbids was tried."""
    told = [entry["message"] for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
    assert told == []


def test_the_table_sorts_and_filters(browser: webdriver.Chrome, page: Path, units: Any) -> None:
    look_at(browser, page)
    shown = units[units["shown"]]
    assert sorted(ids(browser)) == sorted(shown.index)[: len(ids(browser))]
    assert browser.find_element(By.ID, "count").text.startswith(f"{len(shown)} of {len(units)} units")

    heading(browser, "snr").find_element(By.TAG_NAME, "button").click()
    assert heading(browser, "snr").get_attribute("aria-sort") == "ascending"
    assert ids(browser) == shown.sort_values("snr", kind="stable").index.tolist()[:50]
    heading(browser, "snr").find_element(By.TAG_NAME, "button").click()
    assert heading(browser, "snr").get_attribute("aria-sort") == "descending"
    assert ids(browser)[0] == shown["snr"].idxmax()

    Select(browser.find_element(By.ID, "quality")).select_by_visible_text("hidden by isi_violations_maximum")
    violating = units[units["isi_violations"] > 0.5]
    assert set(ids(browser)) == set(violating.index)
    why = browser.find_elements(By.CSS_SELECTOR, "#unit-rows td.why")
    assert all("isi_violations_maximum" in cell.text for cell in why)

    Select(browser.find_element(By.ID, "quality")).select_by_visible_text("all")
    structure = str(units["ecephys_structure_acronym"].dropna().iloc[0])
    Select(browser.find_element(By.ID, "structure")).select_by_visible_text(structure)
    here = units[units["ecephys_structure_acronym"] == structure]
    assert set(ids(browser)) == set(here.index[:50]) or len(here) > 50
    Select(browser.find_element(By.ID, "metric")).select_by_value("snr")
    browser.find_element(By.ID, "bound").send_keys("2.5")
    assert set(ids(browser)) == set(here.index[here["snr"] >= 2.5])
    browser.find_element(By.ID, "find").send_keys("no such unit")
    assert ids(browser) == []
    assert browser.find_element(By.ID, "count").text == f"none of {len(units)} units fits"
    check_console(browser)


def test_rows_are_shown_in_pieces(browser: webdriver.Chrome, page: Path, units: Any) -> None:
    look_at(browser, page)
    Select(browser.find_element(By.ID, "quality")).select_by_visible_text("all")
    seen = ids(browser)
    later = browser.find_element(By.ID, "later")
    while later.is_enabled():
        later.click()
        seen += ids(browser)
    assert sorted(seen) == sorted(units.index)
    browser.find_element(By.ID, "earlier").click()
    assert ids(browser)[0] == seen[50 * ((len(seen) - 1) // 50) - 50]


def test_a_click_opens_the_unit(browser: webdriver.Chrome, page: Path, units: Any) -> None:
    look_at(browser, page)
    unit = ids(browser)[1]
    browser.find_element(By.CSS_SELECTOR, f"#unit-rows a[href='#unit-{unit}']").click()
    wait_for_unit(browser, unit)
    section = browser.find_element(By.ID, "unit")
    assert section.is_displayed()
    structure = units["ecephys_structure_acronym"][unit]
    assert (
        section.find_element(By.TAG_NAME, "h3").text == f"Unit {unit}, {structure}, {units['probe_description'][unit]}"
    )
    drawn = [figure.text.partition("\n")[0] for figure in section.find_elements(By.TAG_NAME, "figure")]
    assert drawn == [
        "Waveform over the probe", "Autocorrelogram", "Rate over the session", "Amplitude over the session",
        "Response to onsets", "Receptive field", "Tuning", "Response to light",
    ]  # fmt: skip
    for path in section.find_elements(By.CSS_SELECTOR, "svg path, svg rect, svg line, svg circle"):
        assert "NaN" not in (path.get_attribute("outerHTML") or "")
    picture(browser, "unit_wide")
    section.find_element(By.CSS_SELECTOR, "button.next").click()
    wait_for_unit(browser, ids(browser)[2])
    assert f"Unit {ids(browser)[2]}," in browser.find_element(By.CSS_SELECTOR, "#unit h3").text
    assert browser.current_url.endswith(f"#unit-{ids(browser)[2]}")
    look_at(browser, page, fragment=f"#unit-{unit}")  # a link to a unit opens it
    assert f"Unit {unit}," in browser.find_element(By.CSS_SELECTOR, "#unit h3").text
    check_console(browser)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_nothing_is_wider_than_the_screen(browser: webdriver.Chrome, page: Path, size: tuple[int, int]) -> None:
    look_at(browser, page, size)
    first = browser.find_element(By.CSS_SELECTOR, "#unit-rows a")
    assert first.rect["height"] < 30  # an id stands on one line
    first.click()
    wait_for_unit(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert browser.execute_script("return window.innerWidth") == size[0]
    for label in browser.find_elements(By.CSS_SELECTOR, "#unit svg"):
        assert label.rect["width"] >= min(size[0] - 80, 230)
    picture(browser, f"page_{size[0]}")


def test_the_printed_page_has_no_controls(browser: webdriver.Chrome, page: Path) -> None:
    look_at(browser, page)
    browser.find_element(By.CSS_SELECTOR, "#unit-rows a").click()
    wait_for_unit(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        hidden = browser.find_elements(By.CSS_SELECTOR, "nav, .controls, .steps, .pages")
        assert len(hidden) == 4
        assert not any(element.is_displayed() for element in hidden)
        assert browser.find_element(By.ID, "unit").is_displayed()
        printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        assert len(printed["data"]) > 50_000
        folder = os.environ.get("ALLEN_ECEPHYS_TEST_PICTURES")
        if folder:
            import base64

            Path(folder, "printed.pdf").write_bytes(base64.b64decode(printed["data"]))
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
