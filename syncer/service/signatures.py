"""Blank the signatures of signed URLs inside a JSON text: they are credentials, and documents are kept for ever."""

from __future__ import annotations

import re

# Inside a JSON string `/`, `&`, `?` and `=` may be written as escapes, and a URL may hold another one, encoded.
_ADDRESS = re.compile(rb'(?i:https?):(?:/|\\/){2}[^"\s]*')
_SIGNATURE = re.compile(
    rb"""(?ix)
    ( (?: [?&\#;] | \\u0026 | \\u003f | %26 | %3f )  # a parameter begins
      (?: [\w.-]*+ (?: (?<=signature) | (?<=credential) | (?<=token) | (?<=secret) | (?<=password) | (?<=hmac)
                     | (?<=jwt) | (?<=api[_-]key) | (?<=apikey) | (?<=accesskeyid) | (?<=key-pair-id) )
        | sig | policy | googleaccessid )
      (?: = | \\u003d | %3d ) )
    (?: [^&\#\s"\\] | \\/ | \\u(?!0026)[0-9a-f]{4} )++  # its value
    """
)


def without_signatures(document: bytes) -> bytes:
    """Blank the values of signature parameters in the URLs inside a JSON text; the same object if there are none."""
    if b"?" not in document and b"\\u003" not in document and b"#" not in document:
        return document
    blanked = _ADDRESS.sub(lambda address: _SIGNATURE.sub(rb"\1REDACTED", address.group()), document)
    return document if blanked == document else blanked
