"""What the trials of several runs tell, as sections of a report: results, DET curves, histograms of scores, thresholds."""

import numpy as np

from common.trial_kinds import TRIAL_KINDS
from metrics.rates import corners, probit
from metrics.summary import SasvSummary
from report import svg
from report.det import axis
from report.markup import figure, section, side_by_side, swatch, table, tag

# of a histogram
BINS = 60
# not those of the first runs
KIND_COLOURS = dict(zip(TRIAL_KINDS, ("c5", "c4", "c3"), strict=True))


def title(run):
    """Heading of what is of one run."""
    return swatch(f"dot {run.colour}"), run.name


# ---------------------------------------------------------------------- results
def families(runs):
    """Runs by the kind of their scores, which have other metrics."""
    kinds = {}
    for run in runs:
        kinds.setdefault(type(run.summary), []).append(run)
    return kinds.values()


def errors_of(summary):
    """-> {column: (text, value)}"""
    if not isinstance(summary, SasvSummary):
        return {"EER, %": (f"{summary.eer:.2f}", summary.eer)} | {
            f"minDCF({cost.p_target:g})": (f"{cost.value:.4f}", cost.value)
            for cost in summary.costs
        }
    costs = {"a-DCF": (f"{summary.a_dcf.value:.4f}", summary.a_dcf.value)} if summary.a_dcf else {}
    # the only one would repeat the SPF-EER
    attacks = summary.attack_eers if len(summary.attack_eers) > 1 else {}
    eers, attacks = (
        {f"{name}, %": (f"{value:.2f}", value) for name, value in found.items()}
        for found in (summary.eers, attacks)
    )
    return eers | costs | attacks


def name_cell(run):
    """The first cell of a run's row: its colour, its name, what it is."""
    about = " · ".join(
        str(run.config[name])
        for name in ("model", "encoder_type", "trainfunc")
        if name in run.config
    )
    return tag("span", *title(run), *([tag("small", about)] if about else []))


def result_table(runs):
    """Runs with one kind of scores; the least error of runs on the same trials is bold."""
    errors = [errors_of(run.summary) for run in runs]
    columns = list(dict.fromkeys(name for found in errors for name in found))
    same = len(runs) > 1 and all(run.scores.lines == runs[0].scores.lines for run in runs)
    best = (
        {name: min(found[name][1] for found in errors if name in found) for name in columns}
        if same
        else {}
    )

    def cell(found, name):
        text, value = found.get(name, ("–", None))
        return tag(
            "td", text, class_="best" if value is not None and value == best.get(name) else None
        )

    rows = []
    for run, found in zip(runs, errors, strict=True):
        counts = [np.count_nonzero(kind) for kind in kinds_of(run.scores).values()]
        rows.append(
            (
                name_cell(run),
                *(cell(found, name) for name in columns),
                " / ".join(f"{count:,}" for count in counts),
            )
        )
    kinds = dict.fromkeys(kind for run in runs for kind in kinds_of(run.scores))
    note = (
        ""
        if len(runs) == 1
        else "All runs scored the same trials; the least error in each column is bold."
        if same
        else "The runs scored different trials: their errors do not compare."
    )
    return tag(
        "div",
        table(["Run", *columns, f"Trials: {' / '.join(kinds)}"], rows),
        *([tag("p", note, class_="note")] if note else []),
    )


def results(runs, tandem):
    """tandem: {name of a run: text about its scores with a countermeasure's}"""
    text = "EER: equal error rate; minDCF(p): least detection cost at a prior p of target trials, divided by that of accepting or rejecting all."
    if any(isinstance(run.summary, SasvSummary) for run in runs):
        text += (
            " SASV-EER: targets against all others; SV-EER: against other speakers; SPF-EER: against spoofed speech, and against each attack; "
            "a-DCF: least cost over both kinds of false accepts."
        )
    extra = [
        tag("div", tag("h3", f"{run.name}: with the countermeasure"), tag("pre", tandem[run.name]))
        for run in runs
        if run.name in tandem
    ]
    return section("Results", text, *map(result_table, families(runs)), *extra)


def det(runs):
    """DET curves of all runs; of spoofing-aware ones, one for each of their EERs."""
    limits, ticks = axis([eer for run in runs for eer, _ in run.summary.curves.values()])
    scale = svg.Scale(
        *limits,
        dict(zip(probit(ticks / 100).tolist(), (f"{tick:g}" for tick in ticks), strict=True)),
        "False accepts, P_fa (%)",
    )
    frame = svg.Frame(
        scale,
        scale._replace(name="Misses, P_miss (%)"),
        height=440 - svg.LEFT - svg.RIGHT + svg.TOP + svg.BOTTOM,
    )
    marks, dots, entries = (
        [tag("path", d=f"M{svg.points(frame.at(limits, limits))}", class_="rules")],
        [],
        [],
    )
    for run in runs:
        for k, (name, (eer, (_, p_miss, p_fa))) in enumerate(run.summary.curves.items()):
            kept = corners(p_miss, p_fa)
            look, (x, y) = (
                f"{run.colour} d{k}",
                svg.within(frame, probit(p_fa[kept]), probit(p_miss[kept])),
            )
            if len(x):
                marks.append(
                    tag(
                        "path",
                        tag("title", f"{run.name}: {name}"),
                        d=f"M{svg.points(frame.at(x, y))}",
                        class_=f"line {look}",
                    )
                )
            dots.append(svg.dot(*frame.at(probit(eer / 100), probit(eer / 100))[0], look, 5))
            entries.append((f"line {look}", f"{run.name}: {name} {eer:.2f} %"))
    caption = "Misses against false accepts at every threshold, on normal-deviate axes; lower left is better. The dots are the equal error rates."
    return section(
        "Detection error trade-off",
        None,
        figure(
            svg.chart(frame, *marks, *dots, label="DET curves"), caption, None, entries, "beside"
        ),
    )


# ---------------------------------------------------------------------- scores
def kinds_of(scores):
    """{name: bool [n]} of the kinds of trials that there are."""
    if scores.kinds is None:
        return {"target": scores.labels, "nontarget": ~scores.labels}
    return {kind: scores.kinds == kind for kind in TRIAL_KINDS if (scores.kinds == kind).any()}


def histogram(run):
    scores, kinds = run.scores.scores, kinds_of(run.scores)
    x = svg.linear(scores, "Score")
    edges = np.linspace(x.low, x.high, BINS + 1)
    shares = {
        name: 100 * np.histogram(scores[kind], edges)[0] / np.count_nonzero(kind)
        for name, kind in kinds.items()
    }
    frame = svg.Frame(
        x,
        svg.linear(np.concatenate([*shares.values()]), "Share (%)", from_zero=True),
        width=380,
        height=250,
    )
    areas = [svg.steps(frame, edges, share, KIND_COLOURS[name]) for name, share in shares.items()]
    at = svg.upright(frame, run.summary.eer_threshold, f"EER, {run.summary.eer_threshold:.3g}")
    caption = f"Share of the trials of each kind in {BINS} bins of scores; at the dashed threshold misses and false accepts are equally frequent."
    return figure(
        svg.chart(frame, *areas, at, label=f"Score histograms of {run.name}"),
        caption,
        title(run),
        [
            (f"area {KIND_COLOURS[name]}", f"{name}, {np.count_nonzero(kind):,}")
            for name, kind in kinds.items()
        ],
    )


def histograms(runs):
    return section("Scores", None, side_by_side(map(histogram, runs), "grid small"))


# ---------------------------------------------------------------------- thresholds
def operating_points(summary, far):
    """[(name, threshold)]; far: the false-accept rates of the summary's points."""
    if isinstance(summary, SasvSummary):
        costs = [("a-DCF", summary.a_dcf.threshold)] if summary.a_dcf else []
    else:
        costs = [(f"minDCF({cost.p_target:g})", cost.threshold) for cost in summary.costs]
    return [
        (next(iter(summary.curves)), summary.eer_threshold),
        *costs,
        *(
            (f"P_fa ≤ {100 * rate:g} %", point.threshold)
            for rate, point in zip(far, summary.points, strict=True)
        ),
    ]


def rates_at(rates, threshold):
    """(p_miss, p_fa) of rates as of report.rates.error_rates at any threshold."""
    i = np.searchsorted(rates[0], threshold)
    return rates[1][i], rates[2][i]


def threshold_table(run, far):
    summary = run.summary
    accepts = {"P_fa": summary.rates}
    if isinstance(summary, SasvSummary):
        accepts = {
            name: summary.all_rates[eer]
            for name, eer in (("P_fa,non", "SV-EER"), ("P_fa,spf", "SPF-EER"))
            if eer in summary.all_rates
        }
    rows = []
    for name, threshold in operating_points(summary, far):
        shares = [f"{100 * rates_at(rates, threshold)[1]:.3f}" for rates in accepts.values()]
        rows.append(
            (
                name,
                svg.minus(f"{threshold:.4f}").replace("inf", "∞"),
                f"{100 * rates_at(summary.rates, threshold)[0]:.2f}",
                *shares,
            )
        )
    return tag(
        "div",
        tag("h3", *title(run)),
        table(
            ["Operating point", "Threshold", "P_miss, %", *(f"{name}, %" for name in accepts)], rows
        ),
    )


def thresholds(runs, far):
    narrow = not any(isinstance(run.summary, SasvSummary) for run in runs)
    return section(
        "Thresholds",
        "A trial is accepted where its score is at or above the threshold; the rates are of these trials. P_fa ≤ 1 %: the lowest "
        "threshold that keeps it, of spoofing-aware trials over non-targets and spoofs together.",
        side_by_side(
            [threshold_table(run, far) for run in runs], "grid small" if narrow else "grid"
        ),
    )
