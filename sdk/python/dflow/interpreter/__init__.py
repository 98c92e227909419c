"""Python as a plugin that ships with the host: source texts in, functions of rows out."""
