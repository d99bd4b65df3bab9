"""Names that others chose, as a terminal or a page can show them."""


def printable(text: str) -> str:
    r"""Text on one line, with everything that is not plain text written as an escape (`\x1b`).

    A file's name may hold line breaks, control sequences, right-to-left marks, or bytes that are
    not UTF-8.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )
