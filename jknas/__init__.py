"""Score and search neural architectures without training them."""
