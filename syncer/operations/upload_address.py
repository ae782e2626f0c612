"""Judge an address that a person wants the service to fetch a picture from.

The service is asked to go there, not we; so a name is judged by how it is written, and where it leads is not looked up.
Nothing here repeats an address's query: it may be a signature.
"""

from __future__ import annotations

from yarl import URL

from syncer.errors import ConfigError, Refused
from syncer.service.addresses import is_never_asked, literal_address, origin_of, unwrapped

# The names that home and office networks use for themselves, by their end.
_INSIDE = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home", ".corp", ".private", ".home.arpa")


def address_of(text: str, *, private: bool) -> str:
    """Return an address that the service may be given, without its fragment.

    `private` also lets through hosts inside of networks. Raises `ConfigError` for what is not http or https, holds
    credentials, or is (by its host) inside of a network.
    """
    text = text.strip()
    try:
        url = URL(text, encoded=True).with_fragment(None)
        origin = origin_of(url)
    except (ValueError, Refused):
        origin = None
    if origin is None or not text.isprintable() or " " in text:
        raise ConfigError("not an address to upload from", hint="one begins with https:// or http://, and has a host")
    if url.raw_user is not None or url.raw_password is not None:
        hint = "give an address that needs none, or upload the file itself"
        raise ConfigError("an address with credentials in it is not passed on", hint=hint, origin=str(origin))
    if not private and _inside(origin.host):
        hint = "upload the file itself; or say --allow-private, if the service is in that network"
        raise ConfigError("the address is inside of a private network", hint=hint, origin=str(origin))
    return str(url)


def source_of(address: str) -> str:
    """Return what may be shown and kept of an address: no query, no fragment, no user."""
    url = URL(address, encoded=True)
    return f"{origin_of(url)}{url.raw_path}"


def _inside(host: str) -> bool:
    address = literal_address(host)
    if address is not None:
        return is_never_asked(address) or not unwrapped(address).is_global
    return "." not in host or host.endswith(_INSIDE)
