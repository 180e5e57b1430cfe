"""The papers' experiments on the code that ships."""
