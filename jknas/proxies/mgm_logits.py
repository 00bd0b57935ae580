"""mgm_logits: Eq. (15) of KNAS read literally, with the gradients of the summed outputs; otherwise :mod:`jknas.proxies.mgm`."""

import dataclasses

from jknas.proxies.mgm import KNAS
from jknas.proxies.mgm import PROXY as MGM

PROXY = dataclasses.replace(
    MGM,
    name="mgm_logits",
    summary="Eq. (15) read literally: gradients of the summed outputs",
    reference=f"{KNAS}, Eq. (15)",
    needs_labels=False,
    settings={**MGM.settings, "objective": "logits"},
)
