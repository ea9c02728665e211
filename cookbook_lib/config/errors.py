"""One way to fail: in a sentence that names the value found, the rule and the fix."""


class CookbookError(Exception):
    """A problem that the user can mend; the message is the whole explanation (command lines print it and exit 2)."""
