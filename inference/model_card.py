"""The model card of a published network: README.md in the format of the hubs for models.

Source of the format: https://huggingface.co/docs/hub/model-cards. A block of YAML describes the
network for programs, the text below it for people. Names of files are written without folders.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from metrics.card_scores import CONFIDENCE, CardScores
from network.publication import LIBRARY, MODEL

# The hubs have no name for speaker verification. They count it as audio classification.
TASK = "audio-classification"
TAGS = ("speaker-verification", "speaker-recognition", "speaker-embedding")
# Names that the hubs know. Any other licence is called "other" and has a name of its own.
LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "lgpl-3.0"),
    *("agpl-3.0", "mpl-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "openrail", "unlicense"),
)
NO_LICENCE = (
    "**No licence was chosen.** Without one, nobody but the owner may use these files. Ask the "
    "owner first."
)

Row = tuple[str, str]


class Card(NamedTuple):
    """What a model card says.

    name: of the published folder. model: --model. intro: what the network does. network, training:
    rows of tables. scores: error rates on lists of trials. datasets: names of corpora. licence:
    text, or "". threshold: of the decision, or None. files: {name: what it is} of further files.
    """

    name: str
    model: str
    intro: str
    network: Sequence[Row]
    training: Sequence[Row]
    scores: Sequence[CardScores]
    datasets: Sequence[str]
    licence: str
    threshold: float | None
    files: Mapping[str, str]


def card_text(card: Card) -> str:
    """Returns the text of a model card."""
    parts = [
        f"---\n{yaml.safe_dump(metadata_of(card), sort_keys=False, allow_unicode=True)}---",
        f"# {card.name}",
        card.intro,
        card_section("Network", table(("", ""), card.network)),
        card_section("Training", table(("", ""), card.training)),
        card_section("Results", results_of(card.scores)),
        card_section("Use", usage_of_network(card)),
        card_section("Files", table(("file", "contents"), list(card.files.items()))),
        card_section("Licence", card.licence or NO_LICENCE),
    ]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------------- for programs
def metadata_of(card: Card) -> dict[str, Any]:
    """Returns the entries of the YAML block."""
    entries: dict[str, Any] = dict(entries_of_licence(card.licence))
    entries |= {"library_name": LIBRARY, "pipeline_tag": TASK, "tags": [*TAGS, card.model]}
    if card.datasets:
        entries["datasets"] = list(card.datasets)
    if card.scores:
        entries["metrics"] = ["eer"]
        entries["model-index"] = [{"name": card.name, "results": entries_of_scores(card.scores)}]
    return entries


def entries_of_licence(licence: str) -> dict[str, str]:
    """Returns the entries about a licence. Texts that the hubs do not know become a name."""
    if not licence:
        return {"license": "unknown"}
    if licence.lower() in LICENCES:
        return {"license": licence.lower()}
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")[:50]
    return {"license": "other", "license_name": name or "see-below"}


def entries_of_scores(scores: Sequence[CardScores]) -> list[dict[str, Any]]:
    """Returns the entry of each list of trials, with its error rates in per cent."""
    entries = []
    for found in scores:
        rates = []
        for rate in found.rates:
            rates.append({"type": "eer", "value": round(rate.value, 2), "name": f"{rate.name} (%)"})
        task = {"type": TASK, "name": "Speaker verification"}
        dataset = {"type": found.name, "name": found.name}
        entries.append({"task": task, "dataset": dataset, "metrics": rates})
    return entries


# ---------------------------------------------------------------------- for people
def card_section(title: str, text: str) -> str:
    """Returns a section of the card."""
    return f"## {title}\n\n{text}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [row_of(titles), row_of(["---"] * len(titles))]
    return "\n".join(lines + [row_of(row) for row in rows])


def row_of(cells: Sequence[str]) -> str:
    """Returns a row of a table in Markdown."""
    return "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"


def results_of(scores: Sequence[CardScores]) -> str:
    """Returns the text about the error rates."""
    if not scores:
        return "The error rates of this network are unknown."
    rows = []
    for found in scores:
        for rate in found.rates:
            interval = "unknown"
            if rate.interval:
                low, high = rate.interval
                interval = f"{low:.2f} to {high:.2f} %"
            trials = f"{found.trials:,}" if found.trials else "unknown"
            speakers = f"{found.speakers:,}" if found.speakers else "unknown"
            rows.append((found.name, trials, speakers, rate.name, f"{rate.value:.2f} %", interval))
    titles = ("trials", "number", "speakers", "metric", "value", f"{CONFIDENCE} % interval")
    text = table(titles, rows)
    if any(rate.interval for found in scores for rate in found.rates):
        text += "\n\nThe intervals come from resampling the speakers of the trials."
    return text


def usage_of_network(card: Card) -> str:
    """Returns the text about loading the network."""
    words = [f"--initial_model {card.name}"]
    arguments = [f'"{card.name}"']
    for option in ("backend", "calibration"):
        file = next((name for name in card.files if name.startswith(f"{option}.")), None)
        if file:
            words.append(f"--{option} {card.name}/{file}")
            arguments.append(f'{option}="{card.name}/{file}"')
    decision = "The threshold of the decision is unknown. Give `--threshold X`."
    if card.threshold is not None:
        decision = (
            f"Two recordings with a score of at least {card.threshold:g} count as one speaker."
        )
        if any(name.startswith("backend.") for name in card.files):
            words.append(f"--threshold {card.threshold!r}")
            arguments.append(f"threshold={card.threshold!r}")
    command = " \\\n    ".join(["python trainSpeakerNet.py --verify a.wav b.wav", *words])
    return (
        "Copy the complete folder, and compare two recordings with the speaker trainer:\n\n"
        f"```bash\n{command}\n```\n\n{decision}\n\nThe same in Python:\n\n"
        f"```python\nfrom inference import load\n\nnet = load({', '.join(arguments)})\n"
        'embeddings = net.embed(["a.wav", "b.wav"])\nscore, same = net.verify("a.wav", "b.wav")\n'
        f"```\n\n`--eval`, `--extract`, `--export` and fine-tuning read the folder, or its "
        f"`{MODEL}`, with the same option."
    )
