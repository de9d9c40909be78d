"""Settings of the reasons of prototypes."""

from __future__ import annotations

from winnow.pipeline.settings.base import Names, System


class PrototypeReasons(System):
    """What of a patch makes it look like a prototype: hue, saturation, contrast, brightness, shape or texture."""

    pictures = ("agreement", "importances", "cards")
    models: Names = ["prototypes_*"]
    """Train variants with prototypes."""
