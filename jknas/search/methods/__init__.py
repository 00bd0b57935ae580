"""Search methods, one file each. A file that is put here is found by :mod:`jknas.search.registry`."""
