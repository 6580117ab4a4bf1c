"""A call that a provider refuses, whoever it is."""

from collections.abc import Mapping


class Refused(Exception):
    """A call is refused, and not billed.

    Attributes:
        code: The HTTP status.
        document: The JSON that goes over the wire.
        headers: Beside those that every reply has.
    """

    def __init__(self, code: int, document: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code} {document}")
        self.code = code
        self.document = document
        self.headers = dict(headers or {})
