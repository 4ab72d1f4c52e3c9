"""The report as a person sees it: in Chromium, without a network. What a page says on its console fails its test."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

import asr
from asr import audio, evaluate
from asr.corpus import Utterance, write_manifest

FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS += " disable-component-update disable-sync mute-audio window-size=1400,1000"
HOSTILE = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=2</script>",
    '"><img src=x onerror=window.hacked=3>',
    "<!--<script>",
    "a\u2028b",
    "{{script}}",
    "javascript:window.hacked=4",
    "\u202eabc\u202c",
    "שלום",
    "<b>bold</b>",
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser with a new profile; its absence skips a test on a user's machine and fails it in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser, driver = next(filter(None, map(shutil.which, names)), None), shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "needs Chromium and its driver: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, Service(driver))
    yield opened
    opened.quit()


class Page:
    """An open report."""

    def __init__(self, chromium: webdriver.Chrome, path: Path) -> None:
        self.chromium = chromium
        chromium.get(path.as_uri())

    def all(self, selector: str) -> list[WebElement]:
        return self.chromium.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.chromium.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: object) -> object:
        return self.chromium.execute_script(script, *arguments)

    def click(self, element: WebElement) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def column(self, title: str, table: str = ".utterances") -> list[str]:
        """The texts of a column of the table as it is shown."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map(cell => cell.textContent)",
            f'{table} tbody [data-title="{title}"]',
        )

    def ids(self) -> list[str]:
        return [cell.text for cell in self.all(".utterances .id")]

    def choose(self, label: str) -> None:
        """Press a radio button of the utterances' filter."""
        self.click(next(each for each in self.all("#utterances .choice label") if each.text.startswith(label)))

    def head(self, title: str, table: str = ".utterances") -> WebElement:
        return next(each for each in self.all(f"{table} thead button") if each.text == title)

    def order(self, title: str, table: str = ".utterances") -> str:
        return self.run("return arguments[0].closest('th').ariaSort", self.head(title, table))

    def emulate(self, width: int, scheme: str) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def console(self) -> list[str]:
        """What was said since the last call."""
        return [entry["message"] for entry in self.chromium.get_log("browser")]


@pytest.fixture
def visit(chromium: webdriver.Chrome) -> Iterator[Callable[[Path], Page]]:
    """Opens a report; when the test is over, the console must be empty and nothing may have been asked of a network."""
    pages = []

    def open_page(path: Path) -> Page:
        pages.append(Page(chromium, path))
        return pages[-1]

    yield open_page
    for page in pages:
        assert page.console() == []
        loaded = page.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []
        page.emulate(1400, "light")


def report(*arguments: object) -> dict[str, object]:
    """Run the command; what --json prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        evaluate.main([*map(str, arguments), "--json"])
    return json.loads(printed.getvalue())


def write_texts(path: Path, texts: dict[str, str]) -> Path:
    lines = [
        json.dumps({"id": name, "text": text, "speaker": f"s{i % 7}"}) for i, (name, text) in enumerate(texts.items())
    ]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def of_model(
    tiny_model: Path, recordings: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """A report of recordings, two of which are recognized wrongly and one not at all; and the command's JSON."""
    folder = tmp_path_factory.mktemp("report")
    recognizer = asr.load(str(tiny_model))
    utterances = []
    for i, path in enumerate(recordings):
        text = recognizer.transcribe(path).text + (" more words" if i == 0 else " more" if i == 1 else "")
        utterances.append(Utterance(path.stem, path, text, audio.duration(path), f"speaker {i % 2}"))
    utterances.append(Utterance("lost", folder / "lost.wav", "a b c", 1.0))
    write_manifest(folder / "m.jsonl", utterances)
    printed = report("--model", tiny_model, "--manifest", folder / "m.jsonl", "--report", folder / "r.html")
    return folder / "r.html", printed


SAID = {f"u{i}": "one two three four" for i in range(40)}
A = SAID | {"u0": "one to three four", "u1": "one two four", "u2": "well one two three four", "u3": ""}
B = SAID | {name: "one to three" for name in list(SAID)[1:31]}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A report of two systems, A with four known errors of utterances, and the command's JSON."""
    folder = tmp_path_factory.mktemp("two")
    said, a, b = (write_texts(folder / f"{name}.jsonl", each) for name, each in {"said": SAID, "a": A, "b": B}.items())
    printed = report("--hypotheses", a, "--references", said, "--compare", b, "--report", folder / "two.html")
    return folder / "two.html", printed


def test_the_head_says_what_the_command_says(visit: Callable, of_model: tuple) -> None:
    path, printed = of_model
    page = visit(path)
    assert page.chromium.title == page.one("h1").text == "m"
    head = page.one("header").text
    assert f"{printed['wer']:.1%}" == page.one(".rate strong").text
    assert f"95% interval {printed['wer_low']:.1%} to {printed['wer_high']:.1%}, over utterances" in head
    assert f"{printed['errors']} errors in {printed['words']} words; character error rate {printed['cer']:.1%}" in head
    assert f"{printed['cer']:.1%} ({printed['cer_low']:.1%} to {printed['cer_high']:.1%})" in head
    for kind in ("substitutions", "deletions", "insertions"):
        assert f"{printed[kind]} {kind}" in head
    assert "3 utterances of 5 with an error" in head and "1 failed, counted as deleted" in head
    assert page.column("speaker", "#groups")[0] == "unknown"  # whose three words are all wrong
    assert set(page.column("speaker", "#groups")[1:]) == {"speaker 0", "speaker 1"}


def test_only_wrong_utterances_are_shown_first(visit: Callable, of_model: tuple) -> None:
    page = visit(of_model[0])
    assert page.ids() == ["lost", "d", "c"]  # the most errors first
    assert page.column("errors") == ["3", "2", "1"]
    assert "no such file" in page.one(".utterances .failed").text
    page.choose("All")
    assert sorted(page.ids()) == ["a", "b", "c", "d", "lost"]
    page.choose("Failed")
    assert page.ids() == ["lost"]
    page.choose("To hear")
    assert page.ids() == ["d", "c"]


def test_errors_are_told_without_colour(visit: Callable, of_two: tuple) -> None:
    page = visit(of_two[0])
    page.one("#search").send_keys("u0")
    row = next(
        each for each in page.all(".utterances tbody tr") if each.find_element(By.CSS_SELECTOR, ".id").text == "u0"
    )
    a = row.find_elements(By.CSS_SELECTOR, ".alignment")[0]
    assert [each.text for each in a.find_elements(By.TAG_NAME, "del")] == ["two"]
    assert [each.text for each in a.find_elements(By.TAG_NAME, "ins")] == ["to"]
    for tag, line in (("del", "line-through"), ("ins", "underline")):
        assert line in a.find_element(By.TAG_NAME, tag).value_of_css_property("text-decoration-line")
    assert a.find_element(By.CSS_SELECTOR, ".wrong").get_attribute("title") == "substitution"


def test_sorting_by_mouse_and_by_keyboard(visit: Callable, of_model: tuple) -> None:
    page = visit(of_model[0])
    page.choose("All")
    assert page.order("errors") == "descending"
    page.click(page.head("seconds"))
    assert (page.order("seconds"), page.order("errors")) == ("descending", "none")
    assert page.column("seconds") == ["5.0", "3.1", "1.7", "1.0", "0.4"]
    page.head("seconds").send_keys(Keys.ENTER)
    assert page.order("seconds") == "ascending"
    assert page.column("seconds") == ["0.4", "1.0", "1.7", "3.1", "5.0"]
    page.head("utterance").send_keys(Keys.SPACE)
    assert page.ids() == ["a", "b", "c", "d", "lost"]
    page.click(page.head("speaker"))
    assert page.column("speaker")[-1] == "–"  # unknown comes last in both orders
    page.click(page.head("speaker"))
    assert page.column("speaker")[-1] == "–"
    for head in page.all(".utterances thead th"):
        assert head.get_attribute("scope") == "col"


def test_search_in_texts_names_and_speakers(visit: Callable, of_two: tuple) -> None:
    page = visit(of_two[0])
    search = page.one("#search")
    search.send_keys("WELL")
    assert page.ids() == ["u2"]
    search.clear()
    search.send_keys("nowhere")
    assert page.ids() == [] and page.one("#utterances .pager [role=status]").text == "none"
    search.clear()
    search.send_keys("s3")
    assert set(page.column("speaker")) == {"s3"}


def test_a_confusion_leads_to_its_utterances(visit: Callable, of_two: tuple) -> None:
    page = visit(of_two[0])
    links = page.all("#confusions tbody th .link")
    page.click(next(link for link in links if link.text == "well"))
    assert page.ids() == ["u2"]
    assert page.one(".chip").text.startswith("Errors in “well” by A.")
    page.click(page.one(".chip button"))
    assert page.one("#utterances .pager [role=status]").text == "1–25 of 31" and not page.one(".chip").is_displayed()
    page.click(page.all("#confusions .choice label")[1])  # those of B
    substitution = page.one("#confusions .columns > :nth-child(2) tbody tr")
    assert substitution.text == "two to 30"
    page.click(substitution.find_element(By.CSS_SELECTOR, ".link"))
    assert page.one("#utterances .pager [role=status]").text == "1–25 of 30"
    shown = page.ids()
    page.click(page.all("#utterances .pager button")[1])
    assert sorted(shown + page.ids()) == sorted(f"u{i}" for i in range(1, 31))


def test_two_systems(visit: Callable, of_two: tuple) -> None:
    path, printed = of_two
    compared = printed["comparison"]
    page = visit(path)
    assert [each.text for each in page.all(".rate strong")] == [f"{compared[name]:.1%}" for name in ("wer_a", "wer_b")]
    assert compared["better"].endswith("a.jsonl") and page.one(".verdict").text == f"A {compared['better']} is better."
    text = page.one("#comparison").text
    assert f"−{-100 * compared['difference']:.1f} points" in text
    assert "p < 0.001" in text and compared["p"] < 0.001
    assert "A 29, B 2" in text
    assert page.order("WER A", "#groups") == "descending"
    page.choose("B better")
    assert (page.ids(), page.column("A − B")) == (["u3", "u0"], ["+2", "+1"])
    page.choose("A better")
    assert page.one("#utterances .pager [role=status]").text == "1–25 of 29"
    page.click(page.head("A − B"))
    assert page.column("A − B")[:3] == ["−1", "−1", "−2"] and page.ids()[:2] == ["u1", "u2"]
    assert len(page.all("#utterances .alignment")) == 2 * len(page.ids())


def test_two_systems_in_a_script_without_spaces(visit: Callable, tmp_path: Path) -> None:
    """One character of a sentence is wrong or all but one are: every "word" is wrong, and B is better all the same."""
    said = {f"u{i}": "".join(chr(0x4E00 + 20 * i + k) for k in range(10)) for i in range(30)}
    heard = {"a": {name: text[0] for name, text in said.items()}, "b": {name: text[1:] for name, text in said.items()}}
    paths = {name: write_texts(tmp_path / f"{name}.jsonl", each) for name, each in {"said": said, **heard}.items()}
    arguments = ["--references", paths["said"], "--hypotheses", paths["a"], "--compare", paths["b"]]
    compared = report(*arguments, "--report", tmp_path / "r.html")["comparison"]
    assert (compared["wer_a"], compared["wer_b"], compared["cer_a"], compared["cer_b"]) == (1, 1, 0.9, 0.1)
    page = visit(tmp_path / "r.html")
    assert page.one(".verdict").text == f"B {paths['b']} is better."
    text = page.one("#comparison").text
    assert "by characters, as in scripts without spaces between words" in text and "A 90.0%, B 10.0%" in text
    assert "+80.0 points" in text and text.count("95% interval –") == 2  # each draw finds the same


def test_sound_and_pictures(visit: Callable, of_model: tuple) -> None:
    page = visit(of_model[0])
    page.click(page.all(".utterances .open")[0])
    assert page.one(".open").get_attribute("aria-expanded") == "true"
    sound = page.one("audio")
    page.run("arguments[0].play()", sound)
    deadline = time.monotonic() + 60
    while not (played := page.run("return arguments[0].currentTime", sound)) > 0.2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert played > 0.2
    assert page.run("return arguments[0].duration", sound) == pytest.approx(3.1, abs=0.1)
    assert page.run("return parseFloat(document.querySelector('.playhead').style.left)") > 0
    spectrogram, posteriors = page.all(".medium img")
    size = "return [arguments[0].naturalWidth, arguments[0].naturalHeight]"
    assert page.run(size, spectrogram) == [311, 80]  # 3.1 s, a frame each 10 ms
    assert page.run(size, posteriors)[0] == 78  # and each 40 ms
    assert len(page.all(".label.posteriors span")) == page.run(size, posteriors)[1]
    heard = "".join(each.text for each in page.all(".track.tokens span"))
    words = [each.text for each in page.all(".track.words:nth-of-type(4) > *")]
    assert heard.replace("␣", " ").split() == words and words
    page.run("arguments[0].pause()", sound)
    page.run("document.querySelector('.medium .scroller').scrollLeft = 0")
    track = page.one(".track.spectrogram")
    webdriver.ActionChains(page.chromium).move_to_element_with_offset(track, 10, 0).click().perform()
    middle = page.run("return arguments[0].offsetWidth", track) / 2
    assert page.run("return arguments[0].currentTime", sound) == pytest.approx((middle + 10) / 150, abs=0.05)
    page.click(page.one(".open"))
    assert not page.one(".medium").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_light_and_dark_narrow_and_wide(
    visit: Callable, of_model: tuple, of_two: tuple, scheme: str, width: int
) -> None:
    for path, _ in (of_model, of_two):
        page = visit(path)
        page.emulate(width, scheme)
        ground, ink = (
            [int(part) for part in page.one("body").value_of_css_property(name)[5:].strip("()").split(",")[:3]]
            for name in ("background-color", "color")
        )
        assert (sum(ground) > sum(ink)) == (scheme == "light") and abs(sum(ground) - sum(ink)) > 400
        for button in page.all(".open")[:1]:
            page.click(button)
        assert page.run("return document.documentElement.scrollWidth") <= width  # only tables scroll sideways
        assert page.one(".utterances tbody tr").is_displayed()


def test_five_thousand_utterances(visit: Callable, tmp_path: Path) -> None:
    words = ["word", "other", "third", "last"]
    said = {f"u{i:04}": " ".join(words[(i + k) % 4] for k in range(12)) + f" n{i:04}" for i in range(5000)}
    heard = {name: text.replace("third", "bird") for name, text in said.items()}
    paths = [write_texts(tmp_path / f"{name}.jsonl", each) for name, each in {"said": said, "heard": heard}.items()]
    report("--references", paths[0], "--hypotheses", paths[1], "--report", tmp_path / "r.html")
    page = visit(tmp_path / "r.html")
    rows, elements = ".utterances tbody tr", "return document.querySelectorAll('*').length"
    assert len(page.all(rows)) == 25
    assert page.run(elements) < 10_000
    assert page.one("#utterances .pager [role=status]").text == "1–25 of 5,000"
    first = page.ids()
    page.click(page.all("#utterances .pager button")[1])
    assert page.one("#utterances .pager [role=status]").text == "26–50 of 5,000"
    assert len(page.all(rows)) == 25 and not set(first) & set(page.ids())
    page.one("#search").send_keys("n4321")
    assert page.ids() == ["u4321"]
    page.one("#search").clear()
    page.one("#search").send_keys("bird")
    assert page.one("#utterances .pager [role=status]").text == "1–25 of 5,000"
    assert page.run(elements) < 10_000


def test_hostile_text_runs_nothing_and_is_shown_as_it_is(visit: Callable, tmp_path: Path) -> None:
    lines = [
        {"id": f"{text} {i}", "speaker": text, "room": text, "text": f"{text} said"} for i, text in enumerate(HOSTILE)
    ]
    said, heard, other = tmp_path / "said.jsonl", tmp_path / "<img src=x onerror=alert(1)>.jsonl", tmp_path / "b.jsonl"
    said.write_text("\n".join(map(json.dumps, lines)))
    heard.write_text(
        "\n".join(
            json.dumps({"id": each["id"], "text": f"{each['text']} <script>window.hacked=5</script>"}) for each in lines
        )
    )
    other.write_text(
        "\n".join(json.dumps({"id": each["id"], "text": "<svg onload=window.hacked=6>"}) for each in lines)
    )
    path = tmp_path / "r.html"
    arguments = [
        "--references",
        said,
        "--hypotheses",
        heard,
        "--compare",
        other,
        "--normalizer",
        "none",
        "--by",
        "room",
    ]
    report(*arguments, "--report", path)
    page = visit(path)
    assert page.run("return window.hacked") is None
    assert page.run("return document.querySelectorAll('script').length") == 2
    assert page.all("img, svg, b") == []
    assert {name.rsplit(" ", 1)[0] for name in page.ids()} == {" ".join(text.split()) for text in HOSTILE}
    for link in page.all("#confusions .link")[:8]:
        page.click(link)
    page.click(page.all("#confusions .choice label")[1])
    assert page.run("return window.hacked") is None
    # Text that runs from right to left turns its own words only.
    cell = next(each for each in page.all(".utterances tbody tr") if "שלום" in each.text)
    assert cell.find_element(By.CSS_SELECTOR, ".alignment p").value_of_css_property("direction") == "rtl"
    assert cell.find_element(By.CSS_SELECTOR, ".id bdi").value_of_css_property("direction") == "rtl"
    assert cell.value_of_css_property("direction") == "ltr"


def test_arabic_runs_from_the_right_and_its_vowel_signs_can_be_seen(visit: Callable, tmp_path: Path) -> None:
    said = write_texts(tmp_path / "said.jsonl", {"u": "كَتَبَ رَجُل كِتَاب جَدِيد"})
    heard = write_texts(tmp_path / "heard.jsonl", {"u": "كَتَبَ رَجُل كُتَاب"})
    report("--references", said, "--hypotheses", heard, "--report", tmp_path / "r.html")
    page = visit(tmp_path / "r.html")
    ends = page.run(
        "return [...document.querySelectorAll('.alignment .word')].map((w) => w.getBoundingClientRect().right)"
    )
    assert len(ends) == 4 and ends == sorted(ends, reverse=True)
    edge = page.run("return document.querySelector('.alignment p').getBoundingClientRect().right")
    assert edge - ends[0] < 2
    letters = [cell.text for cell in page.all("#confusions .letters tbody tr")]
    assert any("◌\u0650 ◌\u064f" in row for row in letters)  # kasra taken for damma


def test_what_is_not_of_the_page_is_forbidden(chromium: webdriver.Chrome, of_two: tuple) -> None:
    """The second defence: were text to become markup, it could neither run nor call."""
    page = Page(chromium, of_two[0])
    page.run(
        "document.body.insertAdjacentHTML('beforeend', arguments[0])",
        "<img src=data:, onerror=window.hacked=1><img src='https://example.invalid/x.png'>",
    )
    page.run("const s = document.createElement('script'); s.textContent = 'window.hacked=2'; document.body.append(s)")
    time.sleep(0.2)
    assert page.run("return window.hacked") is None
    assert len([message for message in page.console() if "Content Security Policy" in message]) == 3
