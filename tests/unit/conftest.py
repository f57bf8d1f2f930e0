"""What only the tests without torch and vLLM have in common."""

import gc

import pytest
from browser import start


@pytest.fixture(scope="module", autouse=True)
def little_garbage_collection():
    """To look through all that is imported for garbage, again and again, takes a sixth of the time of figures."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture
def unrendered(monkeypatch):
    """A picture's file holds its title: most of a command's time goes into pixels, which other tests look at."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(
        Figure, "savefig", lambda figure, path, **_: path.write_text(figure.axes[0].get_title("left"))
    )


@pytest.fixture
def page_without_figures(monkeypatch):
    """A report's page has no static figures: to draw them takes more time than all else on it."""
    from arpo_entropy_recorder.report import static_figures

    monkeypatch.setattr(static_figures, "FIGURES", {})


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    """A browser, started only for a module whose tests ask for it."""
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
