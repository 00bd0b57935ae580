"""The error of the proxy room."""


class ProxyError(ValueError):
    """A proxy that cannot be computed as asked: an unknown name or setting, or settings, batch and images that do not fit it."""
