"""Layers that the networks of all spaces share, with reverse rules that stay fast wherever they are compiled."""
