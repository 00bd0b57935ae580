"""mgm_released_aliased: what the released KNAS code ranks by under PyTorch before 2, see :mod:`jknas.proxies.mgm_released`."""

import dataclasses

from jknas.proxies.mgm_released import PROXY as MGM_RELEASED

PROXY = dataclasses.replace(
    MGM_RELEASED,
    name="mgm_released_aliased",
    summary="what the released statistic ranks by: squared gradient norm of one example over early layers",
    reference="github.com/Jingjing-NLP/KNAS under PyTorch before 2",
    cost="1 backward pass at batch size one",
    settings={"aliased": True},
)
