"""Recording: programs that are recorded once per party and repeated without the protocol's Python
(docs/how-to/recording.md).

Here belongs what watches a party at work (traced arrays, stand-ins for its device and operations),
what writes it down, and what repeats it. Protocols and programs do not notice."""

from .program import Recorded, recorded
from .replay import Recording

__all__ = ["Recorded", "Recording", "recorded"]
