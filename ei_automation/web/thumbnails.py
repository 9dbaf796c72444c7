"""Images of a report, each written into the page once."""

from __future__ import annotations

import base64
import hashlib

from ei_automation.errors import VerificationError

MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""First bytes to media type."""


def data_uri(image: bytes) -> str:
    """A PNG or JPEG as a data URI.

    Raises:
        VerificationError: The bytes are neither.
    """
    for magic, media_type in MAGIC.items():
        if image.startswith(magic):
            return f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    raise VerificationError("an image for the report is neither PNG nor JPEG", hint="run the report again")


class Thumbnails:
    """Gives each image an id; equal images share one.

    The page asks for images in the order it is written. The first element that shows an image carries its
    data, later ones only the id, and the page's script fills them in; what no element carries is `rest`.
    """

    def __init__(self) -> None:
        self._ids: dict[bytes, str] = {}
        self._uris: dict[str, str] = {}
        self._written: set[str] = set()

    def identify(self, image: bytes) -> str:
        """The id of an image, PNG or JPEG bytes."""
        digest = hashlib.sha256(image).digest()
        if digest not in self._ids:
            self._ids[digest] = f"t{len(self._ids)}"
            self._uris[self._ids[digest]] = data_uri(image)
        return self._ids[digest]

    def take(self, image_id: str) -> str | None:
        """The data URI for the first element that shows it; None for later ones."""
        if image_id in self._written:
            return None
        self._written.add(image_id)
        return self._uris[image_id]

    def rest(self) -> dict[str, str]:
        """Id to data URI of images that no element has taken."""
        return {image_id: uri for image_id, uri in self._uris.items() if image_id not in self._written}
