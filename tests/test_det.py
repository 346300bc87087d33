"""Tests of the DET picture: the legend is short and covers nothing."""

import matplotlib.figure
import numpy as np
import pytest

import tuneThreshold
from metrics.rates import summarize
from metrics.sasv import summarize_sasv
from report.det import plot_det

LONG = "resnet34_attentive_pooling_angular_prototypical_batch_size_200_learning_rate_0.001"


def curves(separation, aware=False):
    """Returns the curves of a system whose targets score higher by `separation`."""
    draw = np.random.default_rng(0)
    kinds = np.array(["target", "nontarget", "spoof"])[np.arange(900) % 3]
    scores = draw.standard_normal(900) + separation * (kinds == "target")
    if aware:
        return summarize_sasv(scores, kinds, np.where(kinds == "spoof", "A01", "-")).curves
    return summarize(scores, kinds == "target").curves


@pytest.fixture
def figures(monkeypatch):
    """Collects the figures that are drawn."""
    made = []
    first_init = matplotlib.figure.Figure.__init__

    def init(figure, *args, **options):
        first_init(figure, *args, **options)
        made.append(figure)

    monkeypatch.setattr(matplotlib.figure.Figure, "__init__", init)
    return made


def pictures():
    """Returns the cases: {name of the system: its curves}."""
    return {
        "one": {"demo": curves(3)},
        "bad": {"demo": curves(0)},
        "worse": {"demo": curves(-3)},
        "two": {"before": curves(2), "after": curves(3)},
        "four": {f"run{number}": curves(number, aware=True) for number in range(4)},
        "long": {LONG: curves(3), f"{LONG}_2": curves(2)},
    }


@pytest.mark.parametrize("name", pictures())
def test_legend_covers_no_curve(name, figures, tmp_path):
    plot_det(tmp_path / "det.png", pictures()[name])
    (figure,) = figures
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    plot = axes.get_window_extent()
    assert not legend.overlaps(plot)
    assert not legend.overlaps(axes.xaxis.label.get_window_extent())
    # The picture contains the legend.
    box = figure.get_tightbbox()
    corners = box.get_points() * figure.dpi
    assert (corners[0] <= legend.get_points()[0]).all()
    assert (corners[1] >= legend.get_points()[1]).all()


def test_labels(figures, tmp_path):
    plot_det(tmp_path / "det.png", {"a$b$": curves(3), "c": curves(2, aware=True)})
    texts = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    eer = curves(3)["EER"][0]
    assert texts[0] == rf"a\$b\$: EER {eer:.2f} %"
    assert [text.split(" ")[:2] for text in texts[1:]] == [
        ["c:", "SASV-EER"],
        ["c:", "SV-EER"],
        ["c:", "SPF-EER"],
    ]


def test_labels_of_files_are_short(figures, tmp_path):
    for run, other in (("demo", 1), ("longer", 0)):
        folder = tmp_path / run / "result"
        folder.mkdir(parents=True)
        (folder / "scores.txt").write_text(f"1 a b 2\n1 a c {other}\n0 a d 1\n0 a e 0\n")
    paths = [str(tmp_path / run / "result" / "scores.txt") for run in ("demo", "longer")]
    assert tuneThreshold.main(paths) == 0
    texts = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    assert [text.partition(" ")[0] for text in texts] == ["demo:", "longer:"]
    assert all(text.endswith(" %") for text in texts)
