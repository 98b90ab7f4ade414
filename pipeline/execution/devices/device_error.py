"""The error of a device process, apart from what starts one: light to import. Pure."""

from __future__ import annotations


class DeviceError(RuntimeError):
    """A device process has failed or ended."""
