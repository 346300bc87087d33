"""The URL of every file of a file list, and the password that its host requires."""

import base64
import netrc
import os
import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from common.errors import InputError
from prep.sources import Catalogue, Source

# The remedy of most errors of a URL.
OTHER_REMEDY = "Correct --base_url or the file list (--file_list)."


class Access(NamedTuple):
    """How to reach a host.

    base_url: replaces the URL of the catalogue.
    user, password, key: secrets. They appear only in requests, never in messages or files.
    """

    base_url: str | None = None
    user: str | None = None
    password: str | None = None
    key: str | None = None


def template_of(source: Source, catalogue: Catalogue, access: Access) -> str:
    """Returns the URL of a file with the placeholders {name}, {folder} and {key}.

    Raises InputError for an invalid URL, and for a URL without {key} when there is a key.
    """
    key_url = catalogue.key_url if access.key else None
    template = source.url or access.base_url or key_url or catalogue.base_url
    if not re.match(r"https?://[^/@\s]+(/|$)", template):
        raise InputError(
            f"{source.name}: expected a URL http://HOST/... or https://HOST/... without a "
            f"password in it. {OTHER_REMEDY}"
        )
    if access.key and not source.url and "{key}" not in template:
        raise InputError(
            f"--key: expected a URL that contains {{key}}, found {template}. {OTHER_REMEDY}"
        )
    return template if "{name}" in template else f"{template.rstrip('/')}/{{name}}"


def fill_template(template: str, source: Source, key: str | None) -> str:
    """Replaces the placeholders of a URL."""
    url = template.replace("{name}", quote(source.remote or source.name))
    url = url.replace("{folder}", source.folder)
    return url.replace("{key}", quote(key or "", safe=""))


def netrc_login(url: str) -> tuple[str | None, str | None]:
    """Returns the user and the password that ~/.netrc has for the host of a URL.

    Raises OSError if the file does not exist, and InputError if it is wrong.
    """
    try:
        table = netrc.netrc(os.environ.get("NETRC"))
    except netrc.NetrcParseError as error:
        raise InputError(
            f"~/.netrc:{error.lineno}: this line cannot be used. Correct the file, and run "
            "chmod 600 on it, so that only you can read it."
        ) from None
    login = table.authenticators(urlsplit(url).hostname)
    if not login:
        return None, None
    user, _, password = login
    return user, password


def authorization(source: Source, url: str, access: Access) -> str | None:
    """Returns the header of basic authentication, or None without a password.

    --user and --password belong to the host of the archives. ~/.netrc is for any host.
    """
    user = access.user
    password = access.password
    if source.url or not user:
        try:
            user, password = netrc_login(url)
        except OSError:
            return None
    if not user:
        return None
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
