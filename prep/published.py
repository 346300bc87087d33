"""Downloads published checkpoints of other projects.

python dataprep.py checkpoint wespeaker_resnet34_lm --output checkpoints

prep/catalogues/checkpoints.yaml lists the checkpoints. The checkpoint becomes DIR/NAME.model, and
the options that its weights do not contain become DIR/NAME.yaml. The program reads both with
`--initial_model DIR/NAME.model`.
"""

import logging
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from common.errors import InputError
from common.foreign_files import foreign_file
from common.writing import write_atomically
from prep.addresses import Access
from prep.download import download
from prep.output import check_space
from prep.sources import (
    FORMS,
    Catalogue,
    Form,
    Source,
    check_fields,
    is_there,
    load_catalogue_file,
    read_sums,
    verify,
)

log = logging.getLogger(__name__)
# Value of `model` of the weights of a self-supervised front end.
FRONT_END = "WavLM"
TEXT = Form(r"\S.*", "a text")
FIELDS = {
    **{name: FORMS[name] for name in ("size", "sha256")},
    **dict.fromkeys(("model", "project", "file", "licence", "trained_on"), TEXT),
    **dict.fromkeys(("folder", "member", "config", "eer", "with"), TEXT),
}
REQUIRED = ("model", "project", "file", "licence", "trained_on")


class Published(NamedTuple):
    """One checkpoint of the catalogue. prep/catalogues/checkpoints.yaml explains the fields.

    base_url: the URL of the host, with the placeholders {name} and {folder}.
    fields: the other fields that are texts.
    options: contents of NAME.yaml, if the project has no file of options.
    """

    name: str
    base_url: str
    fields: dict[str, str]
    options: dict[str, Any]

    @property
    def accuracy(self) -> str:
        """The published EERs in percent, and what they include. It is "" if there are none."""
        eer = self.fields.get("eer", "")
        return f"{eer} with {self.fields['with']}" if "with" in self.fields else eer

    @property
    def archived(self) -> bool:
        """Whether the checkpoint is a member of an archive."""
        return "member" in self.fields

    def source(self) -> Source:
        """Returns the file to download."""
        fields = self.fields
        suffix = Path(fields["file"]).suffix if self.archived else ".model"
        return Source(
            f"{self.name}{suffix}",
            sha256=fields.get("sha256"),
            size=int(fields["size"]) if "size" in fields else None,
            folder=fields.get("folder", ""),
            remote=fields["file"],
        )


# ---------------------------------------------------------------------- catalogue
def read_published(path: Path) -> dict[str, Published]:
    """Reads the catalogue of checkpoints. Raises InputError if it is wrong."""
    found = {}
    with load_catalogue_file(path, "hosts and checkpoints", "checkpoints.yaml") as table:
        hosts = table["hosts"]
        for name, fields in table["checkpoints"].items():
            texts = fields.pop("options", {})
            # All values of the catalogue are texts, and options have types.
            options = {option: yaml.safe_load(text) for option, text in texts.items()}
            check_checkpoint(path, name, fields, hosts)
            found[name] = Published(name, hosts[fields["project"]], fields, options)
    return found


def check_checkpoint(path: Path, name: str, fields: dict[str, Any], hosts: dict[str, str]) -> None:
    """Raises InputError for missing and wrong fields of a checkpoint."""
    for field in REQUIRED:
        if field not in fields:
            raise InputError(f"{path}: the checkpoint {name} has no field '{field}'. Add it.")
    check_fields(path, f"the checkpoint {name}", fields, FIELDS)
    if fields["project"] not in hosts:
        raise InputError(
            f"{path}: the checkpoint {name} has the project {fields['project']}, which is not one "
            f"of the hosts: {', '.join(hosts)}. Add its host."
        )


def table_of_checkpoints(catalogue: dict[str, Published]) -> str:
    """Returns a table of all checkpoints."""
    rows = [("name", "model", "project", "licence", "EER on VoxCeleb1-O / E / H in %")]
    for name, published in catalogue.items():
        fields = published.fields
        row = (fields["model"], fields["project"], fields["licence"], published.accuracy)
        rows.append((name, *row))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


# ---------------------------------------------------------------------- files
def obtain_checkpoint(
    published: Published, folder: Path, base_url: str | None, connections: int
) -> None:
    """Downloads a checkpoint to FOLDER/NAME.model, and its options to FOLDER/NAME.yaml.

    Files that exist and are complete are kept. Raises InputError if the download fails, or if
    another file has one of the names.
    """
    source = published.source()
    weights = folder / f"{published.name}.model"
    config = folder / f"{published.name}.yaml"
    # The published sum of an archive is not the sum of its member.
    complete = Source(weights.name) if published.archived else source
    if not is_there(complete, folder):
        catalogue = Catalogue(published.base_url, None, [source], {})
        download([source], folder, catalogue, Access(base_url), connections)
        if published.archived:
            unpack(folder / source.name, published, weights, config)
    if published.archived:
        (folder / source.name).unlink(missing_ok=True)
    if published.options and not config.exists():
        text = yaml.safe_dump(published.options, sort_keys=False)
        write_atomically(config, text.encode())
    report(published, weights)


def unpack(archive: Path, published: Published, weights: Path, config: Path) -> None:
    """Takes the checkpoint and its options out of a zip file.

    Raises InputError if the zip file is damaged or has other members.
    """
    parts = [(published.fields["member"], weights)]
    if "config" in published.fields:
        parts.append((published.fields["config"], config))
    problem = "cannot be read as a zip file ({}). Remove it and run the same command again.".format
    with foreign_file(archive, problem), zipfile.ZipFile(archive) as file:
        infos = [member_info(file, archive, name) for name, _ in parts]
        check_space(archive.parent, sum(info.file_size for info in infos), archive.name)
        contents = [file.read(info) for info in infos]
    # The checkpoint is written last, because its presence means that everything is complete.
    for (_, path), data in reversed(list(zip(parts, contents, strict=True))):
        if path.exists() and path.read_bytes() != data:
            raise InputError(
                f"{path}: this file exists already and has other contents. Move it away, or choose "
                "another --output."
            )
        write_atomically(path, data)
    verify(weights, Source(weights.name), weights.parent)


def member_info(file: zipfile.ZipFile, archive: Path, name: str) -> zipfile.ZipInfo:
    """Returns the member of a zip file that has this name in any folder of it."""
    found = [info for info in file.infolist() if Path(info.filename).name == name]
    if len(found) != 1:
        raise InputError(
            f"{archive}: expected one file {name}, found {len(found)} of {len(file.infolist())} "
            "members. Correct the fields `member` and `config` in the catalogue."
        )
    return found[0]


def report(published: Published, weights: Path) -> None:
    """Prints what was downloaded and how to use it."""
    fields = published.fields
    digest = read_sums(weights.parent).get(weights.name, "")
    log.info("%s: %s of %s, MD5 sum %s.", weights, fields["model"], fields["project"], digest)
    log.info("Training data: %s. Licence: %s.", fields["trained_on"], fields["licence"])
    if published.accuracy:
        log.info("Published EER on VoxCeleb1-O / E / H in %%: %s.", published.accuracy)
    if fields["model"] == FRONT_END:
        log.info("Train with --model WavLM_MHFA --ssl_weights %s.", weights)
        return
    log.info(
        "Compare two files: python trainSpeakerNet.py --verify a.wav b.wav --initial_model %s",
        weights,
    )
