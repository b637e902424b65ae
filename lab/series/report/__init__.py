"""The results as data, and as Markdown, HTML and JUnit files."""
