"""The one exception of the installer."""

from __future__ import annotations


class InstallError(Exception):
    """Something is missing or refused; the text is for a person and names the way out."""
