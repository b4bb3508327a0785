"""What holds for every page of ours in a browser: quiet, offline, closed, readable at any size."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import screenshots, visiting
from playwright.sync_api import Browser
from written_pages import PAGES

SIZES = {360: 740, 768: 1024, 1280: 800}


@pytest.fixture(scope="module", params=PAGES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PAGES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_a_page_is_quiet_fits_its_window_and_is_accessible(
    browser: Browser, file: Path, width: int, scheme: str
) -> None:
    with visiting(browser, file, width=width, height=SIZES[width], color_scheme=scheme) as visit:
        ready(visit.page)
        visit.page.screenshot(path=screenshots() / f"{file.stem}-{width}-{scheme}.png")
        assert visit.overflow() <= 0
        unfold(visit.page)
        assert visit.overflow() <= 0
        if width == 1280 or (width, scheme) == (360, "light"):
            assert visit.axe() == []


def test_a_page_is_closed_to_whatever_is_put_into_it_while_it_is_open(
    browser: Browser, file: Path
) -> None:
    with visiting(browser, file) as visit:
        visit.expected += ["Content Security Policy", "Trusted", "example.org"]
        found = visit.page.evaluate(
            """async () => {
                const found = [];
                const attempt = (name, what) => { try { what(); } catch { found.push(name); } };
                addEventListener("securitypolicyviolation", (e) => found.push(e.effectiveDirective));
                const add = (name, change) => {
                    const node = document.createElement(name);
                    change(node);
                    document.body.append(node);
                    return node;
                };
                attempt("script", () => add("script", (s) => { s.textContent = "window.hacked = 1"; }));
                attempt("handler",
                    () => add("button", (b) => b.setAttribute("onclick", "window.hacked = 2")));
                attempt("markup",
                    () => { document.body.innerHTML += "<img src=x onerror='window.hacked=3'>"; });
                attempt("timeout", () => setTimeout("window.hacked = 4"));
                // later, since no policy binds what a debugger evaluates
                setTimeout(() => attempt("eval", () => { window.hacked = (0, eval)("5"); }));
                setTimeout(() => attempt("function",
                    () => { window.hacked = new Function("return 6")(); }));
                add("img", (image) => { image.src = "https://example.org/x.png"; });
                await fetch("https://example.org/").catch(() => found.push("fetch"));
                await new Promise((done) => setTimeout(done, 200));
                return found;
            }"""
        )
        assert visit.page.evaluate("window.hacked ?? null") is None
        attempts = {"script", "handler", "markup", "timeout", "eval", "function", "fetch"}
        assert attempts | {"img-src", "connect-src"} <= set(found)


def test_a_page_is_closed_to_whatever_is_written_into_its_file(
    browser: Browser, file: Path, tmp_path: Path
) -> None:
    own = file.read_text("utf-8")
    tampered = tmp_path / "tampered.html"
    injected = """<script>window.hacked = 1</script>
        <button id="bad" onclick="window.hacked = 2">x</button>
        <img src="x" onerror="window.hacked = 3"><style>body { display: none }</style>
        <p id="styled" style="display: none">x</p><iframe srcdoc="<p>x</p>"></iframe>"""
    tampered.write_text(own.replace("</main>", f"{injected}</main>"), "utf-8")
    with visiting(browser, tampered) as visit:
        visit.expected += ["Content Security Policy", "tmp/", "about:srcdoc"]
        visit.page.locator("#bad").click()
        assert visit.page.evaluate("window.hacked ?? null") is None
        assert visit.page.locator("#styled").is_visible()
        refused = " ".join(visit.troubles)
        for what in ("inline script", "inline event handler", "inline style", "img-src"):
            assert what in refused, visit.troubles


def test_paper_has_no_controls_and_whatever_is_folded(browser: Browser, file: Path) -> None:
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        page.pdf(path=screenshots() / f"{file.stem}.pdf", prefer_css_page_size=True)
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        for control in page.locator("select, input, button, nav").all():
            assert not control.is_visible()
        assert page.locator("details.fold:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")


def test_nothing_that_a_model_or_a_log_said_runs(browser: Browser, file: Path) -> None:
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        unfold(page)
        for summary in page.locator("#flip-list summary").all()[:3]:
            summary.hover()
        page.wait_for_timeout(200)
        assert page.evaluate("window.hacked ?? null") is None
        assert page.locator("img, iframe, object, embed, base, form").count() == 0
        assert page.locator("a:not([href^='#'])").count() == 0


def ready(page: object) -> None:
    """Until the list of flips can be used, where there is one."""
    if page.locator("#flip-data").count():  # type: ignore[attr-defined]
        page.wait_for_selector("#f-tools", state="visible")  # type: ignore[attr-defined]


def unfold(page: object) -> None:
    """Open whatever is folded, five flips of the list included."""
    page.evaluate(  # type: ignore[attr-defined]
        """() => {
            const flips = [...document.querySelectorAll("details.flip")].slice(0, 5);
            for (const one of [...document.querySelectorAll("details.fold"), ...flips]) one.open = true;
        }"""
    )
