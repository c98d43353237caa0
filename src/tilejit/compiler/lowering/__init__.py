"""From a body's text to its form: each expression and statement gets its kind, or is refused."""
