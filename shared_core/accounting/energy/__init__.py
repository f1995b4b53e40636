"""The energy of tokens: declared, estimated, measured, learned."""
