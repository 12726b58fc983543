"""Programs that are recorded once per party and repeated without the protocol's Python
(docs/how-to/recording.md)."""

from .program import Recorded, recorded
from .replay import Recording

__all__ = ["Recorded", "Recording", "recorded"]
