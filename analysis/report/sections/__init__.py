"""The page's sections as plain data, a file for each kind."""
