"""The page in Chromium: what a listener clicks, presses and hears."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile

from libretto.config.systems import System
from libretto.report.figures import plot_layer_weights, save
from libretto.report.listening import Extremes, Prompt, add_samples
from libretto.report.presentation import page_values
from libretto.report.table import METRICS, PAPER_COLUMNS
from libretto.report.templates import render_template
from libretto.tokens.vocab import DURATION_OFFSET, NOTE_OFFSET

CHROMIUM = shutil.which("chromium")
RATE = 22_050
SYSTEMS = [
    System("ground-truth", "ground-truth", "Baselines", "Ground truth"),
    System("amt-t1.0", "variant", "AMT-Large + text cond", "last", "amt", 1.0),
    System("llama-1b-t1.0", "variant", "Llama LLMs", "1B", "llama-1b", 1.0),
    System("ground-truth-random-text", "random-text", "Baselines", "Ground truth (random text)"),
]
# Of each system: where its audio begins in the music (silence is trimmed), and how long the music lasts.
PHRASES = {"C": "Key"}
STARTS, SECONDS = (0.0, 2.0, 0.0, 0.0), (12, 10, 20, 12)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no chromium (Debian: chromium)"),
    pytest.mark.xdist_group("player"),  # one browser
]


def tokens(seconds):
    """A piano's note each second, then a violin's."""
    return [
        token
        for second in range(seconds)
        for token in (100 * second, DURATION_OFFSET + 90, NOTE_OFFSET + 128 * (0 if second % 2 else 40) + 60 + second)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A page of three descriptions and four systems, with audio and a figure; the best and the worst of one."""
    folder = tmp_path_factory.mktemp("page")
    scores = {
        (SYSTEMS[1].name, "clap"): pd.Series([0.5, 0.25, 0.75]),
        (SYSTEMS[1].name, "key_match"): pd.Series([1, 0]),
    }
    prompts = []
    for number in (1, 2, 3):
        prompt = Prompt(
            number, "0" * 32, f"A piano and a tuba in C: song {number}.", [], ["Piano", "Tuba"], phrases=PHRASES
        )
        rows, links, spans = {}, {}, {}
        for system, start, seconds in zip(SYSTEMS, STARTS, SECONDS, strict=True):
            name = f"{system.name}-{number}.wav"
            noise = np.random.default_rng(number).normal(0, 0.05, int((seconds - start) * RATE))
            soundfile.write(folder / name, noise, RATE)
            row = {"tokens": tokens(seconds), "n_events": seconds, "n_invalid": 0, "index": number - 1}
            rows[system.name] = pd.Series(row, dtype=object)
            links[system.name], spans[system.name] = {"audio": name}, (start, float(seconds))
        add_samples(prompt, rows, SYSTEMS, links, spans, scores)
        prompts.append(prompt)
    table = pd.DataFrame({"system": [s.name for s in SYSTEMS], "fad": [0.1, 0.9, 0.3, None]})
    table = table.reindex(columns=["system", *METRICS, *PAPER_COLUMNS])
    values = page_values(table, SYSTEMS, clap=False, standins=True)
    alone = [replace(prompt, samples=[prompt.samples[1]]) for prompt in prompts]
    extremes = Extremes(SYSTEMS[1], "CLAP", 3, [alone[2], alone[0]], [alone[1]])
    save(plot_layer_weights({"amt": [0.4, 0.6]}, {"amt": "last"}), [folder / "weights.svg"])
    svg = (folder / "weights.svg").read_text()
    values |= {"figures": [{"name": "weights", "svg": svg[svg.index("<svg") :], "caption": "Weights"}]}
    template = request.config.rootpath / "workflow/templates/index.html"
    page = render_template(template, run="test", prompts=prompts, extremes=[extremes], **values)
    (folder / "index.html").write_text(page)
    page = render_template(
        template.with_name("extremes.html"), run="test", system=SYSTEMS[1], found=extremes, banner=None
    )
    (folder / extremes.file).write_text(page)
    own = [Prompt(prompt.number, None, prompt.text, [], [], prompt.samples) for prompt in prompts]
    template = template.with_name("compose.html")
    composed = render_template(template, run="test", prompts=own, systems=SYSTEMS, banner=None)
    (folder / "compose.html").write_text(composed)
    return folder


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, folder):
    """A function that opens the page, and checks at the end that it said nothing and asked for nothing elsewhere."""
    contexts, said, requested = [], [], []

    def opened(anchor="", file="index.html", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        page = context.new_page()
        page.set_default_timeout(120_000)  # milliseconds: the machine may be busy with other tests
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"file://{folder}/{file}{anchor}")
        contexts.append(context)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said
    assert all(url.startswith("file:") for url in requested)


def sample(page, system, number=1):
    return page.locator(f"#prompt-{number} [data-system='{system}']")


def time_of(page, system, number=1):
    """Seconds of the music, not of the audio."""
    audio = sample(page, system, number).locator("audio")
    return audio.evaluate("audio => audio.currentTime") + STARTS[[s.name for s in SYSTEMS].index(system)]


def playing(page):
    names = (
        "players => players.filter(player => !player.paused).map(player => player.closest('.sample').dataset.system)"
    )
    return page.locator("audio").evaluate_all(names)


def wait_until_playing(page, system):
    page.wait_for_function(f"!document.querySelector(\"[data-system='{system}'] audio\").paused")


def click_roll(page, system, share):
    roll = sample(page, system).locator(".roll")
    roll.scroll_into_view_if_needed()
    box = roll.bounding_box()
    roll.click(position={"x": share * box["width"], "y": 20})
    wait_until_playing(page, system)


def test_a_click_into_the_roll_plays_from_there(opened):
    page = opened()
    click_roll(page, "amt-t1.0", 0.5)  # of 10 seconds, of which the audio lacks the first two
    assert 4.9 <= time_of(page, "amt-t1.0") < 6
    playhead = sample(page, "amt-t1.0").locator(".playhead")
    page.wait_for_function("playhead => parseFloat(playhead.style.left) >= 49", arg=playhead.element_handle())
    assert float(playhead.evaluate("line => line.style.left")[:-1]) < 60
    assert sample(page, "amt-t1.0").locator("rect.silent").count() == 1
    assert sample(page, "ground-truth").locator("rect.silent").count() == 0


def test_another_system_goes_on_at_the_same_place(opened):
    page = opened()
    click_roll(page, "ground-truth", 0.5)
    before = time_of(page, "ground-truth")
    page.keyboard.press("2")
    wait_until_playing(page, "amt-t1.0")
    assert playing(page) == ["amt-t1.0"]
    assert before <= time_of(page, "amt-t1.0") < before + 1.5
    page.keyboard.press("ArrowDown")
    wait_until_playing(page, "llama-1b-t1.0")
    assert before <= time_of(page, "llama-1b-t1.0") < before + 3


def test_a_piece_that_ends_before_does_not_lose_the_place(opened):
    page = opened()
    click_roll(page, "llama-1b-t1.0", 0.75)  # of 20 seconds
    page.keyboard.press("2")  # of 10: it ends at once
    page.wait_for_function("document.querySelector(\"[data-system='amt-t1.0'] audio\").ended")
    page.keyboard.press("3")
    wait_until_playing(page, "llama-1b-t1.0")
    assert 14.5 < time_of(page, "llama-1b-t1.0") < 17


def test_a_piece_that_was_sought_by_its_own_bar_plays_from_there(opened):
    page = opened()
    click_roll(page, "ground-truth", 0.1)
    audio = sample(page, "llama-1b-t1.0").locator("audio")
    audio.evaluate(
        "audio => { audio.onloadeddata = () => { audio.currentTime = 15; }; audio.preload = 'auto'; audio.load(); }"
    )
    page.wait_for_function("audio => audio.currentTime === 15 && !audio.seeking", arg=audio.element_handle())
    audio.evaluate("audio => { audio.play(); }")
    wait_until_playing(page, "llama-1b-t1.0")
    assert 15 <= time_of(page, "llama-1b-t1.0") < 17


def test_the_page_of_ones_own_prompts_plays_too(opened):
    page = opened(file="compose.html")
    assert not page.get_by_label("Blind").count()
    page.keyboard.press("n")
    assert page.locator(".prompt:visible").get_attribute("id") == "prompt-2"
    page.keyboard.press("Space")
    page.wait_for_function("[...document.querySelectorAll('audio')].some(audio => !audio.paused)")
    assert page.locator(".sample.current").evaluate("one => one.closest('.prompt').id") == "prompt-2"


def test_keys_of_other_controls_remain_theirs(opened):
    page = opened()
    page.locator(".filter select").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".filter select").first.input_value() == "Baselines"
    page.locator("h1").click()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.keyboard.press("Space")
    page.keyboard.press("2")
    assert playing(page) == []  # the player is out of sight


def test_the_keyboard_alone_is_enough(opened):
    page = opened()
    page.keyboard.press("Space")
    wait_until_playing(page, "ground-truth")
    page.keyboard.press("Space")
    assert playing(page) == []
    at = time_of(page, "ground-truth")
    page.keyboard.press("ArrowRight")
    assert time_of(page, "ground-truth") == pytest.approx(at + 5, abs=0.1)
    page.keyboard.press("ArrowLeft")
    assert time_of(page, "ground-truth") == pytest.approx(at, abs=0.1)
    page.keyboard.press("n")
    assert page.locator(".prompt:visible").get_attribute("id") == "prompt-2"
    page.keyboard.press("p")
    assert page.locator(".prompt:visible").get_attribute("id") == "prompt-1"


def test_all_rolls_share_a_time_axis(opened):
    page = opened()
    widths = [sample(page, system.name).locator(".roll").bounding_box()["width"] for system in SYSTEMS]
    lasts = [second + 0.9 - 1 for second in SECONDS]  # the last note begins a second before the end
    assert widths[0] / widths[2] == pytest.approx(lasts[0] / lasts[2], abs=0.02)
    assert widths[1] / widths[2] == pytest.approx(lasts[1] / lasts[2], abs=0.02)


def test_a_link_leads_to_a_sample(opened):
    page = opened("#prompt-3&system=llama-1b-t1.0")
    assert page.locator(".prompt:visible").get_attribute("id") == "prompt-3"
    assert page.locator(".sample.current").get_attribute("data-system") == "llama-1b-t1.0"
    assert sample(page, "llama-1b-t1.0", 3).locator("h4 a").get_attribute("href") == "#prompt-3&system=llama-1b-t1.0"


def test_the_description_says_what_the_chosen_sample_meets(opened):
    page = opened("#prompt-2&system=amt-t1.0")
    marks = page.locator("#prompt-2 mark")
    assert marks.evaluate_all("marks => marks.map(mark => [mark.textContent, mark.className])") == [
        ["piano", "hit"],
        ["tuba", "missing"],
        ["C", "missing"],
    ]


def test_an_instrument_lights_up_in_the_roll(opened):
    page = opened()
    one = sample(page, "ground-truth")
    one.locator(".instruments button", has_text="Piano").hover()
    assert one.locator(".note.dim").count() == 1  # the violin
    one.locator(".instruments button", has_text="Tuba").hover()
    assert one.locator(".note.dim").count() == 2
    page.mouse.move(0, 0)
    assert one.locator(".note.dim").count() == 0
    one.locator(".instruments button", has_text="Violin").focus()
    assert one.locator(".note.dim").count() == 1


def test_blind_hides_names_until_the_guess(opened):
    page = opened("#prompt-1&system=ground-truth")
    page.get_by_label("Blind").check()
    assert page.evaluate("location.hash") == "#prompt-1"
    page.keyboard.press("1")
    page.wait_for_function("[...document.querySelectorAll('audio')].some(audio => !audio.paused)")
    marks = page.locator("#prompt-1 mark").evaluate_all("marks => marks.map(mark => mark.className + mark.title)")
    assert marks == ["", "", ""]
    labels = page.locator("#prompt-1 [aria-label]").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert not [label for label in labels if "round" in label or "lama" in label]
    first = page.locator("#prompt-1")
    assert not first.locator("h4 a:visible, .instruments:visible, .count:visible").count()
    letters = first.locator(".sample header").evaluate_all("heads => heads.map(head => head.dataset.letter)")
    assert letters == ["A", "B", "C", "D"]
    sample(page, "llama-1b-t1.0").locator(".guess").click()
    assert "No: that is Llama LLMs: 1B, T 1.0. 0 of 1 right." in page.locator("#settings output").text_content()
    assert first.locator("h4 a:visible").count() == 4
    page.keyboard.press("n")
    sample(page, "ground-truth", 2).locator(".guess").click()
    assert "1 of 2 right" in page.locator("#settings output").text_content()


def test_systems_can_be_left_out(opened):
    page = opened()
    page.locator("summary", has_text="Systems").click()
    page.get_by_role("checkbox", name="AMT-Large").uncheck()
    assert page.locator("#prompt-1 .sample:visible").count() == 3
    page.keyboard.press("2")
    wait_until_playing(page, "llama-1b-t1.0")


def test_tables_are_sorted_and_filtered(opened):
    page = opened()
    table = page.locator("table.sortable").first
    rows = table.locator("tbody tr:not(.group):visible th")
    heading = table.locator("thead th", has_text="FAD").first
    order = []
    for _ in range(3):
        heading.locator("button").click()
        order.append((heading.get_attribute("aria-sort"), rows.all_text_contents()))
    labels = ["Ground truth", "last", "1B", "Ground truth (random text)"]
    in_groups = [labels[0], labels[3], labels[1], labels[2]]
    by_fad = [labels[0], labels[2], labels[1], labels[3]]  # the last has none
    assert order == [("ascending", by_fad), ("descending", [*by_fad[2::-1], by_fad[3]]), ("none", in_groups)]
    page.locator(".filter select").first.select_option("Llama LLMs")
    assert rows.all_text_contents() == ["1B"]


def test_the_best_and_the_worst_of_a_system_can_be_heard(opened):
    page = opened()
    sample(page, "amt-t1.0").locator(".scores a", has_text="0.50, rank 2 of 3").click()
    cards = page.locator(".sample:visible")
    assert cards.locator("h4").all_text_contents() == ["CLAP 0.75, rank 1 of 3", "CLAP 0.50, rank 2 of 3"]
    marks = cards.nth(1).locator("mark")
    assert marks.evaluate_all("all => all.map(one => one.className)") == ["hit", "missing", "hit"]
    page.locator("h1").click()
    page.keyboard.press("2")
    page.wait_for_function("!document.querySelectorAll('audio')[1].paused")
    page.keyboard.press("ArrowRight")  # to the fifth second
    page.keyboard.press("1")  # another description: from its start
    page.wait_for_function("!document.querySelectorAll('audio')[0].paused")
    assert page.locator("audio").first.evaluate("audio => audio.currentTime") < 4
    page.keyboard.press("n")
    assert cards.locator("h4").all_text_contents() == ["CLAP 0.25, rank 3 of 3"]
    found = pytest.importorskip("axe_playwright_python.sync_playwright").Axe().run(page)
    assert not found.violations_count, found.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_nothing_is_inaccessible_or_too_wide(opened, scheme, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    found = axe.run(page)
    assert not found.violations_count, found.generate_report()
    label = page.locator("figure svg text", has_text="uniform")
    assert label.evaluate("text => getComputedStyle(text).fill") == page.evaluate(
        "getComputedStyle(document.body).color"
    )
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert page.evaluate("document.querySelector('.roll').getBoundingClientRect().top") < 2 * size[1]
