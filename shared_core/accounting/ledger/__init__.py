"""Where calls are written down."""
